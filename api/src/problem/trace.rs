//! The trace id of a request. An internal error has the same trace id in the response and in the server's log.

use common::telemetry::{TraceContext, TraceId};
use http::HeaderMap;

tokio::task_local! {
    static CURRENT: Option<TraceId>;
}

/// The span of the client, if the headers of its request have exactly one valid `traceparent`.
pub(crate) fn caller(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TraceContext::HEADER).iter();
    let (Some(only), None) = (values.next(), values.next()) else { return None };
    TraceContext::parse(only.to_str().ok()?)
}

/// The trace id of the current request, or a new random one if the request has none.
pub(super) fn current() -> TraceId {
    let current = CURRENT.try_with(|current| *current).ok().flatten();
    current.unwrap_or_else(TraceId::random)
}

/// Handles a request, during which [`current`] returns this trace id if there is one.
pub(crate) async fn in_trace<T>(trace: Option<TraceId>, handling: impl Future<Output = T>) -> T {
    CURRENT.scope(trace, handling).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_request_with_two_traceparents_has_no_trace() {
        let header = HEADER.parse::<http::HeaderValue>().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(caller(&headers), None);
        headers.append(TraceContext::HEADER, header.clone());
        assert_eq!(caller(&headers).map(|caller| caller.trace_id), Some(TraceId::EXAMPLE));
        headers.append(TraceContext::HEADER, header);
        assert_eq!(caller(&headers), None);
    }

    #[tokio::test]
    async fn a_request_without_a_trace_gets_one() {
        assert_eq!(in_trace(Some(TraceId::EXAMPLE), async { current() }).await, TraceId::EXAMPLE);
        let (one, other) = in_trace(None, async { (current(), current()) }).await;
        assert_ne!(one, other);
        assert_eq!(one.to_string().len(), 32);
    }
}
