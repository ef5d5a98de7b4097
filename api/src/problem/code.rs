//! The problem codes: what each one means, its HTTP status, and what the client can do about it.

use http::StatusCode;

use crate::word::{may_grow, vocabulary};

common::words! {
    /// A stable word that identifies what went wrong. [`Code::facts`] describes each one.
    #[expect(missing_docs, reason = "`Code::facts` describes each code, for the documents too")]
    pub enum Code ("problem code") {
        InvalidParameter = "invalid_parameter",
        UnknownPair = "unknown_pair",
        NoRate = "no_rate",
        UnknownSequence = "unknown_sequence",
        SequenceAhead = "sequence_ahead",
        SequenceGone = "sequence_gone",
        UnknownCursor = "unknown_cursor",
        NotFound = "not_found",
        NotAcceptable = "not_acceptable",
        MethodNotAllowed = "method_not_allowed",
        UpgradeRequired = "upgrade_required",
        Unauthorized = "unauthorized",
        OriginNotAllowed = "origin_not_allowed",
        RateLimited = "rate_limited",
        NoPriceYet = "no_price_yet",
        ContractNotMet = "contract_not_met",
        ThinWindow = "thin_window",
        TooManyStreams = "too_many_streams",
        Busy = "busy",
        StoreUnavailable = "store_unavailable",
        BackupRunning = "backup_running",
        Starting = "starting",
        Internal = "internal",
    }
}

vocabulary!(
    Code,
    "ProblemCode",
    may_grow!(
        "What went wrong, as a word for programs. [/docs/errors](docs/errors) explains each word.",
        "any problem with the same HTTP status."
    ),
    may_grow = true
);

/// Whether repeating the same request can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Yes: the cause goes away without a change of the request. `Retry-After` says when to retry.
    Later,
    /// No: the request must change, or an operator must act.
    Never,
}

/// The description of a code.
pub(crate) struct Facts {
    pub(crate) status: StatusCode,
    pub(crate) retry: Retry,
    /// What happened.
    pub(crate) meaning: &'static str,
    /// What the client should do.
    pub(crate) remedy: &'static str,
}

impl Code {
    /// The HTTP status that goes with the code.
    pub fn status(self) -> StatusCode {
        self.facts().status
    }

    /// Everything about the code, for responses and documents.
    #[expect(clippy::too_many_lines, reason = "a table with one entry per code")]
    pub(crate) fn facts(self) -> Facts {
        use Retry::{Later, Never};
        let (status, retry, meaning, remedy) = match self {
            Self::InvalidParameter => (
                StatusCode::BAD_REQUEST,
                Never,
                "A parameter is missing, malformed or out of range.",
                "Correct the parameter that `parameter` names, as `detail` says. Repeating the same request does not help.",
            ),
            Self::UnknownPair => (
                StatusCode::NOT_FOUND,
                Never,
                "The log does not contain this pair.",
                "See `/v1/pairs` for the pairs in the log.",
            ),
            Self::NoRate => (
                StatusCode::NOT_FOUND,
                Never,
                "No pairs in the log connect the two assets.",
                "Use assets that `detail` lists.",
            ),
            Self::UnknownSequence => (
                StatusCode::NOT_FOUND,
                Never,
                "The log has no record at this position, or this pod no longer keeps it.",
                "Use a more recent sequence, but not one above the response's `X-Tickwell-Sequence`.",
            ),
            Self::SequenceAhead => (
                StatusCode::CONFLICT,
                Later,
                "This pod has not yet read the log as far as `at_sequence`, or as far as the `cursor` of a page. \
                 `parameter` says which of the two.",
                "Retry after `Retry-After`, or send the request to the pod that returned the sequence or cursor.",
            ),
            Self::SequenceGone => (
                StatusCode::GONE,
                Never,
                "`at_sequence` is too far back, or a stream's cursor (`after` or `Last-Event-ID`) is older than \
                 the history that is kept. `parameter` says which of the two.",
                "Use a more recent sequence; `/v1/prices/{pair}/history` reaches further back. Start a stream with \
                 `after=0` to get everything that is kept, or without a cursor to start with the newest events.",
            ),
            Self::UnknownCursor => (
                StatusCode::CONFLICT,
                Never,
                "A stream's cursor belongs to another log or is beyond the end of this one.",
                "Start again without the cursor. If the cursor was only slightly ahead of this pod, retrying helps.",
            ),
            Self::NotFound => {
                (StatusCode::NOT_FOUND, Never, "There is no such route.", "See `/docs` for the routes.")
            }
            Self::NotAcceptable => (
                StatusCode::NOT_ACCEPTABLE,
                Never,
                "The route has no format that `Accept` allows.",
                "Use a media type that `detail` lists, or leave out `Accept`.",
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                Never,
                "The route does not support this method.",
                "Use a method that `Allow` lists.",
            ),
            Self::UpgradeRequired => (
                StatusCode::UPGRADE_REQUIRED,
                Never,
                "The route only supports WebSocket.",
                "Use a WebSocket client, or `/v1/stream`.",
            ),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                Never,
                "This route needs an API key, and the request has none that is valid.",
                "Send `Authorization: Bearer KEY` or `X-API-Key: KEY`. The operator of the service issues keys. A browser's \
                 `EventSource` or WebSocket sends a ticket of `/v1/tickets` as the parameter `ticket`, and needs a new one \
                 after a minute.",
            ),
            Self::OriginNotAllowed => (
                StatusCode::FORBIDDEN,
                Never,
                "The request comes from a web page of another origin, and the pod does not allow pages of this origin.",
                "The operator of the service can add the value of the header `Origin` to `api.cors_origins`, or set \
                 `api.cors_origins` to `*`. If the page is from the pod itself, a proxy has changed the header `Host`: it must \
                 pass `Host` on, or send `X-Forwarded-Host` and be listed in `api.trusted_proxies`.",
            ),
            Self::RateLimited => (
                StatusCode::TOO_MANY_REQUESTS,
                Later,
                "This client has sent too many requests, or has not read its earlier responses.",
                "Wait as long as `Retry-After` says. `RateLimit-Policy` says how many requests are allowed in how many \
                 seconds. A request counts once for each 1,000 items of its `limit` or `max_points`, so smaller pages may \
                 still be allowed.",
            ),
            Self::NoPriceYet => (
                StatusCode::SERVICE_UNAVAILABLE,
                Later,
                "There is no agreed price yet. For a conversion, this code can also mean that the two pairs have no \
                 prices in the same slot within the last hour.",
                "Retry after `Retry-After`; `/readyz?verbose` says what is missing. The prices of a conversion can also \
                 be requested one by one.",
            ),
            Self::ContractNotMet => (
                StatusCode::SERVICE_UNAVAILABLE,
                Later,
                "The newest price does not meet `max_age`, `min_sources` or `max_spread`. `parameter` says which of \
                 these, and `newest` is the price.",
                "Proceed without a price, or retry after `Retry-After`, which is when the next slot begins.",
            ),
            Self::ThinWindow => (
                StatusCode::SERVICE_UNAVAILABLE,
                Later,
                "Ticks cover less of a window than `min_coverage` requires.",
                "Use a lower `min_coverage` or another window, or retry after `Retry-After`.",
            ),
            Self::TooManyStreams => (
                StatusCode::SERVICE_UNAVAILABLE,
                Later,
                "This pod already has as many stream clients as it allows.",
                "Retry after `Retry-After`, or use another pod.",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                Later,
                "Too many other requests are reading history, or many clients read their responses slowly.",
                "Retry after `Retry-After`, or use another pod.",
            ),
            Self::StoreUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                Later,
                "What is only on disk is temporarily unavailable. The newest prices are still served.",
                "Retry after `Retry-After`, or use another pod. Operators find the reason at `/readyz?verbose`. It is \
                 usually a full disk.",
            ),
            Self::BackupRunning => (
                StatusCode::CONFLICT,
                Later,
                "Another backup is being made or sent.",
                "Retry after `Retry-After`.",
            ),
            Self::Starting => (
                StatusCode::SERVICE_UNAVAILABLE,
                Later,
                "The process is still starting.",
                "Retry after `Retry-After`; `/readyz?verbose` says what it is waiting for.",
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                Never,
                "The server failed to process the request. Its log has the details.",
                "Retry, or use another pod. If it keeps happening, give the `trace_id` to the operator of the service.",
            ),
        };
        Facts { status, retry, meaning, remedy }
    }
}
