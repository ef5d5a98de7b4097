//! The trace that a request or a record belongs to, as W3C Trace Context transmits it.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The number of digits in each part of a `traceparent`.
const DIGITS: [usize; 4] = [2, 32, 16, 2];

/// The bit of the flags that says that the trace is recorded.
const SAMPLED: u8 = 1;

/// The id of a trace. It is never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceId(u128);

/// A position in a trace: the span that caused a request or a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span, never zero.
    pub span_id: u64,
    /// Whether the trace is recorded.
    pub is_sampled: bool,
}

impl TraceId {
    /// The id in the example of the standard, for documents.
    pub const EXAMPLE: Self = Self(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);

    /// The id with this number, or `None` if it is zero.
    fn new(number: u128) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// A random id.
    pub fn random() -> Self {
        Self(rand::random::<u128>().max(1))
    }
}

impl TraceContext {
    /// The name of the header that transmits a trace context. NATS distinguishes upper and lower case in the names of
    /// headers, so the name must be written exactly like this.
    pub const HEADER: &'static str = "traceparent";

    /// Parses the value of a `traceparent` header: a version, a trace id, a parent id and flags, in lower-case hex and
    /// separated by hyphens. Versions after 00 may append further parts. Returns `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [version, trace, span, flags, rest @ ..] = parts.as_slice() else { return None };
        let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let fits = parts.iter().zip(DIGITS).all(|(part, digits)| part.len() == digits && is_hex(part));
        if !fits || *version == "ff" || (*version == "00" && !rest.is_empty()) {
            return None;
        }
        let trace_id = TraceId::new(u128::from_str_radix(trace, 16).ok()?)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|number| *number != 0)?;
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & SAMPLED != 0;
        Some(Self { trace_id, span_id, is_sampled })
    }

    /// The position of the code that is running. `None` if it does not belong to a trace.
    pub fn current() -> Option<Self> {
        Context::map_current(Self::of_context)
    }

    /// The position of a span. `None` if the span is disabled, which all spans are unless traces are exported.
    pub fn of(span: &Span) -> Option<Self> {
        if span.is_disabled() { None } else { Self::of_context(&span.context()) }
    }

    /// Makes a span continue here. The span must not have been entered yet.
    pub fn continue_in(self, span: &Span) {
        // This fails if the span is disabled, and then there is nothing to do.
        let _ = span.set_parent(Context::new().with_remote_span_context(self.into()));
    }

    /// Links a span to this position, which did not cause it alone.
    pub fn link_to(self, span: &Span) {
        span.add_link(self.into());
    }

    /// This position as the parent of a new span.
    pub(super) fn as_parent(self) -> Context {
        Context::new().with_remote_span_context(self.into())
    }

    fn of_context(context: &Context) -> Option<Self> {
        let span = context.span();
        let found = span.span_context();
        let trace_id = TraceId::new(u128::from_be_bytes(found.trace_id().to_bytes()))?;
        let span_id = u64::from_be_bytes(found.span_id().to_bytes());
        (span_id != 0).then_some(Self { trace_id, span_id, is_sampled: found.is_sampled() })
    }
}

impl From<TraceContext> for SpanContext {
    fn from(context: TraceContext) -> Self {
        let flags = TraceFlags::default().with_sampled(context.is_sampled);
        let (trace_id, span_id) = (context.trace_id.0.into(), SpanId::from(context.span_id));
        Self::new(trace_id, span_id, flags, true, TraceState::NONE)
    }
}

impl std::fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// The value of a `traceparent` header.
impl std::fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { trace_id, span_id, is_sampled } = self;
        write!(formatter, "00-{trace_id}-{span_id:016x}-{:02x}", u8::from(*is_sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_traceparent_that_follows_the_standard_is_accepted() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (text, is_sampled) in [
            (format!("00-{id}-00f067aa0ba902b7-01"), true),
            (format!("00-{id}-00f067aa0ba902b7-00"), false),
            (format!("01-{id}-00f067aa0ba902b7-02-what-comes-later"), false),
        ] {
            let context = TraceContext::parse(&text).unwrap();
            assert_eq!(context.trace_id.to_string(), id, "{text}");
            assert_eq!((context.span_id, context.is_sampled), (0x00f0_67aa_0ba9_02b7, is_sampled), "{text}");
            assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
        }
        for text in [
            String::new(),
            id.to_owned(),
            format!("00-{id}"),
            format!("00-{id}-00f067aa0ba902b7-01-more"),
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{id}-00f067aa0ba902b7-1"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("00-+{}-00f067aa0ba902b7-01", &id[1..]),
        ] {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn without_a_collector_nothing_belongs_to_a_trace() {
        let span = tracing::info_span!("slot");
        let context = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        context.continue_in(&span);
        context.link_to(&span);
        assert_eq!(TraceContext::of(&span), None);
        assert_eq!(span.in_scope(TraceContext::current), None);
    }
}
