//! An answer, before it is put into HTTP.

use http::StatusCode;
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn ok(body: &Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self { status, body: body.to_string() }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, body: String::new() }
    }
}
