//! Errors as clients see them: RFC 9457 `application/problem+json` with a stable code.
//!
//! The framework's own errors are converted to this shape too.

mod code;
mod errors_page;
mod newest;
mod trace;

use std::borrow::Cow;

use common::telemetry::TraceId;
use http::StatusCode;
use poem::{IntoResponse, Response, error::ResponseError};
use poem_openapi::{
    ApiResponse, Object,
    error::ParseParamError,
    payload::Payload,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry},
    types::Type,
};
use serde::Serialize;
use serde_json::value::RawValue;

pub use code::Code;
pub(crate) use code::Retry;
pub use errors_page::{ERRORS_PATH, errors_html, errors_markdown};
use newest::Newest;
pub(crate) use trace::{caller, in_trace};

use crate::{lines::LineError, word::Word};
use ledger::{snapshot::PinError, store::StoreError};

/// The methods of nearly every route: the API is read-only.
pub(crate) const READING: &str = "GET, HEAD";

/// An error that is returned to the client.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    parameter: Option<Cow<'static, str>>,
    retry_after_seconds: Option<u64>,
    /// The cause of an internal error. It is logged and never sent.
    cause: Option<String>,
    newest: Option<Box<Newest>>,
    /// The methods of the route, if the request has another one.
    allowed: &'static str,
}

/// An error as described by RFC 9457.
#[derive(Debug, Clone, Object, Serialize)]
#[oai(rename = "Problem")]
struct ProblemDetails {
    /// A link to the description of this kind of problem, on the same pod.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    kind: String,
    /// The name of the HTTP status.
    title: String,
    /// The HTTP status.
    status: u16,
    /// A stable word for programs that says what went wrong.
    code: Word<Code>,
    /// What happened, and what to do next.
    detail: String,
    /// The name of the parameter that caused the problem, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    /// The trace id in 32 hex digits, taken from the request's `traceparent` or newly created. The server logs the
    /// trace id with every internal error. If the server records traces, this is the id of the request's trace.
    trace_id: String,
    /// Only for `contract_not_met`: the newest price, as `/v1/prices/{pair}` returns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<Newest>,
}

impl Problem {
    /// A problem with a code, and a sentence that says what happened and what to do next.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            parameter: None,
            retry_after_seconds: None,
            cause: None,
            newest: None,
            allowed: READING,
        }
    }

    /// A method that the route does not support. `allowed` lists those that it supports.
    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        let detail = format!("this route supports {allowed} only; see /docs");
        Self { allowed, ..Self::new(Code::MethodNotAllowed, detail) }
    }

    /// A parameter that is malformed or out of range.
    pub fn parameter(name: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { parameter: Some(name.into()), ..Self::new(Code::InvalidParameter, detail) }
    }

    /// A required parameter that the request does not have.
    pub(crate) fn missing(name: &'static str) -> Self {
        Self::parameter(name, MISSING_PARAMETER)
    }

    pub(crate) fn is_missing_parameter(&self) -> bool {
        self.detail == MISSING_PARAMETER
    }

    pub(crate) fn parameter_name(&self) -> Option<&str> {
        self.parameter.as_deref()
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// After how many seconds the client should retry, if a retry can help.
    pub(crate) fn retry_seconds(&self) -> Option<u64> {
        self.retry_after_seconds
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Adds the name of the parameter that caused the problem.
    #[must_use]
    pub fn naming(self, parameter: &'static str) -> Self {
        Self { parameter: Some(parameter.into()), ..self }
    }

    /// Adds the time after which the client should retry.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_seconds: Some(seconds.max(1)), ..self }
    }

    /// Adds the newest price, in the JSON of the price routes.
    #[must_use]
    pub(crate) fn with_newest(self, newest: Box<RawValue>) -> Self {
        Self { newest: Some(Box::new(Newest(newest))), ..self }
    }

    /// An internal error. The cause is logged and not sent to the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let detail = "the server failed to process the request; its log has the details under this trace_id";
        Self { cause: Some(cause.to_string()), ..Self::new(Code::Internal, detail) }
    }

    /// Converts an error of the framework. It becomes a client error if its status is 4xx, and otherwise an internal
    /// error.
    pub fn from_framework(error: &poem::Error) -> Self {
        if let Some(problem) = error.downcast_ref::<Self>() {
            return problem.clone();
        }
        if let Some(ParseParamError { name, reason }) = error.downcast_ref() {
            return Self::parameter(*name, plain(reason).to_owned());
        }
        match error.status() {
            StatusCode::NOT_FOUND => Self::new(Code::NotFound, "there is no such route; see /docs"),
            StatusCode::METHOD_NOT_ALLOWED => Self::method_not_allowed(READING),
            status if status.is_client_error() => Self::new(Code::InvalidParameter, error.to_string()),
            _ => Self::internal(error),
        }
    }

    /// The body of the response.
    fn json(&self, trace: TraceId) -> String {
        let status = self.code.status();
        let details = ProblemDetails {
            kind: format!("{ERRORS_PATH}#{}", self.code),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            code: Word(self.code),
            detail: self.detail.clone().into_owned(),
            parameter: self.parameter.clone().map(Cow::into_owned),
            trace_id: trace.to_string(),
            newest: self.newest.as_deref().cloned(),
        };
        // This cannot fail, because the members are strings, a number, and JSON that is already serialized.
        serde_json::to_string(&details).unwrap_or_default()
    }
}

/// Turns the result of a handler into a response. An error becomes a problem.
pub(crate) fn into_response<R: IntoResponse>(result: poem::Result<R>) -> Response {
    match result {
        Ok(response) => response.into_response(),
        Err(error) => Problem::from_framework(&error).into_response(),
    }
}

/// The `Retry-After` if the store is unavailable.
const STORE_RETRY_SECONDS: u64 = 10;

/// The detail of a problem about a required parameter that is missing.
const MISSING_PARAMETER: &str = "this parameter is required; see /docs";

/// Extracts the message of our own parser from the framework's message, which also contains type names.
fn plain(reason: &str) -> &str {
    if reason.ends_with("expects an input value.") {
        return MISSING_PARAMETER;
    }
    let inner = reason.split_once("\": ").filter(|(before, _)| before.starts_with("failed to parse"));
    let inner = inner.map_or(reason, |(_, inner)| inner);
    inner.split_once(" (occurred while parsing").map_or(inner, |(inner, _)| inner)
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if let StoreError::Closed(_) = error {
            let detail = "the store is closed at the moment, so history is unavailable; the newest prices and averages \
                          are still served";
            return Self::new(Code::StoreUnavailable, detail).retry_after(STORE_RETRY_SECONDS);
        }
        Self::internal(common::telemetry::chain(&error))
    }
}

impl From<LineError> for Problem {
    fn from(error: LineError) -> Self {
        Self::internal(common::telemetry::chain(&error))
    }
}

/// The `Retry-After` if this pod has not read the log far enough. A pod is rarely further behind the other pods than
/// this.
const AHEAD_RETRY_SECONDS: u64 = 1;

impl From<PinError> for Problem {
    fn from(error: PinError) -> Self {
        let detail = error.to_string();
        match error {
            PinError::Ahead { .. } => {
                Self::new(Code::SequenceAhead, detail).naming("at_sequence").retry_after(AHEAD_RETRY_SECONDS)
            }
            PinError::Gone => Self::new(Code::SequenceGone, detail).naming("at_sequence"),
            PinError::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let trace = trace::current();
        if self.code == Code::Internal {
            let (trace_id, error) = (trace.to_string(), self.cause.as_deref().unwrap_or(&self.detail));
            tracing::error!(
                event = "request_failed",
                trace_id,
                error,
                "a request failed with an internal error"
            );
        }
        let mut response = Response::builder()
            .status(self.code.status())
            .content_type(ProblemJson::CONTENT_TYPE)
            .header("Cache-Control", "no-store");
        if let Some(seconds) = self.retry_after_seconds {
            response = response.header("Retry-After", seconds);
        }
        if self.code == Code::MethodNotAllowed {
            response = response.header("Allow", self.allowed);
        }
        if self.code == Code::Unauthorized {
            response = response.header("WWW-Authenticate", "Bearer");
        }
        if self.code == Code::UpgradeRequired {
            let upgrade =
                [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
            response =
                upgrade.into_iter().fold(response, |response, (name, value)| response.header(name, value));
        }
        let body = self.json(trace);
        // The code is for the metrics. A dialect that writes errors in another form needs the whole problem.
        response.extension(self.code).extension(self).body(body)
    }
}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.code.status()
    }

    fn as_response(&self) -> Response {
        self.clone().into_response()
    }
}

/// The body of a problem, for the OpenAPI document.
pub(crate) struct ProblemJson;

impl Payload for ProblemJson {
    const CONTENT_TYPE: &'static str = "application/problem+json";

    fn schema_ref() -> MetaSchemaRef {
        ProblemDetails::schema_ref()
    }

    fn register(registry: &mut Registry) {
        ProblemDetails::register(registry);
    }
}

impl ApiResponse for Problem {
    /// A placeholder. In the finished document, [`crate::routes`] replaces it with the problems that each route can
    /// have.
    fn meta() -> MetaResponses {
        let content =
            MetaMediaType { content_type: ProblemJson::CONTENT_TYPE, schema: ProblemJson::schema_ref() };
        let response = MetaResponse {
            description: "An internal error",
            status: Some(StatusCode::INTERNAL_SERVER_ERROR.as_u16()),
            status_range: None,
            content: vec![content],
            headers: Vec::new(),
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(registry: &mut Registry) {
        ProblemJson::register(registry);
    }
}
