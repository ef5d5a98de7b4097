//! The span of a request. It ends when the head of the response is ready, so the span of a stream covers the handshake
//! only.

use common::telemetry::{TraceContext, samples_request};
use http::{StatusCode, header};
use poem::Request;
use tracing::{Span, field::Empty};

use crate::routes::coingecko::query_without_keys;

/// The span of a request, or a disabled span if the request is not recorded. `route` is the template of its route: empty if
/// no route fits, and `None` for the routes of operators. `caller` is the span of the client, if the request names it.
pub(super) fn of_request(
    request: &Request,
    method: &'static str,
    route: Option<&str>,
    caller: Option<TraceContext>,
) -> Span {
    if !samples_request(caller) {
        return Span::none();
    }
    let route = route.filter(|route| !route.is_empty());
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let span = tracing::info_span!(
        "request",
        otel.name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        url.scheme = "http",
        url.path = request.uri().path(),
        url.query = query_without_keys(request.uri()).as_deref(),
        server.address = text(header::HOST),
        user_agent.original = text(header::USER_AGENT),
        error.type = Empty,
    );
    if let Some(caller) = caller {
        caller.continue_in(&span);
    }
    span
}

/// Adds the result of the request.
pub(super) fn finish(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("error.type", status.as_str()).record("otel.status_code", "ERROR");
    }
}
