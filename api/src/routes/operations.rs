//! The routes for operators: liveness, readiness, version, metrics, and the page of errors.

use common::readiness::Condition;
use http::StatusCode;
use poem::{Endpoint, EndpointExt, Response, Route, get, handler, web::Data};
use poem_openapi::{ApiResponse, Object, OpenApi, param::Query, payload::PlainText};
use prometheus::{Encoder, TextEncoder};
use serde::Serialize;

use super::{Process, Tag};
use crate::{
    dto::{CheckCondition, Json, Word},
    problem::{ERRORS_PATH, errors_html},
};

/// The version of a process.
#[derive(Debug, Clone, Object, Serialize)]
#[oai(rename = "Version")]
pub struct Build {
    /// The released version.
    pub version: String,
    /// What the program is, in one sentence.
    pub description: String,
    /// The commit that the program was built from, or `unknown` if it was not built in a checkout.
    pub commit: String,
    /// When the program was built.
    pub build_time: String,
}

/// The readiness of a process.
#[derive(Debug, Object, Serialize)]
struct Ready {
    /// Whether the process should receive requests.
    ready: bool,
    /// Every check. Only with `verbose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<CheckItem>>,
}

/// One check of readiness.
#[derive(Debug, Object, Serialize)]
struct CheckItem {
    /// The part that is checked.
    name: String,
    /// Whether it works.
    condition: Word<CheckCondition>,
    /// Why the part is not ready. Absent if it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
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

/// The handlers of the routes for operators.
pub struct OperationsApi(pub(super) Process);

#[OpenApi(tag = "Tag::Operations")]
impl OperationsApi {
    /// Check liveness
    ///
    /// Returns 200 as long as the process can respond at all.
    #[oai(path = "/livez", method = "get", operation_id = "getLiveness")]
    async fn livez(&self) -> PlainText<&'static str> {
        PlainText("alive")
    }

    /// Check readiness
    ///
    /// Reports whether the process should receive requests. A pod stays ready if it cannot reach the log or if the
    /// sources are down, because it can still serve history and marks old prices as stale. With `verbose`, the response
    /// says what is missing.
    #[oai(path = "/readyz", method = "get", operation_id = "getReadiness")]
    async fn readyz(
        &self,
        /// If present, with or without a value, the response lists every check with its reason.
        verbose: Query<Option<String>>,
    ) -> ReadyResponse {
        let (ready, report) = self.0.ready(verbose.0.is_some());
        if ready { ReadyResponse::Ready(Json::of(report)) } else { ReadyResponse::Unready(Json::of(report)) }
    }

    /// Get the version
    ///
    /// Returns the version of the program, and when and from which commit it was built.
    #[oai(path = "/version", method = "get", operation_id = "getVersion")]
    async fn version(&self) -> Json<Build> {
        Json::of(self.0.build.clone())
    }
}

impl Process {
    fn ready(&self, verbose: bool) -> (bool, Ready) {
        let ready = self.readiness.is_ready();
        let item = |(name, condition): (&str, Condition)| {
            let (condition, reason) = match condition {
                Condition::Ready => (CheckCondition::Ready, None),
                Condition::Degraded(reason) => (CheckCondition::Degraded, Some(reason)),
                Condition::Unready(reason) => (CheckCondition::Unready, Some(reason)),
            };
            CheckItem { name: name.to_owned(), condition: Word(condition), reason }
        };
        let checks = verbose.then(|| self.readiness.report().into_iter().map(item).collect());
        (ready, Ready { ready, checks })
    }

    fn metrics(&self) -> Response {
        let mut body = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut body) {
            Ok(()) => Response::builder().content_type(prometheus::TEXT_FORMAT).body(body),
            Err(error) => {
                tracing::error!(event = "metrics_not_encoded", %error, "cannot encode the metrics");
                Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).finish()
            }
        }
    }
}

/// Whom a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The listener for clients, `api.listen`.
    Clients,
    /// The listener for operators, `admin.listen`.
    Operators,
}

/// The routes for operators only.
pub struct Operations;

impl Operations {
    /// `/livez`, `/readyz`, `/version`, `/metrics`, and the page of errors.
    pub(crate) fn routes(process: &Process, side: Side) -> impl Endpoint + use<> {
        let service = poem_openapi::OpenApiService::new(OperationsApi(process.clone()), "Tickwell", "");
        let routes = Route::new().nest_no_strip("/", service).at(ERRORS_PATH, get(errors));
        Self::with_metrics(routes, process, side)
    }

    /// Adds `/metrics`, in Prometheus's text format. A process with an admin listener serves it only there, because
    /// clients need not see it.
    pub(crate) fn with_metrics(routes: Route, process: &Process, side: Side) -> Route {
        match side {
            Side::Clients if process.has_admin => routes,
            Side::Clients | Side::Operators => routes.at("/metrics", get(metrics).data(process.clone())),
        }
    }
}

/// The page of errors, which the `type` of every problem points to.
#[handler]
pub(crate) fn errors() -> Response {
    Response::builder().content_type("text/html; charset=utf-8").body(errors_html())
}

#[handler]
fn metrics(process: Data<&Process>) -> Response {
    process.0.metrics()
}
