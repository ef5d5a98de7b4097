//! The span of a request. It ends when the head of the response is ready, so the span of a stream covers the handshake
//! only.

use std::borrow::Cow;

use common::telemetry::{TraceContext, samples_request};
use http::{StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use poem::Request;
use tracing::{Span, field::Empty};

use crate::routes::{coingecko::KEY_PARAMETERS, tickets::TICKET};

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
        url.query = query_without_secrets(request.uri()).as_deref(),
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

/// The query of a request, in which keys and tickets are replaced.
fn query_without_secrets(uri: &Uri) -> Option<Cow<'_, str>> {
    let query = uri.query()?;
    let is_secret = |part: &&str| {
        let name = part.split('=').next().unwrap_or_default();
        let name = percent_decode_str(name).decode_utf8();
        name.is_ok_and(|name| name == TICKET || KEY_PARAMETERS.contains(&&*name))
    };
    if !query.split('&').any(|part| is_secret(&part)) {
        return Some(query.into());
    }
    let parts = query.split('&').map(|part| if is_secret(&part) { "secret=REDACTED" } else { part });
    Some(parts.collect::<Vec<_>>().join("&").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tickets_are_not_in_traces() {
        let query = |text: &'static str| query_without_secrets(&Uri::from_static(text)).map(Cow::into_owned);
        assert_eq!(query("/api/v3/ping"), None);
        assert_eq!(query("/v1/prices?pairs=BTC-USD&x=%20").as_deref(), Some("pairs=BTC-USD&x=%20"));
        for sent in [
            "/api/v3/ping?ids=a&x_cg_demo_api_key=hidden&b",
            "/api/v3/ping?ids=a&x%5Fcg_pro_api_key=hidden&b",
            "/v1/stream?ids=a&ticket=hidden&b",
            "/v1/ws?ids=a&%74icket=hidden&b",
        ] {
            assert_eq!(query(sent).as_deref(), Some("ids=a&secret=REDACTED&b"), "{sent}");
        }
    }
}
