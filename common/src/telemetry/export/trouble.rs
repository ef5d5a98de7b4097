//! Reports once that spans or log lines are lost, and once that they no longer are.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{LogBatch, LogExporter},
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};

/// Counts what is in the queue and what was lost. Clones share the same state.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    what: &'static str,
    capacity: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    queued: usize,
    /// How much was lost since the trouble began.
    lost: usize,
    is_reported: bool,
}

impl Trouble {
    /// For a queue of `what`, with a capacity.
    pub(super) fn new(what: &'static str, capacity: usize) -> Self {
        Self { what, capacity, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place in the queue. If the queue is full, returns false and counts the loss. The loss is reported after the
    /// next export, because this may be called while the end of a span is processed, where nothing may be logged.
    fn enqueue(&self) -> bool {
        let mut state = self.state();
        let has_place = state.queued < self.capacity;
        if has_place {
            state.queued += 1;
        } else {
            state.lost = state.lost.saturating_add(1);
        }
        has_place
    }

    fn dequeue(&self, count: usize) {
        let mut state = self.state();
        state.queued = state.queued.saturating_sub(count);
    }

    /// Reports changes after an export.
    fn exported(&self, count: usize, result: &OTelSdkResult) {
        let mut state = self.state();
        if result.is_err() {
            state.lost = state.lost.saturating_add(count);
        }
        if state.lost > 0 && !state.is_reported {
            state.is_reported = true;
            let reason = match result {
                Ok(()) => "the queue is full, because the collector is too slow".to_owned(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(
                event = "telemetry_lost",
                what = self.what,
                reason,
                "the OpenTelemetry collector does not accept everything, so some of it is lost; prices and requests \
                 are not affected"
            );
        } else if result.is_ok() && state.is_reported && state.queued <= self.capacity / 2 {
            // A collector that is merely slow accepts a batch from time to time, but its queue stays full.
            tracing::info!(
                event = "telemetry_recovered",
                what = self.what,
                lost = state.lost,
                "the OpenTelemetry collector accepts everything again"
            );
            *state = State { queued: state.queued, ..State::default() };
        }
    }
}

/// A processor that never gets more spans than its queue can hold.
#[derive(Debug)]
pub(super) struct Bounded<P> {
    processor: P,
    trouble: Trouble,
}

impl<P> Bounded<P> {
    pub(super) fn new(processor: P, trouble: Trouble) -> Self {
        Self { processor, trouble }
    }
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.trouble.enqueue() {
            self.processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

/// An exporter whose results are reported.
pub(super) struct Reported<E> {
    exporter: E,
    trouble: Trouble,
}

impl<E> Reported<E> {
    pub(super) fn new(exporter: E, trouble: Trouble) -> Self {
        Self { exporter, trouble }
    }
}

impl<E> fmt::Debug for Reported<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The exporter's headers may contain a secret.
        formatter.write_str("Reported")
    }
}

impl<E: SpanExporter> SpanExporter for Reported<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.trouble.dequeue(spans);
        let result = self.exporter.export(batch).await;
        self.trouble.exported(spans, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Reported<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let lines = batch.iter().count();
        let result = self.exporter.export(batch).await;
        self.trouble.exported(lines, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    #[test]
    fn a_loss_is_over_when_an_export_succeeds_and_the_queue_has_room() {
        let trouble = Trouble::new("spans", 4);
        let lost = || {
            let state = trouble.state();
            (state.lost, state.is_reported)
        };
        let failed = Err(OTelSdkError::InternalFailure("refused".to_owned()));
        assert_eq!((0..6).filter(|_| trouble.enqueue()).count(), 4);
        assert_eq!(lost(), (2, false));
        trouble.dequeue(1);
        trouble.exported(1, &Ok(()));
        assert_eq!(lost(), (2, true));
        // One batch was accepted, but the queue is still nearly full.
        trouble.exported(1, &Ok(()));
        assert_eq!(lost(), (2, true));
        trouble.dequeue(2);
        trouble.exported(2, &failed);
        assert_eq!(lost(), (4, true));
        trouble.exported(0, &Ok(()));
        assert_eq!(lost(), (0, false));
        trouble.dequeue(1);
        trouble.exported(1, &failed);
        assert_eq!(lost(), (1, true));
    }
}
