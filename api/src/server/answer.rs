//! What happens to every request and answer, whatever the route.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use common::domain::Sequence;
use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
};
use http::{HeaderName, HeaderValue, Method};
use poem::{
    Endpoint, EndpointExt, IntoResponse, Request, Response, Result, Route, endpoint::make_sync, get, handler,
    middleware::Compression,
};
use poem_openapi::OperationId;
use tokio::time::Instant;

use crate::{
    config::RateLimit,
    metrics::Metrics,
    problem::{Code, Problem},
    routes::{self, Operations, Pinned, Process, State},
    server::SharedEndpoint,
    snapshot::Snapshot,
};

/// The longest request target.
const MAX_URI_BYTES: usize = 8 * 1024;

/// Questions that are never refused: a limit that makes a pod look dead helps nobody.
const EXEMPT: [&str; 4] = ["/livez", "/readyz", "/version", "/metrics"];

/// Clients remembered before those that have been quiet are forgotten.
const MAX_LIMITED_CLIENTS: usize = 10_000;

/// The document of the feed, served as it lies in the repository.
const ASYNCAPI: &str = include_str!("../../../docs/asyncapi.yaml");

/// The answer belongs to the log as of this position.
const SEQUENCE_HEADER: HeaderName = HeaderName::from_static("x-tickwell-sequence");

/// What a pod is there for.
pub const API: &str = "/v1";

/// What operators may ask of a pod, on a listener of their own.
pub const ADMIN: &str = "/admin";

/// Where an answer belongs to a sequence that can be asked for.
const PINNED_ROUTES: &str = "/v1/";

/// Everything a pod answers.
pub fn endpoint(state: &Arc<State>, process: &Process, limit: RateLimit, metrics: Metrics) -> SharedEndpoint {
    let service = routes::service(state, process);
    let routes = Route::new()
        .nest("/docs", service.swagger_ui())
        .at("/openapi.json", service.spec_endpoint())
        .at("/asyncapi.yaml", get(asyncapi))
        .at("/metrics", routes::metrics_route(process))
        .nest_no_strip("/", service);
    let (limiter, state, pinning) = (Arc::new(Limiter::new(limit)), state.clone(), state.clone());
    let endpoint = routes
        .around(move |next, request| pinned(next, request, pinning.clone()))
        .around(move |next, request| limited(next, request, limiter.clone()))
        .around(move |next, request| at_one_sequence(next, request, state.clone()))
        .with(Compression::new())
        .around(move |next, request| answered(next, request, Some(metrics.clone())))
        .boxed();
    Arc::new(endpoint)
}

/// What a process answers that has no API: its operators' questions.
pub fn operations_endpoint(process: &Process) -> SharedEndpoint {
    operators(Operations::routes(process))
}

/// What a pod answers its operators, on a listener of their own.
pub fn admin_endpoint(state: &Arc<State>, process: &Process) -> SharedEndpoint {
    let operations = Operations::routes(process);
    operators(Route::new().nest_no_strip("/", operations).nest(ADMIN, routes::admin::routes(state)))
}

/// What a pod answers while it waits for the log: its operators' questions, and "not yet" to everything below
/// `later`.
pub fn starting_endpoint(process: &Process, later: &str) -> SharedEndpoint {
    let not_yet = make_sync(|_| {
        let detail = "nothing can be answered yet; /readyz?verbose says what is waited for";
        Problem::new(Code::Starting, detail).retry_after(1)
    });
    operators(Route::new().nest_no_strip("/", Operations::routes(process)).nest(later, not_yet))
}

fn operators(routes: impl Endpoint + 'static) -> SharedEndpoint {
    Arc::new(routes.around(|next, request| answered(next, request, None)).boxed())
}

/// Takes one snapshot for the whole request, and says which in the answer's head.
async fn at_one_sequence<E: Endpoint>(
    next: Arc<E>,
    mut request: Request,
    state: Arc<State>,
) -> Result<Response> {
    let snapshot = state.newest_snapshot();
    let sequence = snapshot.sequence.0;
    request.set_data(snapshot);
    let mut response = match next.call(request).await {
        Ok(response) => response.into_response(),
        Err(error) => Problem::from_framework(&error).into_response(),
    };
    response.headers_mut().entry(SEQUENCE_HEADER).or_insert_with(|| HeaderValue::from(sequence));
    Ok(response)
}

/// Goes back to the snapshot of an earlier sequence, where one is asked for.
async fn pinned<E: Endpoint>(next: Arc<E>, mut request: Request, state: Arc<State>) -> Result<Response> {
    let asked =
        if request.uri().path().starts_with(PINNED_ROUTES) { asked_sequence(&request)? } else { None };
    let (Some(sequence), Some(newest)) = (asked, request.data::<Arc<Snapshot>>().cloned()) else {
        return Ok(next.call(request).await?.into_response());
    };
    request.set_data(state.snapshot_at(newest, sequence).await?);
    request.set_data(Pinned(sequence));
    let mut response = match next.call(request).await {
        Ok(response) => response.into_response(),
        Err(error) => Problem::from_framework(&error).into_response(),
    };
    response.headers_mut().insert(SEQUENCE_HEADER, HeaderValue::from(sequence.0));
    Ok(response)
}

fn asked_sequence(request: &Request) -> Result<Option<Sequence>, Problem> {
    let parameters: Vec<(String, String)> = request.params().unwrap_or_default();
    let asked = parameters.into_iter().find(|(name, _)| name == "at_sequence");
    let sequence = |text: String| text.parse().ok().filter(|number| *number > 0).map(Sequence);
    let wrong = || Problem::parameter("at_sequence", "a sequence is a whole number from 1 up");
    asked.map(|(_, text)| sequence(text).ok_or_else(wrong)).transpose()
}

async fn limited<E: Endpoint>(next: Arc<E>, request: Request, limiter: Arc<Limiter>) -> Result<Response> {
    limiter.check(&request)?;
    Ok(next.call(request).await?.into_response())
}

/// The outermost layer: HEAD is GET, errors have our shape, and everything is counted.
async fn answered<E: Endpoint>(
    next: Arc<E>,
    mut request: Request,
    metrics: Option<Metrics>,
) -> Result<Response> {
    let started = Instant::now();
    let method = request.method().clone();
    if method == Method::HEAD {
        // The connection leaves the body out; every route that can be got can be asked for its head.
        request.set_method(Method::GET);
    }
    if routes::STREAMS.contains(&request.uri().path()) {
        // A compressor holds events back until it has a block of them.
        request.headers_mut().remove(http::header::ACCEPT_ENCODING);
    }
    let answer = if request.uri().to_string().len() > MAX_URI_BYTES {
        Err(Problem::parameter("uri", format!("the request target is longer than {MAX_URI_BYTES} bytes"))
            .into())
    } else {
        next.call(request).await
    };
    let mut response = match answer {
        Ok(response) => response.into_response(),
        Err(error) => Problem::from_framework(&error).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert("X-Content-Type-Options", HeaderValue::from_static("nosniff"));
    // Any answer may be compressed, and a shared cache must know.
    headers.insert("Vary", HeaderValue::from_static("Accept-Encoding"));
    if let Some(metrics) = metrics {
        let route = response.data::<OperationId>().map_or("other", |operation| operation.0);
        metrics.answered(known(&method), route, response.status().as_u16(), started.elapsed());
    }
    Ok(response)
}

/// Methods as a label; clients can invent any number of others.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

/// Requests per client address.
struct Limiter(Option<DefaultKeyedRateLimiter<IpAddr>>);

impl Limiter {
    fn new(limit: RateLimit) -> Self {
        let quota =
            limit.replenish_one().and_then(|(burst, one)| Some(Quota::with_period(one)?.allow_burst(burst)));
        Self(quota.map(DefaultKeyedRateLimiter::keyed))
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        let Some(client) = request.remote_addr().as_socket_addr().map(SocketAddr::ip) else { return Ok(()) };
        if EXEMPT.contains(&request.uri().path()) {
            return Ok(());
        }
        if limiter.len() > MAX_LIMITED_CLIENTS {
            limiter.retain_recent();
        }
        limiter.check_key(&client).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Problem::new(
                Code::RateLimited,
                "too many requests from this address; Retry-After says when to come back",
            )
            .retry_after(wait.as_secs() + 1)
        })
    }
}

#[handler]
fn asyncapi() -> Response {
    Response::builder().content_type("application/yaml").body(ASYNCAPI)
}
