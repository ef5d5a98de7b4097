//! What keeps a browser's `EventSource` alive.
//!
//! An `EventSource` reconnects after a lost connection, but never after a response other than 200. So a request for
//! server-sent events gets 200 wherever repeating the request can help:
//!
//! - [`survive`] turns a refusal that passes, such as a rate limit, into a stream that says when to reconnect, and why,
//!   and ends.
//! - A stream that cannot continue after the client's cursor begins with a [`Reset`](super::reset::Reset), and then
//!   with the newest events.
//!
//! Everything else, such as a missing key or an unknown pair, is a problem like on any other route. So is everything
//! for NDJSON and WebSocket, whose clients can read problems.

use bytes::Bytes;
use common::domain::Words;
use http::{HeaderValue, Method, StatusCode, header};
use poem::{Body, Endpoint, Request, Response, Result};
use poem_openapi::{payload::Payload, types::ParseFromParameter};

use super::{
    EVENTS_PATH,
    http::{ServerSent, StreamFormat, end_event},
};
use crate::{
    layers::SharedEndpoint,
    problem::{Problem, into_response},
    routes::format,
};

/// When a client reconnects if the refusal does not say.
const RETRY_SECONDS: u64 = 5;

/// Whether a request would get server-sent events if nothing kept it from getting them.
pub(crate) fn is_asked(request: &Request) -> bool {
    if *request.method() != Method::GET || request.uri().path() != EVENTS_PATH {
        return false;
    }
    let parameters: Vec<(String, String)> = request.params().unwrap_or_default();
    let requested = parameters.iter().find(|(name, _)| name == "format");
    let requested = requested.map(|(_, text)| StreamFormat::parse_from_parameter(text)).transpose();
    let chosen = requested.ok().and_then(|requested| format::choose(requested, request.headers()).ok());
    chosen == Some(StreamFormat::Sse)
}

/// Turns a refusal that passes into a stream that ends at once. The headers of the refusal stay, and so does its code
/// for the metrics.
pub(crate) async fn survive(next: SharedEndpoint, request: Request) -> Result<Response> {
    let is_asked = is_asked(&request);
    let mut response = into_response(next.call(request).await);
    let refusal = response.data::<Problem>().filter(|problem| is_asked && passes(problem));
    let Some(refusal) = refusal else { return Ok(response) };
    let body = reconnect(refusal);
    response.set_status(StatusCode::OK);
    response.set_body(Body::from_bytes_stream(futures::stream::iter([Ok::<_, std::io::Error>(body)])));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(ServerSent::CONTENT_TYPE));
    Ok(response)
}

/// Whether repeating the request can help.
fn passes(problem: &Problem) -> bool {
    problem.retry_seconds().is_some() || problem.code().status().is_server_error()
}

/// A stream that only says when to reconnect, and why it ends.
fn reconnect(refusal: &Problem) -> Bytes {
    let millis = refusal.retry_seconds().unwrap_or(RETRY_SECONDS).saturating_mul(1_000);
    let end = end_event(refusal.code().as_str(), refusal.detail());
    format!("retry: {millis}\n{end}").into()
}
