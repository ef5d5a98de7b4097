//! CORS: which web pages of other origins may read responses.
//!
//! The framework's own middleware is not used. It allows every origin if the list is empty, and refuses requests from
//! unknown origins where it should only leave out the CORS headers.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response, Result};

use crate::{config::WebOrigin, problem::into_response};

/// The request headers that pages may send. Generated clients, such as CoinGecko's, send headers about themselves, and a
/// browser sends no request with a header that is not allowed.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, x-api-key, x-cg-demo-api-key, x-cg-pro-api-key, if-none-match, last-event-id, traceparent, user-agent, \
     x-stainless-arch, x-stainless-lang, x-stainless-os, x-stainless-package-version, x-stainless-retry-count, \
     x-stainless-runtime, x-stainless-runtime-version, x-stainless-timeout",
);

/// The methods that pages may use.
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// The response headers that pages may read.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "etag, link, ratelimit, ratelimit-policy, retry-after, x-tickwell-log, x-tickwell-sequence",
);

/// How many seconds a browser may cache a preflight response. This is the maximum that Chromium allows.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("7200");

/// Adds the CORS headers for pages of these origins, and responds to their preflight requests.
pub(super) async fn cors<E: Endpoint>(
    next: Arc<E>,
    request: Request,
    origins: Arc<[WebOrigin]>,
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
        _ => into_response(next.call(request).await),
    };
    let headers = response.headers_mut();
    // This is set even if the request has no origin. Otherwise a cache could reuse the response, which has no CORS
    // headers, for a page of a known origin.
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(known) = known {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, known);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
    Ok(response)
}
