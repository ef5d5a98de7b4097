//! The endpoints of a process, and the middleware that every request passes through, whatever its route.

use std::sync::Arc;

use bytes::Bytes;
use common::{clock::SystemClock, domain::Sequence, telemetry::TraceContext};
use http::{HeaderName, HeaderValue, Method, header};
use poem::{
    Endpoint, EndpointExt, Request, Response, Result, Route, endpoint::make_sync, get, handler, web::Data,
};
use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    config::ApiConfig,
    metrics::Metrics,
    problem::{Code, ERRORS_PATH, Problem, caller, in_trace, into_response},
    routes::{
        self, Coins, Document, Lifetime, NOT_YET, Operations, Page, Pinned, Process, STREAM_PATHS, Side,
        State, coingecko, event_source,
    },
    server::{
        SharedEndpoint,
        answers::{Answers, answer},
        caching::Audience,
        cors::cors,
        counting::{Counting, method_label},
        hold::hold,
        limit::{Gate, admit, protect_metrics},
        operators::refuse_pages,
        origins::Origins,
        parameters::{KnownRoutes, not_a_sequence, validate_parameters},
        span,
    },
};
use ledger::snapshot::Snapshot;

/// The maximum length of a request target.
const MAX_URI_BYTES: usize = 8 * 1024;

/// The content security policy of a response that is not HTML. If a browser shows the response, it must not load or run
/// anything.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// The content security policy of HTML whose route sets none itself.
const PAGE_POLICY: &str = "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The AsyncAPI document of the NATS feed.
const ASYNCAPI: &str = include_str!("../../../docs/asyncapi.yaml");

/// The header with the sequence that a response belongs to.
const SEQUENCE_HEADER: HeaderName = HeaderName::from_static("x-tickwell-sequence");

/// The header with the identity of the log, without which a sequence means nothing.
const LOG_HEADER: HeaderName = HeaderName::from_static("x-tickwell-log");

/// The header with the cursor of a client that reconnects to a stream.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The prefix of the routes that need the log.
const API: &str = "/v1";

/// The prefix of the routes that exist only on a pod's admin listener.
const ADMIN: &str = "/admin";

/// The prefix of the routes that accept `at_sequence`.
const PINNED_ROUTES: &str = "/v1/";

/// All public routes of a pod.
pub fn endpoint(
    state: &Arc<State>,
    process: &Process,
    config: &ApiConfig,
    metrics: Metrics,
) -> SharedEndpoint {
    let service = routes::service(state, process, Coins::with(&config.coingecko_ids));
    let document = Document::of(&service, config.coingecko, !config.keys.is_empty());
    let known = Arc::new(KnownRoutes::of::<routes::Apis>());
    let counting = Arc::new(Counting::new(metrics.clone(), known.clone()));
    let page = if config.keys.is_empty() { Page::open(state) } else { Page::for_key_holders() };
    let routes = Operations::with_metrics(Route::new(), process, Side::Clients)
        .at("/docs", get(docs).data(Docs(document.swagger_ui(&service).into())))
        .at("/openapi.json", get(openapi).data(document))
        .at(ERRORS_PATH, get(routes::errors))
        .at("/asyncapi.yaml", get(asyncapi))
        .nest_no_strip("/", service);
    let routes = page.added_to(routes);
    let (gate, state) = (Arc::new(Gate::new(config, state.clock.clone())), state.clone());
    let origins = Arc::new(Origins::new(config));
    let audience = if config.keys.is_empty() { Audience::Everybody } else { Audience::KeyHolders };
    let answers = Arc::new(Answers::new(state.clone(), audience, metrics));
    let (pinning, has_dialect) = (state.clone(), config.coingecko);
    // The last layer is the outermost one: it receives each request first.
    SharedEndpoint::of(routes)
        .around(move |next, request| pin_sequence(next, request, pinning.clone()))
        .around(move |next, request| validate_parameters(next, request, known.clone()))
        .around(move |next, request| answer(next, request, answers.clone()))
        .around(move |next, request| admit(next, request, gate.clone()))
        .around(move |next, request| take_snapshot(next, request, state.clone()))
        .around(move |next, request| adapt(next, request, has_dialect))
        .around(move |next, request| cors(next, request, origins.clone()))
        .around(move |next, request| normalize_and_count(next, request, Some(counting.clone())))
}

/// The routes on the admin listener of a process that serves no API.
pub fn operations_endpoint(process: &Process) -> SharedEndpoint {
    for_operators(with_log_filter(process).nest_no_strip("/", Operations::routes(process, Side::Operators)))
}

/// The routes on a pod's admin listener.
pub fn admin_endpoint(state: &Arc<State>, process: &Process) -> SharedEndpoint {
    let routes = with_log_filter(process).nest(ADMIN, routes::admin::routes(state));
    for_operators(routes.nest_no_strip("/", Operations::routes(process, Side::Operators)))
}

/// The public routes of a pod while it waits for the log: those for operators, and the page. Everything under `/v1`
/// and `/api/v3` returns 503 `starting`, except that server-sent events are held until the pod has started.
pub fn starting_endpoint(process: &Process, config: &ApiConfig, metrics: Metrics) -> SharedEndpoint {
    let counting = Arc::new(Counting::new(metrics, Arc::new(KnownRoutes::of::<routes::Apis>())));
    let (has_dialect, origins) = (config.coingecko, Arc::new(Origins::new(config)));
    let gate = Arc::new(Gate::new(config, Arc::new(SystemClock)));
    let routes = not_yet(Route::new(), process, Side::Clients, &[API, coingecko::PREFIX]);
    SharedEndpoint::of(Page::starting().added_to(routes))
        .around(move |next, request| protect_metrics(next, request, gate.clone()))
        .around(move |next, request| adapt(next, request, has_dialect))
        .around(move |next, request| cors(next, request, origins.clone()))
        .around(move |next, request| normalize_and_count(next, request, Some(counting.clone())))
        .around(hold)
}

/// The routes on the admin listener while the pod waits for the log. Everything under `/admin` returns 503 `starting`,
/// except for the filter of the log.
pub fn starting_admin_endpoint(process: &Process) -> SharedEndpoint {
    for_operators(not_yet(with_log_filter(process), process, Side::Operators, &[ADMIN]))
}

/// Adds the routes for operators. Everything under the prefixes in `later` returns 503 `starting`.
fn not_yet(routes: Route, process: &Process, side: Side, later: &[&str]) -> Route {
    let routes = routes.nest_no_strip("/", Operations::routes(process, side));
    later.iter().fold(routes, |routes, prefix| {
        routes.nest(*prefix, make_sync(|_| Problem::new(Code::Starting, NOT_YET).retry_after(1)))
    })
}

/// The route that every admin listener has.
fn with_log_filter(process: &Process) -> Route {
    Route::new().at(routes::admin::LOG_FILTER_PATH, routes::admin::log_filter_route(process))
}

fn for_operators(routes: impl Endpoint + 'static) -> SharedEndpoint {
    SharedEndpoint::of(routes)
        .around(refuse_pages)
        .around(|next, request| normalize_and_count(next, request, None))
}

/// Adapts the responses to clients that do not understand problems: those of CoinGecko's dialect, and browsers that
/// open a stream.
async fn adapt(next: SharedEndpoint, request: Request, has_dialect: bool) -> Result<Response> {
    let path = request.uri().path();
    // These futures are allocated, because few requests need them.
    if coingecko::is_of_dialect(path) {
        return Box::pin(coingecko::speak(next, request, has_dialect)).await;
    }
    if STREAM_PATHS.contains(&path) {
        let next = next.around(event_source::survive);
        return Box::pin(routes::shake_hands(next, request)).await;
    }
    next.call(request).await
}

/// Takes one snapshot for the whole request, and puts its sequence into the response's headers.
async fn take_snapshot(next: SharedEndpoint, mut request: Request, state: Arc<State>) -> Result<Response> {
    let snapshot = state.newest_snapshot();
    let sequence = snapshot.sequence.0;
    let log = HeaderValue::from_str(snapshot.identity.as_str());
    request.set_data(snapshot);
    let mut response = into_response(next.call(request).await);
    if let Ok(log) = log {
        response.headers_mut().insert(LOG_HEADER, log);
    }
    response.headers_mut().entry(SEQUENCE_HEADER).or_insert_with(|| HeaderValue::from(sequence));
    Ok(response)
}

/// Replaces the newest snapshot with that of an earlier sequence if the request has `at_sequence`.
async fn pin_sequence(next: SharedEndpoint, mut request: Request, state: Arc<State>) -> Result<Response> {
    let requested = if is_pinnable(&request) { requested_sequence(&request)? } else { None };
    let (Some(sequence), Some(newest)) = (requested, request.data::<Arc<Snapshot>>().cloned()) else {
        return next.call(request).await;
    };
    let snapshot = state.snapshot_at(newest, sequence).await?;
    if let Some(lifetime) = request.data::<Lifetime>() {
        lifetime.pin(snapshot.clone());
    }
    request.set_data(snapshot);
    request.set_data(Pinned(sequence));
    let mut response = into_response(next.call(request).await);
    response.headers_mut().insert(SEQUENCE_HEADER, HeaderValue::from(sequence.0));
    Ok(response)
}

fn is_pinnable(request: &Request) -> bool {
    *request.method() == Method::GET && request.uri().path().starts_with(PINNED_ROUTES)
}

fn requested_sequence(request: &Request) -> Result<Option<Sequence>, Problem> {
    let parameters: Vec<(String, String)> = request.params().unwrap_or_default();
    let requested = parameters.into_iter().find(|(name, _)| name == "at_sequence");
    let sequence = |text: String| text.parse().ok().filter(|number| *number > 0).map(Sequence);
    requested.map(|(name, text)| sequence(text).ok_or_else(|| not_a_sequence(name))).transpose()
}

/// The outermost layer. It treats HEAD as GET, ignores a slash at the end in CoinGecko's dialect, refuses requests that
/// are too long or have a body, turns errors into problems, sets the headers that every response has, and counts the
/// request.
async fn normalize_and_count(
    next: SharedEndpoint,
    mut request: Request,
    counting: Option<Arc<Counting>>,
) -> Result<Response> {
    let started = Instant::now();
    let method = method_label(request.method());
    coingecko::ignore_slash(&mut request);
    let route = counting.as_ref().map(|counting| counting.route(request.uri().path()));
    if *request.method() == Method::HEAD {
        // Handle the request as a GET, so that every GET route supports HEAD. hyper does not send the body.
        request.set_method(Method::GET);
        // Without this, the HEAD request would be treated as a GET that wants to switch to WebSocket.
        request.headers_mut().remove(header::UPGRADE);
    }
    if request.headers().get(LAST_EVENT_ID).is_some_and(HeaderValue::is_empty) {
        // Some clients send an empty `Last-Event-ID` before they have received any event.
        request.headers_mut().remove(LAST_EVENT_ID);
    }
    let caller = caller(request.headers());
    let span = span::of_request(&request, method, route, caller);
    let trace = TraceContext::of(&span).or(caller).map(|context| context.trace_id);
    // Nothing happens before this is awaited, so that it happens within the span.
    let handling = check_size_and_body(&request).map(|()| next.call(request));
    let handling = async {
        into_response(match handling {
            Ok(handling) => handling.await,
            Err(problem) => Err(problem.into()),
        })
    };
    let mut response = in_trace(trace, handling).instrument(span.clone()).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let is_page =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let policy = if is_page { PAGE_POLICY } else { DATA_POLICY };
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(policy));
    // Nothing is cached unless its route allows it.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // Any response may be compressed, and shared caches must know that. If a response depends on further request
    // headers, its route adds them to `Vary`.
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    span::finish(&span, response.status());
    if let Some((counting, route)) = counting.as_ref().zip(route) {
        counting.count(method, route, &response, started.elapsed());
    }
    Ok(response)
}

/// Refuses request targets that are too long, and GET requests with a body, because no route reads a body.
fn check_size_and_body(request: &Request) -> Result<(), Problem> {
    let (uri, headers) = (request.uri(), request.headers());
    let target_bytes = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target_bytes > MAX_URI_BYTES {
        let detail = format!("the request target is longer than {MAX_URI_BYTES} bytes");
        return Err(Problem::parameter("uri", detail));
    }
    let length = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    if request.method() == Method::GET && (length || headers.contains_key(header::TRANSFER_ENCODING)) {
        let detail = "this route does not accept a request body; use query parameters";
        return Err(Problem::parameter("body", detail));
    }
    Ok(())
}

/// The HTML of `/docs`, built once.
#[derive(Clone)]
struct Docs(Bytes);

#[handler]
fn docs(docs: Data<&Docs>) -> Response {
    Response::builder().content_type("text/html; charset=utf-8").body(docs.0.0.clone())
}

#[handler]
fn openapi(document: Data<&Document>) -> Response {
    Response::builder().content_type("application/json").body(document.0.json().to_owned())
}

#[handler]
fn asyncapi() -> Response {
    Response::builder().content_type("application/yaml").body(ASYNCAPI)
}
