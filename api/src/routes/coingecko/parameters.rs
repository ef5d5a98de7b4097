//! Parameters as CoinGecko's clients write them.

use std::time::Duration;

use common::domain::Timestamp;

use crate::problem::Problem;

const DAY_SECONDS: u64 = 86_400;

/// How far back a chart goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Days {
    /// This many days before the newest slot.
    Last(u32),
    /// As far as there is history.
    Max,
}

impl Days {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        if text.eq_ignore_ascii_case("max") {
            return Ok(Self::Max);
        }
        let days = text.parse().ok().filter(|days| *days > 0).map(Self::Last);
        days.ok_or_else(|| Problem::parameter("days", "write a whole number of days above zero, or max"))
    }

    /// The length of the time; the longest possible one for all of history.
    pub(super) fn duration(self) -> Duration {
        match self {
            Self::Last(days) => Duration::from_secs(u64::from(days) * DAY_SECONDS),
            Self::Max => Duration::MAX,
        }
    }
}

/// Parses a time: unix seconds, or ISO 8601 with or without a time of day. Without an offset, it is in UTC.
pub(super) fn time(parameter: &'static str, text: &str) -> Result<Timestamp, Problem> {
    let text = text.trim();
    let parsed = match text.len() {
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => seconds(text),
        10 => format!("{text}T00:00:00Z").parse().ok(),
        16 => format!("{text}:00Z").parse().ok(),
        19 => format!("{text}Z").parse().ok(),
        _ => text.parse().ok(),
    };
    parsed.ok_or_else(|| {
        Problem::parameter(parameter, "write unix seconds, or a date like 2026-11-28 or 2026-11-28T12:00:00Z")
    })
}

/// Parses unix seconds. Digits after the milliseconds are ignored.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let millis = part.bytes().chain(*b"000").take(3).try_fold(0, |millis, digit| {
        let digit = char::from(digit).to_digit(10)?;
        Some(millis * 10 + i64::from(digit))
    })?;
    let whole: i64 = whole.parse().ok()?;
    Timestamp::from_unix_millis(whole.checked_mul(1_000)?.checked_add(millis)?).ok()
}

/// The items of a list that is separated by commas. CoinGecko silently ignores an item after a space; here it counts.
pub(super) fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Whether a flag is set. Like CoinGecko, everything but `true` means no.
pub(super) fn is_set(flag: Option<&str>) -> bool {
    flag.is_some_and(|flag| flag.eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_dates() {
        let millis = |text: &str| time("from", text).ok().map(Timestamp::unix_millis);
        for (text, expected) in [
            ("0", Some(0)),
            ("1779092258", Some(1_779_092_258_000)),
            ("1779092258.1239", Some(1_779_092_258_123)),
            ("1779092258.5", Some(1_779_092_258_500)),
            ("2026-05-18", Some(1_779_062_400_000)),
            ("2026-05-18T08:17", Some(1_779_092_220_000)),
            ("2026-05-18T08:17:38", Some(1_779_092_258_000)),
            ("2026-05-18T10:17:38+02:00", Some(1_779_092_258_000)),
            // Milliseconds would be in the year 58,346.
            ("1779092258000", None),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("-1", None),
            ("99999999999999999999", None),
            ("yesterday", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
    }

    #[test]
    fn days_are_a_whole_number_or_max() {
        assert_eq!(Days::parse("30").unwrap(), Days::Last(30));
        assert_eq!(Days::parse("Max").unwrap(), Days::Max);
        for text in ["", "0", "-1", "1.5", "week", "4294967296"] {
            assert!(Days::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_have_commas_and_flags_are_true() {
        assert_eq!(items("bitcoin, ethereum,,").collect::<Vec<_>>(), ["bitcoin", "ethereum"]);
        assert!(is_set(Some("True")) && !is_set(Some("1")) && !is_set(None));
    }
}
