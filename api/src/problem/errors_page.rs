//! The page that describes every error, as HTML and Markdown. The `type` of each problem links to it.

use common::{domain::Words, telemetry::TraceId};

use super::{Code, Problem};
use crate::html::marked_up;
use crate::stream_end::StreamEnd;

/// Where the page of errors is served.
pub const ERRORS_PATH: &str = "/docs/errors";

const TITLE: &str = "Errors";

const INTRODUCTION: &str = "Every error is `application/problem+json` (RFC 9457). `code` is a stable word for programs. \
    `detail` explains in a sentence what happened and what to do next. `parameter` names the parameter that caused the \
    error, if one did, and `type` links to this page. A code that a later release adds will be returned as `other`; \
    then use the status. There is one exception: if a request is not valid HTTP or its head is larger than 16 KiB, the \
    response is 400 or 431 without a body, and the connection is closed.";

const ENDS: &str = "Ends of streams";

const ENDS_ANCHOR: &str = "ends-of-streams";

const ENDS_INTRODUCTION: &str = "Before a pod ends a stream, it sends the reason. Server-sent events end with \
    `event: end`, which has `code` and `detail`. NDJSON ends with the line \
    `{\"kind\":\"end\",\"code\":…,\"detail\":…}`. A WebSocket ends with a close frame, whose reason is the code. \
    Reconnect with the id of the last event as `Last-Event-ID` or `after`, and the stream continues without losing or \
    repeating events. If a stream ends without a reason, the connection was interrupted, or the client read nothing for \
    30 seconds. Reconnect in the same way. A stream of server-sent events can also end at once with the code of an error that \
    passes, because an `EventSource` never reconnects after a response other than 200.";

impl Code {
    /// An example of a problem with this code.
    pub(crate) fn example(self) -> String {
        let parameter = match self {
            Self::InvalidParameter | Self::UnknownPair => Some("pair"),
            Self::SequenceAhead | Self::SequenceGone => Some("at_sequence"),
            Self::UnknownSequence => Some("sequence"),
            Self::UnknownCursor => Some("after"),
            Self::ContractNotMet => Some("max_age"),
            Self::ThinWindow => Some("min_coverage"),
            _ => None,
        };
        let problem = Problem::new(self, self.facts().meaning);
        parameter.into_iter().fold(problem, Problem::naming).json(TraceId::EXAMPLE)
    }
}

/// The page of errors as Markdown, for `docs/errors.md`.
pub fn errors_markdown() -> String {
    let entry = |code: &Code| {
        let facts = code.facts();
        format!("\n## `{code}`\n\n{}. {}\n\n{}\n", facts.status, facts.meaning, facts.remedy)
    };
    let end = |end: &StreamEnd| format!("\n### `{end}`\n\n{}\n", describe(*end));
    format!(
        "# {TITLE}\n\n{INTRODUCTION}\n{}\n## {ENDS}\n\n{ENDS_INTRODUCTION}\n{}",
        Code::ALL.iter().map(entry).collect::<String>(),
        StreamEnd::ALL.iter().map(end).collect::<String>()
    )
}

/// The page of errors as HTML, with an anchor for each code.
pub fn errors_html() -> String {
    let entry = |code: &Code| {
        let facts = code.facts();
        format!(
            "<h2 id=\"{code}\"><code>{code}</code></h2>\n<p>{}. {}</p>\n<p>{}</p>\n",
            facts.status,
            marked_up(facts.meaning),
            marked_up(facts.remedy)
        )
    };
    let end = |end: &StreamEnd| {
        format!("<h3 id=\"end-{end}\"><code>{end}</code></h3>\n<p>{}</p>\n", marked_up(&describe(*end)))
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{TITLE}</title>\n\
         <link rel=\"icon\" href=\"../favicon.ico\">\n<h1>{TITLE}</h1>\n\
         <p>{}</p>\n{}<h2 id=\"{ENDS_ANCHOR}\">{ENDS}</h2>\n<p>{}</p>\n{}</html>\n",
        marked_up(INTRODUCTION),
        Code::ALL.iter().map(entry).collect::<String>(),
        marked_up(ENDS_INTRODUCTION),
        StreamEnd::ALL.iter().map(end).collect::<String>()
    )
}

/// Describes the end of a stream: its meaning, its detail, and the close code of a WebSocket.
fn describe(end: StreamEnd) -> String {
    format!(
        "{} Its `detail` is “{}”. The WebSocket close code is {}.",
        end.meaning(),
        end.detail(),
        end.close_code()
    )
}
