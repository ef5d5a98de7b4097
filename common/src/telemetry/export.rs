//! Sends spans and log lines to an OpenTelemetry collector, over OTLP with HTTP and protobuf.
//!
//! The standard `OTEL_*` variables configure this; without an endpoint, nothing is sent. The SDK sends batches on a
//! thread of its own. If the collector is down or slow, spans wait in a bounded queue, and are dropped when it is full.
//! Nothing else waits for the collector.

mod trouble;

use std::time::Duration;

use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, SpanExporter};
use opentelemetry_sdk::{
    Resource,
    logs::SdkLoggerProvider,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::{FilterExt, LevelFilter, filter_fn},
};

use super::{
    LogFilter,
    environment::{Signal, variable},
    sampling::Sampling,
};
use trouble::{Bounded, Reported, Trouble};

/// How long the end of the process waits until the last spans are sent.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// How many spans wait for the collector at most, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise. This is the default
/// of the standard. A slot with three sources and two pairs has eight spans.
const MAX_QUEUED_SPANS: usize = 2_048;

/// The crates whose spans are exported. Libraries have spans too, and those of the exporter's own HTTP client would
/// cause further spans.
const OURS: [&str; 5] = ["common", "poller", "ledger", "api", "tickwell"];

/// The only protocol that is supported.
const PROTOCOL: &str = "http/protobuf";

/// What is sent to the collector.
#[derive(Debug)]
pub(super) struct Export {
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
}

impl Export {
    /// Reads the variables. Also returns what is wrong with them; a signal with such a fault is not exported.
    pub(super) fn from_environment(service: &str) -> (Self, Vec<String>) {
        let mut faults = Vec::new();
        let mut or_fault = |fault| faults.push(fault);
        let traces = build(Signal::Traces, || traces(service)).map_err(&mut or_fault).ok().flatten();
        let logs = build(Signal::Logs, || logs(service)).map_err(&mut or_fault).ok().flatten();
        (Self { traces, logs }, faults)
    }

    /// The layers that receive spans and log lines.
    pub(super) fn layers(&self, filter: &LogFilter) -> Vec<Box<dyn Layer<Registry> + Send + Sync>> {
        let mut layers = Vec::new();
        if let Some(provider) = &self.traces {
            let ours = filter_fn(|metadata| {
                let root = metadata.target().split("::").next().unwrap_or_default();
                metadata.is_span() && OURS.contains(&root)
            });
            let layer = tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("tickwell"))
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_level(false)
                .with_tracked_inactivity(false);
            layers.push(layer.with_filter(ours.with_max_level_hint(LevelFilter::INFO)).boxed());
        }
        if let Some(provider) = &self.logs {
            let no_spans = filter_fn(|metadata| !metadata.is_span()).with_max_level_hint(LevelFilter::TRACE);
            let layer = OpenTelemetryTracingBridge::new(provider);
            layers.push(layer.with_filter(filter.copy().and(no_spans)).boxed());
        }
        layers
    }

    /// Logs what is exported.
    pub(super) fn describe(&self) {
        let signals = [(self.traces.is_some(), Signal::Traces), (self.logs.is_some(), Signal::Logs)];
        for (_, signal) in signals.into_iter().filter(|(is_exported, _)| *is_exported) {
            tracing::info!(
                event = "telemetry_exported",
                signal = signal.name(),
                endpoint = signal.endpoint(),
                "sending telemetry to an OpenTelemetry collector"
            );
        }
    }

    /// Sends what is still in the queues, for a limited time. Blocks.
    pub(super) fn shut_down(self) {
        // A collector that does not respond was reported when that began, so the results are not reported again.
        std::thread::scope(|scope| {
            if let Some(traces) = self.traces {
                scope.spawn(move || traces.shutdown_with_timeout(FLUSH_LIMIT));
            }
            if let Some(logs) = self.logs {
                scope.spawn(move || logs.shutdown_with_timeout(FLUSH_LIMIT));
            }
        });
    }
}

fn build<T>(signal: Signal, build: impl FnOnce() -> Result<T, String>) -> Result<Option<T>, String> {
    if !signal.is_wanted() {
        return Ok(None);
    }
    if let Some(protocol) = signal.variable("PROTOCOL").filter(|protocol| protocol != PROTOCOL) {
        return Err(format!(
            "OTEL_EXPORTER_OTLP_PROTOCOL: `{protocol}` is not supported; use {PROTOCOL} and the collector's port for \
             HTTP, which is usually 4318"
        ));
    }
    build().map(Some)
}

fn traces(service: &str) -> Result<SdkTracerProvider, String> {
    let exporter = SpanExporter::builder().with_http().build().map_err(|error| super::chain(&error))?;
    // This comes last, because it starts to record requests.
    let sampling = Sampling::from_environment()?;
    let capacity =
        variable("OTEL_BSP_MAX_QUEUE_SIZE").and_then(|size| size.parse().ok()).unwrap_or(MAX_QUEUED_SPANS);
    let trouble = Trouble::new("spans", capacity);
    let queue = BatchConfigBuilder::default().with_max_queue_size(capacity).build();
    let sent = BatchSpanProcessor::builder(Reported::new(exporter, trouble.clone()));
    let processor = Bounded::new(sent.with_batch_config(queue).build(), trouble);
    Ok(SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_sampler(sampling)
        .with_resource(resource(service))
        .build())
}

fn logs(service: &str) -> Result<SdkLoggerProvider, String> {
    let exporter = LogExporter::builder().with_http().build().map_err(|error| super::chain(&error))?;
    let exporter = Reported::new(exporter, Trouble::new("log lines", 0));
    Ok(SdkLoggerProvider::builder().with_batch_exporter(exporter).with_resource(resource(service)).build())
}

/// Describes this process. The variables `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come first.
fn resource(service: &str) -> Resource {
    let described = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes([
            KeyValue::new("service.name", service.to_owned()),
            KeyValue::new("service.namespace", "tickwell"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", format!("{:032x}", rand::random::<u128>())),
        ])
        .with_detector(Box::new(EnvResourceDetector::new()));
    match variable("OTEL_SERVICE_NAME") {
        Some(name) => described.with_service_name(name).build(),
        None => described.build(),
    }
}
