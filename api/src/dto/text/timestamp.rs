//! Times that clients send, and what to write instead of those that cannot be read.

use common::domain::{Timestamp, TimestampError};
use poem_openapi::types::{ParseError, ParseFromParameter, ParseResult};

use super::TimestampParameter;

/// The length of a date like `2026-11-21`.
const DATE_LENGTH: usize = 10;

/// What completes a date to the time at which it begins in UTC.
const MIDNIGHT: &str = "T00:00:00Z";

/// The number of characters of an unreadable time that a message repeats.
const MAX_REPEATED: usize = 40;

/// A number below this is more likely to be in seconds, because in milliseconds it would be a time before 1973.
const LIKELY_SECONDS: i64 = 100_000_000_000;

impl TimestampParameter {
    /// Parses RFC 3339, a date or unix milliseconds. Commands of the CLI accept the same times as routes do.
    pub fn read(text: &str) -> Result<Self, String> {
        let parsed = match text.parse::<i64>() {
            Ok(0) => {
                return Err("0 is not a valid time; omit the time to begin with the oldest record".to_owned());
            }
            Ok(number) if (1..LIKELY_SECONDS).contains(&number) => {
                return Err(match without_dashes(text) {
                    Some(date) => format!("{number} looks like a date; write {date}"),
                    None => {
                        format!("{number} looks like seconds; use milliseconds ({number}000) or RFC 3339")
                    }
                });
            }
            Ok(number) if !text.starts_with('+') => Timestamp::from_unix_millis(number),
            // A date means the start of that day in UTC.
            _ if text.len() == DATE_LENGTH => midnight(text),
            _ => text.parse(),
        };
        parsed.map(Self).map_err(|error| match error {
            TimestampError::NotRfc3339(_) => unreadable(text),
            error @ TimestampError::OutOfRange => error.to_string(),
        })
    }
}

/// The start of a day in UTC.
fn midnight(date: &str) -> Result<Timestamp, TimestampError> {
    format!("{date}{MIDNIGHT}").parse()
}

/// The date that was written like `20261121`.
fn without_dashes(text: &str) -> Option<String> {
    let (year, month, day) = (text.get(..4)?, text.get(4..6)?, text.get(6..)?);
    Some(format!("{year}-{month}-{day}")).filter(|date| midnight(date).is_ok())
}

/// Why a text is not a time, and what to write instead.
fn unreadable(text: &str) -> String {
    let completed = |missing: &str, time: &str, end: &str| {
        let meant = format!("{time}{end}");
        meant.parse::<Timestamp>().is_ok().then(|| (missing.to_owned(), meant))
    };
    let local = text.strip_suffix(['Z', 'z']);
    let meant = completed("has no time zone", text, "Z")
        .or_else(|| completed("has no seconds and no time zone", text, ":00Z"))
        .map(|(missing, meant)| format!("{missing}; write {meant} if it is in UTC"))
        .or_else(|| {
            let (missing, meant) = completed("has no seconds", local?, ":00Z")?;
            Some(format!("{missing}; write {meant}"))
        })
        .or_else(|| missing_day(text).map(|day| format!("is not a time: there is no day {day}")));
    let repeated: String = text.chars().take(MAX_REPEATED).collect();
    let meant = meant.unwrap_or_else(|| {
        "is not a time; write a date like 2026-11-21, RFC 3339 like 2026-11-21T00:00:10Z, or unix milliseconds".to_owned()
    });
    format!("`{repeated}` {meant}")
}

/// The date at the beginning of a text if it looks like a date, but the calendar does not have it.
fn missing_day(text: &str) -> Option<&str> {
    let date = text.get(..DATE_LENGTH)?;
    let looks_like = date.bytes().enumerate().all(|(index, byte)| match index {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    (looks_like && matches!(midnight(date), Err(TimestampError::NotRfc3339(_)))).then_some(date)
}

/// Whether this is a time whose `+` was decoded to a space, because it was not escaped in the query.
fn is_unescaped(text: &str) -> bool {
    text.contains(' ') && text.replace(' ', "+").parse::<Timestamp>().is_ok()
}

impl ParseFromParameter for TimestampParameter {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        if is_unescaped(value) {
            let meant = value.replace(' ', "%2B");
            return Err(ParseError::custom(format!(
                "`{value}` contains a space; write + as %2B in a query: {meant}"
            )));
        }
        Self::read(value).map_err(ParseError::custom)
    }
}
