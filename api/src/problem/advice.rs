//! What each code means and what to do about it: for the document of the routes, and for the page of errors that
//! every problem's `type` points to.

use common::domain::Words;
use poem_openapi::types::ToJSON;
use serde_json::Value;

use super::{Code, Problem, TraceId};
use crate::html::marked_up;
use crate::stream_end::StreamEnd;

/// Where the page of errors is served.
pub const ERRORS_PATH: &str = "/docs/errors";

const TITLE: &str = "Errors";

const INTRODUCTION: &str = "Every error is `application/problem+json` (RFC 9457): `code` is a stable word for programs, \
    `detail` says in a sentence what happened and what to do next, `parameter` names the parameter that is to blame, \
    and `type` points here. Codes are only ever added; a program that meets one that it does not know goes by the \
    status. There is one exception: what is no HTTP at all, or a request whose head is larger than 16 KiB, is answered \
    400 or 431 without a body, and the connection is closed.";

/// How streams end is told on the same page.
const ENDS: &str = "Ends of streams";

const ENDS_ANCHOR: &str = "ends-of-streams";

const ENDS_INTRODUCTION: &str = "A pod that ends a stream says why: in server-sent events as `event: end` with `code` \
    and `detail`, in NDJSON as a last line `{\"kind\":\"end\",\"code\":…,\"detail\":…}`, on a WebSocket in the close frame, \
    whose reason is the code. Go on behind the last event, with its id as `Last-Event-ID` or `after`: nothing is lost, \
    and nothing comes twice. A stream that breaks off without such a word was cut on its way, or its client took \
    no byte for 30 seconds; go on likewise.";

impl Code {
    /// What has happened.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::InvalidParameter => "A parameter is missing, cannot be read, or is out of its range.",
            Self::UnknownPair => "The log has no such pair.",
            Self::UnknownSequence => "The log has no such record, or this pod no longer keeps it.",
            Self::SequenceAhead => {
                "This pod has not read the log up to `at_sequence`, or up to the `cursor` of a page, yet; `parameter` says \
                 which."
            }
            Self::SequenceGone => {
                "`at_sequence` is longer ago than answers reach back, or where a stream is to go on (`after` or \
                 `Last-Event-ID`) longer ago than history does; `parameter` says which."
            }
            Self::NoRate => "No prices of the log lead from the one asset to the other.",
            Self::UnknownCursor => "A stream's cursor is of another log, or beyond the end of this one.",
            Self::NotFound => "There is no such route.",
            Self::NotAcceptable => "The route has no form of answer that `Accept` takes.",
            Self::UpgradeRequired => "The route speaks WebSocket alone.",
            Self::MethodNotAllowed => "The route does not take this method.",
            Self::Unauthorized => "A key is needed here, and the request has none that is known.",
            Self::RateLimited => "This client has asked too often.",
            Self::NoPriceYet => {
                "No price has been agreed yet; of a conversion, also: no prices of the same slot within the last hour."
            }
            Self::ContractNotMet => {
                "The newest price is not what `max_age`, `min_sources` or `max_spread` asks for; `parameter` says which, \
                 and `newest` is that price."
            }
            Self::ThinWindow => "Less of a window is covered by ticks than `min_coverage` asks for.",
            Self::TooManyStreams => "Too many others are following the log here.",
            Self::Busy => "Too many others are reading history.",
            Self::StoreUnavailable => "History is not at hand for the moment; the newest prices still are.",
            Self::BackupRunning => "Another backup is being made or sent.",
            Self::Starting => "The process has only begun to start.",
            Self::Internal => "Something broke in the process; its log has the details.",
        }
    }

    /// What whoever gets it should do.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::InvalidParameter => {
                "Change what `parameter` names, as `detail` says. The same request fails again."
            }
            Self::UnknownPair => "Ask `/v1/pairs` for those of the log.",
            Self::UnknownSequence => {
                "Ask for a position up to the answer's `X-Tickwell-Sequence`, and a newer one."
            }
            Self::SequenceAhead => "Ask again after `Retry-After`, or ask the pod that gave you either.",
            Self::SequenceGone => {
                "Ask for a newer sequence; `/v1/prices/{pair}/history` reaches further back. Begin a stream with `after=0` \
                 for all that there is, or without a cursor."
            }
            Self::NoRate => "Ask for assets that `detail` names.",
            Self::UnknownCursor => {
                "Begin anew, without the cursor. Where it was only a moment ahead of this pod, asking again helps."
            }
            Self::NotFound => "Look for the route in `/docs`.",
            Self::NotAcceptable => "Ask for a media type that `detail` names, or leave `Accept` out.",
            Self::UpgradeRequired => "Use a WebSocket client, or `/v1/stream`.",
            Self::MethodNotAllowed => "Use a method that `Allow` names.",
            Self::Unauthorized => {
                "Send `Authorization: Bearer KEY` or `X-API-Key: KEY`; those who run it give out keys."
            }
            Self::RateLimited => {
                "Wait as long as `Retry-After` says; `RateLimit-Policy` says how many requests are free in how many seconds."
            }
            Self::NoPriceYet => {
                "Ask again after `Retry-After`; `/readyz?verbose` says what is missing. A conversion's prices can be asked for \
                 each by itself."
            }
            Self::ContractNotMet => {
                "Do without a price, or ask again after `Retry-After`, when the next slot begins."
            }
            Self::ThinWindow => "Ask for less coverage or another window, or again after `Retry-After`.",
            Self::TooManyStreams | Self::Busy => "Ask again after `Retry-After`, or another pod.",
            Self::StoreUnavailable => {
                "Ask again after `Retry-After`, or another pod. Operators: `/readyz?verbose` says why; mostly the disk \
                 is full."
            }
            Self::BackupRunning => "Ask again after `Retry-After`, when it is done.",
            Self::Starting => "Ask again after `Retry-After`; `/readyz?verbose` says what is waited for.",
            Self::Internal => "Ask again, or another pod; if it stays, show the log to those who run it.",
        }
    }

    /// Whether a problem with this code goes away by itself, and says after how long.
    pub(crate) fn is_passing(self) -> bool {
        match self {
            Self::SequenceAhead
            | Self::RateLimited
            | Self::NoPriceYet
            | Self::ContractNotMet
            | Self::ThinWindow
            | Self::TooManyStreams
            | Self::Busy
            | Self::StoreUnavailable
            | Self::BackupRunning
            | Self::Starting => true,
            Self::InvalidParameter
            | Self::UnknownPair
            | Self::UnknownSequence
            | Self::SequenceGone
            | Self::NoRate
            | Self::UnknownCursor
            | Self::NotFound
            | Self::NotAcceptable
            | Self::UpgradeRequired
            | Self::MethodNotAllowed
            | Self::Unauthorized
            | Self::Internal => false,
        }
    }

    /// The body of a problem with this code.
    pub(crate) fn example(self) -> Value {
        let problem = match self {
            Self::InvalidParameter => Problem::parameter("pair", self.meaning()),
            Self::SequenceAhead | Self::SequenceGone => {
                Problem::new(self, self.meaning()).naming("at_sequence")
            }
            Self::UnknownPair => Problem::new(self, self.meaning()).naming("pair"),
            Self::UnknownSequence => Problem::new(self, self.meaning()).naming("sequence"),
            Self::UnknownCursor => Problem::new(self, self.meaning()).naming("after"),
            Self::ContractNotMet => Problem::new(self, self.meaning()).naming("max_age"),
            Self::ThinWindow => Problem::new(self, self.meaning()).naming("min_coverage"),
            _ => Problem::new(self, self.meaning()),
        };
        problem.details(TraceId::EXAMPLE).to_json().unwrap_or_default()
    }
}

/// The page of errors as it lies in the repository.
pub fn errors_markdown() -> String {
    let entry = |code: &Code| {
        format!("\n## `{code}`\n\n{}. {}\n\n{}\n", status(*code), code.meaning(), code.remedy())
    };
    let end = |end: &StreamEnd| format!("\n### `{end}`\n\n{}\n", told(*end));
    format!(
        "# {TITLE}\n\n{INTRODUCTION}\n{}\n## {ENDS}\n\n{ENDS_INTRODUCTION}\n{}",
        Code::ALL.iter().map(entry).collect::<String>(),
        StreamEnd::ALL.iter().map(end).collect::<String>()
    )
}

/// The page of errors for a browser; each code can be pointed to.
pub fn errors_html() -> String {
    let entry = |code: &Code| {
        format!(
            "<h2 id=\"{code}\"><code>{code}</code></h2>\n<p>{}. {}</p>\n<p>{}</p>\n",
            status(*code),
            marked_up(code.meaning()),
            marked_up(code.remedy())
        )
    };
    let end = |end: &StreamEnd| {
        format!("<h3 id=\"end-{end}\"><code>{end}</code></h3>\n<p>{}</p>\n", marked_up(&told(*end)))
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{TITLE}</title>\n<h1>{TITLE}</h1>\n\
         <p>{}</p>\n{}<h2 id=\"{ENDS_ANCHOR}\">{ENDS}</h2>\n<p>{}</p>\n{}</html>\n",
        marked_up(INTRODUCTION),
        Code::ALL.iter().map(entry).collect::<String>(),
        marked_up(ENDS_INTRODUCTION),
        StreamEnd::ALL.iter().map(end).collect::<String>()
    )
}

/// What the end of a stream means, what to do, and how a WebSocket is closed with it.
fn told(end: StreamEnd) -> String {
    format!(
        "{} The `detail`: “{}”. A WebSocket is closed with {}.",
        end.meaning(),
        end.detail(),
        end.close_code()
    )
}

fn status(code: Code) -> String {
    code.status().to_string()
}
