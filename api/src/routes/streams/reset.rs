//! What a stream of server-sent events says if it cannot continue after the client's cursor.

use bytes::Bytes;
use common::domain::Words;
use serde::Serialize;

use super::{LAST_EVENT_ID, follower::Follower};
use crate::problem::{Code, Problem};

/// Why a stream does not continue after the client's cursor, and where it starts instead.
#[derive(Debug, Serialize)]
pub(super) struct Reset {
    code: &'static str,
    detail: &'static str,
    /// The log that the stream follows.
    log: String,
    /// The newest record of that log. The stream starts with the newest events up to it, and continues after it.
    sequence: u64,
}

impl Reset {
    /// Whether a refusal is only about the cursor, and final.
    pub(super) fn is_due(refusal: &Problem) -> bool {
        match refusal.code() {
            Code::UnknownCursor | Code::SequenceGone => refusal.retry_seconds().is_none(),
            Code::InvalidParameter => refusal.parameter_name() == Some(LAST_EVENT_ID),
            _ => false,
        }
    }

    /// Follows a refusal of a cursor, which belongs to `log`. `follower` has no cursor.
    pub(super) fn after(refusal: &Problem, log: Option<&str>, follower: &Follower) -> Self {
        let is_other_log = log.is_some_and(|log| log != follower.log().to_string());
        Self {
            code: refusal.code().as_str(),
            detail: detail(refusal.code(), is_other_log),
            log: follower.log().to_string(),
            sequence: follower.sequence().0,
        }
    }

    /// The event without an id, so that a client that loses the connection before the next event gets it again.
    pub(super) fn event(&self) -> Bytes {
        // This cannot fail, because strings and numbers can be serialized.
        let data = serde_json::to_string(self).unwrap_or_default();
        format!("event: reset\ndata: {data}\n\n").into()
    }
}

/// What happened, for a client whose stream has already started again. The detail of the refusal would tell it to
/// reconnect.
fn detail(code: Code, is_other_log: bool) -> &'static str {
    match code {
        Code::SequenceGone => {
            "the events after your last one are no longer kept; the stream continues with the newest events"
        }
        Code::UnknownCursor if is_other_log => {
            "the log was replaced by another one; the stream continues with the newest events"
        }
        Code::UnknownCursor => {
            "the log ends before your last event, because newer records were lost; the stream continues with the newest \
             events"
        }
        _ => "the id of your last event cannot be read; the stream continues with the newest events",
    }
}
