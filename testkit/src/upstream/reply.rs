//! A response, before it is sent.

use chrono::DateTime;
use http::StatusCode;
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    /// Further headers.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn ok(body: &Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::bytes(status, body.to_string())
    }

    /// For bodies that `Value` cannot represent: numbers with exact digits, and invalid JSON.
    pub(super) fn bytes(status: StatusCode, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type: "application/json", headers: Vec::new(), body: body.into() }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self::bytes(status, "")
    }

    pub(super) fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }
}

/// A price as a JSON number with exactly its digits. If it is not a number, it is formatted as a careless program
/// would: `NaN` and `Infinity` without quotes, other words in quotes.
pub(super) fn json_number(price: &str) -> String {
    let is_bare = price.parse::<f64>().is_ok();
    if is_bare { price.to_owned() } else { Value::from(price).to_string() }
}

/// A time in the format of HTTP headers, in whole seconds: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn http_date(time_ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(time_ms).unwrap_or_default();
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(http_date(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn a_number_keeps_its_digits_and_a_word_its_quotes() {
        for bare in ["97000.10", "1e400", "-1", "NaN", "Infinity", "1e-08"] {
            assert_eq!(json_number(bare), bare);
        }
        assert_eq!(json_number("unavailable"), "\"unavailable\"");
    }
}
