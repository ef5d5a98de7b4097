//! The one shape of errors: RFC 9457 `application/problem+json`, with a stable code.
//!
//! Every error of the API is made here, the framework's own included.

mod advice;
mod newest;
mod trace;

use std::borrow::Cow;

use http::StatusCode;
use poem::{IntoResponse, Response, error::ResponseError};
use poem_openapi::{
    ApiResponse, Object,
    error::ParseParamError,
    payload::Payload,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry},
    types::{ToJSON, Type},
};

pub use advice::{ERRORS_PATH, errors_html, errors_markdown};
use newest::Newest;
pub(crate) use trace::{TraceId, within};

use crate::lines::LineError;
use ledger::{snapshot::PinError, store::StoreError};

common::words! {
    /// What went wrong, in a word that programs can rely on.
    pub enum Code ("problem code") {
        /// A parameter cannot be read, or is out of its range.
        InvalidParameter = "invalid_parameter",
        /// The log has no such pair.
        UnknownPair = "unknown_pair",
        /// The log has no pairs that lead from one asset to the other.
        NoRate = "no_rate",
        /// The log has no such record, or this pod no longer keeps it.
        UnknownSequence = "unknown_sequence",
        /// This pod has not read the log up to `at_sequence`, or up to a cursor, yet.
        SequenceAhead = "sequence_ahead",
        /// `at_sequence` is longer ago than answers reach back.
        SequenceGone = "sequence_gone",
        /// A stream's cursor is of another log, or beyond the end of this one.
        UnknownCursor = "unknown_cursor",
        /// There is no such route.
        NotFound = "not_found",
        /// The route has no form of answer that the client takes.
        NotAcceptable = "not_acceptable",
        /// The route does not take this method.
        MethodNotAllowed = "method_not_allowed",
        /// The route speaks another protocol alone.
        UpgradeRequired = "upgrade_required",
        /// A key is needed, and the request has none that is known.
        Unauthorized = "unauthorized",
        /// The client asked too often.
        RateLimited = "rate_limited",
        /// No price has been agreed yet.
        NoPriceYet = "no_price_yet",
        /// The newest price is not what `max_age`, `min_sources` or `max_spread` asks for; `parameter` says which.
        ContractNotMet = "contract_not_met",
        /// Too little of a window is covered by ticks.
        ThinWindow = "thin_window",
        /// Too many others are following the log here.
        TooManyStreams = "too_many_streams",
        /// Too many others are reading history.
        Busy = "busy",
        /// History is not at hand for the moment; prices are.
        StoreUnavailable = "store_unavailable",
        /// Another backup is being made or sent.
        BackupRunning = "backup_running",
        /// The process has only begun to start.
        Starting = "starting",
        /// Something broke here; the log has the details.
        Internal = "internal",
    }
}

impl Code {
    /// The HTTP status that goes with the code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidParameter => StatusCode::BAD_REQUEST,
            Self::UnknownPair | Self::NoRate | Self::UnknownSequence | Self::NotFound => {
                StatusCode::NOT_FOUND
            }
            Self::BackupRunning => StatusCode::CONFLICT,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::SequenceAhead | Self::UnknownCursor => StatusCode::CONFLICT,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Self::SequenceGone => StatusCode::GONE,
            Self::NoPriceYet
            | Self::ContractNotMet
            | Self::ThinWindow
            | Self::TooManyStreams
            | Self::Busy
            | Self::StoreUnavailable
            | Self::Starting => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// What every route takes: the API only answers questions.
const ALLOWED_METHODS: &str = "GET, HEAD";

/// An answer that is an error.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    parameter: Option<Cow<'static, str>>,
    retry_after_seconds: Option<u64>,
    /// What only the server's log is told.
    cause: Option<String>,
    newest: Option<Box<Newest>>,
}

/// An error, after RFC 9457.
#[derive(Debug, Clone, Object)]
#[oai(rename = "Problem")]
struct ProblemDetails {
    /// Where this kind of problem is described, on the same pod.
    #[oai(rename = "type")]
    kind: String,
    /// The HTTP status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// A stable word for programs.
    code: String,
    /// What happened, and what to do next.
    detail: String,
    /// The parameter that is to blame, if one is.
    #[oai(skip_serializing_if_is_none)]
    parameter: Option<String>,
    /// The trace this answer belongs to, 32 hex digits: that of the request's `traceparent`, else a new one. The
    /// server's log says it with every error of its own.
    trace_id: String,
    /// Of `contract_not_met`: the newest price there is, as `/v1/prices/{pair}` answers it.
    #[oai(skip_serializing_if_is_none)]
    newest: Option<Newest>,
}

impl Problem {
    /// A problem with a code, and a sentence that says what to do next.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            parameter: None,
            retry_after_seconds: None,
            cause: None,
            newest: None,
        }
    }

    /// A parameter that cannot be read or is out of range.
    pub fn parameter(name: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { parameter: Some(name.into()), ..Self::new(Code::InvalidParameter, detail) }
    }

    /// Which problem it is.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// What happened, and what to do next.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The same problem, with the parameter that is to blame.
    #[must_use]
    pub fn naming(self, parameter: &'static str) -> Self {
        Self { parameter: Some(parameter.into()), ..self }
    }

    /// The same problem, with the time after which asking again makes sense.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_seconds: Some(seconds.max(1)), ..self }
    }

    /// The same problem, with the newest price there is, as the routes answer it.
    #[must_use]
    pub fn with_newest(self, newest: serde_json::Value) -> Self {
        Self { newest: Some(Box::new(Newest(newest))), ..self }
    }

    /// Something broke here. What broke is for the server's log.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let detail = "something broke while answering; the server's log says what, under this trace_id";
        Self { cause: Some(cause.to_string()), ..Self::new(Code::Internal, detail) }
    }

    /// The framework's error in our shape. What it is not sure about is the client's error only if the
    /// framework says so.
    pub fn from_framework(error: &poem::Error) -> Self {
        if let Some(problem) = error.downcast_ref::<Self>() {
            return problem.clone();
        }
        if let Some(ParseParamError { name, reason }) = error.downcast_ref() {
            return Self::parameter(*name, plain(reason).to_owned());
        }
        match error.status() {
            StatusCode::NOT_FOUND => Self::new(Code::NotFound, "there is no such route; see /docs"),
            StatusCode::METHOD_NOT_ALLOWED => {
                Self::new(Code::MethodNotAllowed, "this route takes GET and HEAD; see /docs")
            }
            status if status.is_client_error() => Self::new(Code::InvalidParameter, error.to_string()),
            _ => Self::internal(error),
        }
    }

    fn details(&self, trace: TraceId) -> ProblemDetails {
        let status = self.code.status();
        ProblemDetails {
            kind: format!("{ERRORS_PATH}#{}", self.code),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            code: self.code.to_string(),
            detail: self.detail.clone().into_owned(),
            parameter: self.parameter.clone().map(Cow::into_owned),
            trace_id: trace.to_string(),
            newest: self.newest.as_deref().cloned(),
        }
    }
}

/// When to ask again for what only a store can answer.
const STORE_RETRY_SECONDS: u64 = 10;

/// What our own parsers said, without the type names that the framework wraps around it.
fn plain(reason: &str) -> &str {
    if reason.ends_with("expects an input value.") {
        return "this parameter is needed; see /docs for what it takes";
    }
    let inner = reason.split_once("\": ").filter(|(before, _)| before.starts_with("failed to parse"));
    let inner = inner.map_or(reason, |(_, inner)| inner);
    inner.split_once(" (occurred while parsing").map_or(inner, |(inner, _)| inner)
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if let StoreError::Closed(_) = error {
            let detail = "the store takes no records at the moment, so history is not answered; \
                          the newest prices and averages still are";
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

/// Pods are a moment apart.
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
        let trace = TraceId::current();
        if self.code == Code::Internal {
            let (trace_id, error) = (trace.to_string(), self.cause.as_deref().unwrap_or(&self.detail));
            tracing::error!(trace_id, error, "a request failed");
        }
        let mut response = Response::builder()
            .status(self.code.status())
            .content_type(ProblemJson::CONTENT_TYPE)
            .header("Cache-Control", "no-store");
        if let Some(seconds) = self.retry_after_seconds {
            response = response.header("Retry-After", seconds);
        }
        if self.code == Code::MethodNotAllowed {
            response = response.header("Allow", ALLOWED_METHODS);
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
        response.body(self.details(trace).to_json_string())
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

/// The media type of problems, for the document.
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
    /// Which problems a route can really have, [`crate::routes`] puts into the document.
    fn meta() -> MetaResponses {
        let content =
            MetaMediaType { content_type: ProblemJson::CONTENT_TYPE, schema: ProblemJson::schema_ref() };
        let response = MetaResponse {
            description: "Something broke here",
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
