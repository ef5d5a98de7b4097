//! Which pages of other origins may read answers: those on an exact list, and no others.
//!
//! The framework's own layer lets every origin in where the list is empty, and refuses requests that browsers would
//! only keep the answer of.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response, Result};

use crate::config::Origin;

/// What pages may send.
const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, x-api-key, if-none-match, last-event-id, traceparent");

/// What pages may do.
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// What pages may read beside the body.
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("etag, link, ratelimit, ratelimit-policy, retry-after, x-tickwell-sequence");

/// How long a browser may keep in mind that it may ask: as long as any of them does.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("7200");

/// Lets pages of these origins read answers.
pub(super) async fn shared<E: Endpoint>(
    next: Arc<E>,
    request: Request,
    origins: Arc<[Origin]>,
) -> Result<Response> {
    if origins.is_empty() {
        return Ok(next.call(request).await?.into_response());
    }
    let origin = request.headers().get(header::ORIGIN);
    let is_known =
        |origin: &&HeaderValue| origins.iter().any(|known| known.as_str().as_bytes() == origin.as_bytes());
    let known = origin.filter(is_known).cloned();
    let is_preflight = *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &known {
        Some(_) if is_preflight => {
            let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
            response
        }
        _ => super::answer::settled(next.call(request).await),
    };
    let headers = response.headers_mut();
    // Also where there is none: the same answer must not be kept for those who may read it.
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(known) = known {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, known);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
    Ok(response)
}
