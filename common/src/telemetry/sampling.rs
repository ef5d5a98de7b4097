//! Which traces are recorded.
//!
//! By default, every slot of a poller is recorded, and 1 % of the requests to a pod. If the trace was begun by another
//! process, that process decides. The standard variables `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` change
//! this for slots and requests alike.

use std::sync::OnceLock;

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceId as OtelTraceId, TraceState},
};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

use super::{TraceContext, environment::variable};

/// The share of requests that are recorded by default.
const REQUESTS: f64 = 0.01;

/// Set once traces are exported.
static REQUEST_SAMPLER: OnceLock<Sampler> = OnceLock::new();

/// Whether the span of a request is recorded. `parent` is the caller's span, if the request names it.
///
/// A pod decides this before it creates the span, because most requests are not recorded, and they should cost nothing.
pub fn samples_request(parent: Option<TraceContext>) -> bool {
    let Some(sampler) = REQUEST_SAMPLER.get() else { return false };
    let trace_id = OtelTraceId::from(rand::random::<u128>());
    let context = parent.map(TraceContext::as_parent);
    let result = sampler.should_sample(context.as_ref(), trace_id, "", &SpanKind::Server, &[], &[]);
    result.decision == SamplingDecision::RecordAndSample
}

/// The sampler of the SDK.
#[derive(Debug, Clone)]
pub(super) struct Sampling {
    others: Sampler,
}

impl Sampling {
    /// Reads the variables, and starts to record requests.
    pub(super) fn from_environment() -> Result<Self, String> {
        let parent_based = |root| Sampler::ParentBased(Box::new(root));
        let (requests, others) = match configured()? {
            Some(sampler) => (sampler.clone(), sampler),
            None => (parent_based(Sampler::TraceIdRatioBased(REQUESTS)), parent_based(Sampler::AlwaysOn)),
        };
        let _ = REQUEST_SAMPLER.set(requests);
        Ok(Self { others })
    }
}

fn configured() -> Result<Option<Sampler>, String> {
    let Some(name) = variable("OTEL_TRACES_SAMPLER") else { return Ok(None) };
    let ratio = || {
        let share = variable("OTEL_TRACES_SAMPLER_ARG").unwrap_or_else(|| "1".to_owned());
        let share = share.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.map(Sampler::TraceIdRatioBased).ok_or("OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1")
    };
    let (is_parent_based, root) = match name.strip_prefix("parentbased_") {
        Some(root) => (true, root),
        None => (false, name.as_str()),
    };
    let root = match root {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => ratio()?,
        _ => {
            return Err(format!(
                "OTEL_TRACES_SAMPLER: `{name}` is not supported; use always_on, always_off or traceidratio, with or \
                 without the prefix parentbased_"
            ));
        }
    };
    Ok(Some(if is_parent_based { Sampler::ParentBased(Box::new(root)) } else { root }))
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: OtelTraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        match kind {
            // `samples_request` has decided this already.
            SpanKind::Server => SamplingResult {
                decision: SamplingDecision::RecordAndSample,
                attributes: Vec::new(),
                trace_state: TraceState::NONE,
            },
            _ => self.others.should_sample(parent, trace_id, name, kind, attributes, links),
        }
    }
}
