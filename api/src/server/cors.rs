//! CORS: lets web pages of allowed origins read responses, and tells other pages why they may not.
//!
//! The framework's own middleware is not used. It allows every origin if the list is empty, and its refusals say
//! nothing.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response, Result};

use super::origins::{Origins, Sender};
use crate::{
    layers::SharedEndpoint,
    problem::{Code, Problem, into_response},
};

/// The request headers that pages may send. Generated clients, such as CoinGecko's, send headers about themselves, and
/// a browser sends no request with a header that is not allowed.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, x-api-key, x-cg-demo-api-key, x-cg-pro-api-key, if-none-match, last-event-id, \
     traceparent, user-agent, x-stainless-arch, x-stainless-lang, x-stainless-os, x-stainless-package-version, \
     x-stainless-retry-count, x-stainless-runtime, x-stainless-runtime-version, x-stainless-timeout",
);

/// The methods that pages may use.
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");

/// The response headers that pages may read.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "etag, link, ratelimit, ratelimit-policy, retry-after, x-tickwell-log, x-tickwell-sequence",
);

/// How many seconds a browser may cache a preflight response. This is the maximum that Chromium allows.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("7200");

/// Every page, as a value of `Access-Control-Allow-Origin`.
const EVERY_PAGE: HeaderValue = HeaderValue::from_static("*");

/// Refuses pages of other origins, adds the CORS headers, and responds to preflight requests.
///
/// A refused page can read the refusal. Without that, a browser only says that a header is missing, and the developer
/// does not learn which setting to change.
pub(super) async fn cors(next: SharedEndpoint, request: Request, origins: Arc<Origins>) -> Result<Response> {
    let (sender, origin) = (origins.sender(&request), request.headers().get(header::ORIGIN).cloned());
    let is_preflight = *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let reader = origin.filter(|_| sender != Sender::Own);
    let mut response = match (&reader, sender) {
        (Some(_), _) if is_preflight => preflight(),
        (Some(origin), Sender::Foreign) => {
            origins.log(origin);
            refused().into_response()
        }
        _ => into_response(next.call(request).await),
    };
    let headers = response.headers_mut();
    let allowed = if origins.allow_any() {
        Some(EVERY_PAGE)
    } else {
        // This is set even if the request has no origin. Otherwise a cache could reuse the response, which has no CORS
        // headers, for a page.
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        reader
    };
    if let Some(allowed) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
    Ok(response)
}

fn preflight() -> Response {
    let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    response
}

fn refused() -> Problem {
    let detail = "this pod does not allow web pages of this origin; its operator can add the value of the header Origin to \
                  api.cors_origins, or set api.cors_origins to `*` to allow all pages";
    Problem::new(Code::OriginNotAllowed, detail)
}
