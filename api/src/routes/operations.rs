//! What operators ask: is it alive, is it ready, what is it, what does it count.

use common::readiness::Condition;
use http::StatusCode;
use poem::{Endpoint, Response, Route, get, handler, web::Data};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::Query,
    payload::{Json, PlainText},
};
use prometheus::{Encoder, TextEncoder};

use super::{Process, Tag};
use crate::problem::{ERRORS_PATH, errors_html};

/// What a process is.
#[derive(Debug, Clone, Object)]
#[oai(rename = "Version")]
pub struct Build {
    /// The released version.
    pub version: String,
    /// What it is, in a sentence.
    pub description: String,
    /// The commit it was built from; `unknown` outside of a checkout.
    pub commit: String,
    /// When it was built.
    pub build_time: String,
}

/// The readiness of a process.
#[derive(Debug, Object)]
struct Ready {
    /// Whether it should get requests.
    ready: bool,
    /// Each check, if asked for with `verbose`.
    #[oai(skip_serializing_if_is_none)]
    checks: Option<Vec<CheckItem>>,
}

/// One check of readiness.
#[derive(Debug, Object)]
struct CheckItem {
    /// What is checked.
    name: String,
    /// `ready`, `degraded` (serving, with something missing) or `unready`.
    condition: String,
    /// Why it is not ready.
    #[oai(skip_serializing_if_is_none)]
    reason: Option<String>,
}

#[derive(ApiResponse)]
enum ReadyResponse {
    /// Ready
    #[oai(status = 200)]
    Ready(Json<Ready>),
    /// Not ready
    #[oai(status = 503)]
    Unready(Json<Ready>),
}

/// The operators' routes of a pod, documented with the others.
pub struct OperationsApi(pub(super) Process);

#[OpenApi(tag = "Tag::Operations")]
impl OperationsApi {
    /// Whether the process lives
    ///
    /// It does as long as it answers at all.
    #[oai(path = "/livez", method = "get", operation_id = "getLiveness")]
    async fn livez(&self) -> PlainText<&'static str> {
        PlainText("alive")
    }

    /// Whether the process should get requests
    ///
    /// A pod whose sources or log are away stays ready and labels its answers; `verbose` says what it lacks.
    #[oai(path = "/readyz", method = "get", operation_id = "getReadiness")]
    async fn readyz(
        &self,
        /// Present: every check with its reason. `?verbose` is enough.
        verbose: Query<Option<String>>,
    ) -> ReadyResponse {
        let (ready, answer) = self.0.ready(verbose.0.is_some());
        if ready { ReadyResponse::Ready(Json(answer)) } else { ReadyResponse::Unready(Json(answer)) }
    }

    /// What the process is
    ///
    /// The released version, and what it was built from.
    #[oai(path = "/version", method = "get", operation_id = "getVersion")]
    async fn version(&self) -> Json<Build> {
        Json(self.0.build.clone())
    }
}

impl Process {
    fn ready(&self, verbose: bool) -> (bool, Ready) {
        let ready = self.readiness.is_ready();
        let item = |(name, condition): (&str, Condition)| {
            let (condition, reason) = match condition {
                Condition::Ready => ("ready", None),
                Condition::Degraded(reason) => ("degraded", Some(reason)),
                Condition::Unready(reason) => ("unready", Some(reason)),
            };
            CheckItem { name: name.to_owned(), condition: condition.to_owned(), reason }
        };
        let checks = verbose.then(|| self.readiness.report().into_iter().map(item).collect());
        (ready, Ready { ready, checks })
    }

    fn metrics(&self) -> Response {
        let mut body = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut body) {
            Ok(()) => Response::builder().content_type(prometheus::TEXT_FORMAT).body(body),
            Err(error) => {
                tracing::error!(%error, "cannot write the metrics");
                Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).finish()
            }
        }
    }
}

/// The operators' routes on their own, for a process that answers no others.
pub struct Operations;

impl Operations {
    /// `/livez`, `/readyz`, `/version`, `/metrics`, and the page that problems point to.
    pub fn routes(process: &Process) -> impl Endpoint + use<> {
        let service = poem_openapi::OpenApiService::new(OperationsApi(process.clone()), "Tickwell", "");
        Route::new()
            .nest_no_strip("/", service)
            .at("/metrics", metrics_route(process))
            .at(ERRORS_PATH, get(errors))
    }
}

/// `/metrics`, in Prometheus's text format.
pub(crate) fn metrics_route(process: &Process) -> impl Endpoint + use<> {
    use poem::EndpointExt;
    get(metrics).data(process.clone())
}

/// The page that problems point to.
#[handler]
pub(crate) fn errors() -> Response {
    Response::builder().content_type("text/html; charset=utf-8").body(errors_html())
}

#[handler]
fn metrics(process: Data<&Process>) -> Response {
    process.0.metrics()
}
