//! What happens to every request and answer, whatever the route.

use std::sync::Arc;

use bytes::Bytes;
use common::domain::Sequence;
use http::{HeaderName, HeaderValue, Method, header};
use poem::{
    Endpoint, EndpointExt, IntoResponse, Request, Response, Result, Route, endpoint::make_sync,
    error::NotFoundError, get, handler, web::Data,
};
use poem_openapi::OperationId;
use tokio::time::Instant;

use crate::{
    config::{ApiConfig, Origin},
    metrics::Metrics,
    problem::{self, Code, ERRORS_PATH, Problem, TraceId},
    routes::{self, Document, NOT_YET, Operations, Page, Pinned, Process, State},
    server::{
        SharedEndpoint,
        caching::{Audience, tagged},
        compressed::compressed,
        cors::shared,
        limit::{Gate, limited},
        parameters::Known,
    },
};
use ledger::snapshot::Snapshot;

/// The longest request target.
const MAX_URI_BYTES: usize = 8 * 1024;

/// What a browser may do with an answer that is no page: nothing, wherever it is put.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// What it may not do with a page that says nothing about it itself.
const PAGE_POLICY: &str = "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The document of the feed, served as it lies in the repository.
const ASYNCAPI: &str = include_str!("../../../docs/asyncapi.yaml");

/// The answer belongs to the log as of this position.
const SEQUENCE_HEADER: HeaderName = HeaderName::from_static("x-tickwell-sequence");

/// Where a client of a stream wants to go on.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a pod is there for.
const API: &str = "/v1";

/// What operators may ask of a pod, on a listener of their own.
const ADMIN: &str = "/admin";

/// Where an answer belongs to a sequence that can be asked for.
const PINNED_ROUTES: &str = "/v1/";

/// Everything a pod answers.
pub fn endpoint(
    state: &Arc<State>,
    process: &Process,
    config: &ApiConfig,
    metrics: Metrics,
) -> SharedEndpoint {
    let service = routes::service(state, process);
    let document = Document::of(&service);
    let known = Arc::new(Known::from_document(document.json()));
    let page = if config.keys.is_empty() { Page::open(state) } else { Page::for_key_holders() };
    let routes = Route::new()
        .at("/docs", get(docs).data(Docs(document.swagger_ui(&service).into())))
        .at("/openapi.json", get(openapi).data(document))
        .at(ERRORS_PATH, get(routes::errors))
        .at("/asyncapi.yaml", get(asyncapi))
        .at("/metrics", routes::metrics_route(process))
        .nest_no_strip("/", service);
    let routes = page.added_to(routes);
    let (gate, state) = (Arc::new(Gate::new(config)), state.clone());
    let origins: Arc<[Origin]> = config.cors_origins.clone().into();
    let audience = if config.keys.is_empty() { Audience::Everybody } else { Audience::KeyHolders };
    let (pinning, tagging) = (state.clone(), state.clone());
    let endpoint = routes
        .around(move |next, request| tagged(next, request, tagging.clone(), audience))
        .around(move |next, request| pinned(next, request, pinning.clone()))
        .around(move |next, request| understood(next, request, known.clone()))
        .around(move |next, request| limited(next, request, gate.clone()))
        .around(move |next, request| at_one_sequence(next, request, state.clone()))
        .around(compressed)
        .around(move |next, request| shared(next, request, origins.clone()))
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

/// What a pod answers while it waits for the log: its operators' questions, "not yet" to everything else, and the page,
/// which says so.
pub fn starting_endpoint(process: &Process) -> SharedEndpoint {
    operators(Page::starting().added_to(not_yet(process, API)))
}

/// What a pod answers its operators meanwhile, on a listener of their own.
pub fn starting_admin_endpoint(process: &Process) -> SharedEndpoint {
    operators(not_yet(process, ADMIN))
}

fn not_yet(process: &Process, later: &str) -> Route {
    let not_yet = make_sync(|_| Problem::new(Code::Starting, NOT_YET).retry_after(1));
    Route::new().nest_no_strip("/", Operations::routes(process)).nest(later, not_yet)
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
    let mut response = settled(next.call(request).await);
    response.headers_mut().entry(SEQUENCE_HEADER).or_insert_with(|| HeaderValue::from(sequence));
    Ok(response)
}

/// Lets pass only what the route knows, and says which route was meant where there is none.
async fn understood<E: Endpoint>(next: Arc<E>, request: Request, known: Arc<Known>) -> Result<Response> {
    known.check(&request)?;
    let uri = request.uri().clone();
    match next.call(request).await {
        Err(error) if error.is::<NotFoundError>() => Err(known.missing(uri.path()).into()),
        answer => Ok(answer?.into_response()),
    }
}

/// Goes back to the snapshot of an earlier sequence, where one is asked for.
async fn pinned<E: Endpoint>(next: Arc<E>, mut request: Request, state: Arc<State>) -> Result<Response> {
    let asked = if is_pinnable(&request) { asked_sequence(&request)? } else { None };
    let (Some(sequence), Some(newest)) = (asked, request.data::<Arc<Snapshot>>().cloned()) else {
        return Ok(next.call(request).await?.into_response());
    };
    request.set_data(state.snapshot_at(newest, sequence).await?);
    request.set_data(Pinned(sequence));
    let mut response = settled(next.call(request).await);
    response.headers_mut().insert(SEQUENCE_HEADER, HeaderValue::from(sequence.0));
    Ok(response)
}

/// Whether it is a question that can be asked of an earlier sequence.
fn is_pinnable(request: &Request) -> bool {
    *request.method() == Method::GET && request.uri().path().starts_with(PINNED_ROUTES)
}

fn asked_sequence(request: &Request) -> Result<Option<Sequence>, Problem> {
    let parameters: Vec<(String, String)> = request.params().unwrap_or_default();
    let asked = parameters.into_iter().find(|(name, _)| name == "at_sequence");
    let sequence = |text: String| text.parse().ok().filter(|number| *number > 0).map(Sequence);
    let wrong = || Problem::parameter("at_sequence", "a sequence is a whole number from 1 up");
    asked.map(|(_, text)| sequence(text).ok_or_else(wrong)).transpose()
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
        // Only a GET can ask for another protocol.
        request.headers_mut().remove(header::UPGRADE);
    }
    if request.headers().get(LAST_EVENT_ID).is_some_and(HeaderValue::is_empty) {
        // Some clients send it before they have any.
        request.headers_mut().remove(LAST_EVENT_ID);
    }
    let trace = TraceId::said_in(request.headers());
    let answering = async {
        let answer = match acceptable(&request) {
            Ok(()) => next.call(request).await,
            Err(problem) => Err(problem.into()),
        };
        settled(answer)
    };
    let mut response = problem::within(trace, answering).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let is_page =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let policy = if is_page { PAGE_POLICY } else { DATA_POLICY };
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(policy));
    // Who may hold what, and for how long, is said on purpose or not at all.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // Any answer may be compressed, and a shared cache must know. What else it depends on, its route says.
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(metrics) = metrics {
        let route = response.data::<OperationId>().map_or("other", |operation| operation.0);
        metrics.answered(known(&method), route, response.status().as_u16(), started.elapsed());
    }
    Ok(response)
}

/// Refuses what nobody reads, whatever the route.
fn acceptable(request: &Request) -> Result<(), Problem> {
    let (uri, headers) = (request.uri(), request.headers());
    let target_bytes = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target_bytes > MAX_URI_BYTES {
        let detail = format!("the request target is longer than {MAX_URI_BYTES} bytes");
        return Err(Problem::parameter("uri", detail));
    }
    let length = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    if request.method() == Method::GET && (length || headers.contains_key(header::TRANSFER_ENCODING)) {
        let detail = "a GET request has no body here; what is asked for goes into the query";
        return Err(Problem::parameter("body", detail));
    }
    Ok(())
}

/// An answer in any case: errors in our shape.
pub(super) fn settled<R: IntoResponse>(answer: Result<R>) -> Response {
    match answer {
        Ok(response) => response.into_response(),
        Err(error) => Problem::from_framework(&error).into_response(),
    }
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

/// The documentation in a browser, made once.
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
