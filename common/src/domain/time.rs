//! Instants and durations in whole milliseconds.

use std::{fmt, ops::Range, str::FromStr, time::Duration};

use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};

/// An instant in UTC with millisecond precision, from 1970 to the end of year 9999.
///
/// It is written as RFC 3339 with milliseconds: `2026-11-21T00:00:10.214Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    unix_millis: i64,
}

/// Why a text or number is not a valid timestamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// The text is not an RFC 3339 time.
    #[error("`{0}` is not an RFC 3339 time like 2026-11-21T00:00:10.000Z")]
    NotRfc3339(String),
    /// The time is before 1970 or after 9999.
    #[error("the time must be within the years 1970 to 9999")]
    OutOfRange,
}

impl Timestamp {
    /// 1970-01-01T00:00:00.000Z, which is before every record.
    pub const EPOCH: Self = Self { unix_millis: 0 };
    /// 9999-12-31T23:59:59.999Z, the last instant that RFC 3339 can represent.
    pub const MAX: Self = Self { unix_millis: 253_402_300_799_999 };

    /// Creates a timestamp from milliseconds since 1970.
    pub fn from_unix_millis(unix_millis: i64) -> Result<Self, TimestampError> {
        if (0..=Self::MAX.unix_millis).contains(&unix_millis) {
            Ok(Self { unix_millis })
        } else {
            Err(TimestampError::OutOfRange)
        }
    }

    /// Milliseconds since 1970.
    pub fn unix_millis(self) -> i64 {
        self.unix_millis
    }

    /// The time since `earlier`; zero if `earlier` is later than `self`.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.millis_since(earlier))
    }

    /// The milliseconds since `earlier`; zero if `earlier` is later than `self`.
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from(self.unix_millis - earlier.unix_millis).unwrap_or(0)
    }

    /// The instant that is later by `length`, but at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, length: Duration) -> Self {
        let millis = self.unix_millis.saturating_add(whole_millis(length));
        Self { unix_millis: millis.min(Self::MAX.unix_millis) }
    }

    /// The instant a millisecond later. Converts an inclusive end to an exclusive one.
    #[must_use]
    pub fn next(self) -> Self {
        self.plus(Duration::from_millis(1))
    }

    /// The instant a millisecond earlier. Converts an exclusive end to an inclusive one.
    #[must_use]
    pub fn previous(self) -> Self {
        self.minus(Duration::from_millis(1))
    }

    /// The instant that is earlier by `length`, but at least [`Timestamp::EPOCH`].
    #[must_use]
    pub fn minus(self, length: Duration) -> Self {
        Self { unix_millis: self.unix_millis.saturating_sub(whole_millis(length)).max(0) }
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Parses RFC 3339 with any offset. Digits after the milliseconds are ignored.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(canonical) = read_canonical(text.as_bytes()) {
            return Ok(canonical);
        }
        let parsed = DateTime::parse_from_rfc3339(text)
            .map_err(|_| TimestampError::NotRfc3339(text.chars().take(40).collect()))?;
        Self::from_unix_millis(parsed.timestamp_millis())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each quote of a record has several timestamps, and chrono's own formatting allocates.
        let instant = DateTime::<Utc>::from_timestamp_millis(self.unix_millis).unwrap_or_default();
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |place: Range<usize>, mut number: u32| {
            for digit in text.get_mut(place).unwrap_or_default().iter_mut().rev() {
                *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
                number /= 10;
            }
        };
        put(0..4, instant.year().unsigned_abs());
        put(5..7, instant.month());
        put(8..10, instant.day());
        put(11..13, instant.hour());
        put(14..16, instant.minute());
        put(17..19, instant.second());
        put(20..23, instant.timestamp_subsec_millis());
        formatter.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

/// Reads a timestamp as this program writes it, which takes less time than chrono's parser. `None` if it is written in
/// another way.
fn read_canonical(text: &[u8]) -> Option<Timestamp> {
    let number = |place: Range<usize>| {
        let digits = text.get(place)?.iter();
        digits.copied().try_fold(0_u32, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
        })
    };
    let (b"-", b"-", b"T", b":", b":", b".", b"Z") = (
        text.get(4..5)?,
        text.get(7..8)?,
        text.get(10..11)?,
        text.get(13..14)?,
        text.get(16..17)?,
        text.get(19..20)?,
        text.get(23..)?,
    ) else {
        return None;
    };
    let date = NaiveDate::from_ymd_opt(i32::try_from(number(0..4)?).ok()?, number(5..7)?, number(8..10)?)?;
    let time = date.and_hms_milli_opt(number(11..13)?, number(14..16)?, number(17..19)?, number(20..23)?)?;
    Timestamp::from_unix_millis(time.and_utc().timestamp_millis()).ok()
}

/// A duration: a positive number of whole milliseconds, at most 3,660 days (ten years).
///
/// It is written as a number and a unit, `^[1-9][0-9]*(ms|s|m|h|d)$`. `Display` uses the largest unit that is exact, so
/// `60s` becomes `1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    millis: u64,
}

/// The text is not a valid span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid duration; use a whole number without leading zeros and a unit (ms, s, m, h or d), like 10s; \
     the longest duration is 3660d"
)]
pub struct SpanError(String);

impl Span {
    /// The units and their milliseconds. `ms` comes before `s`, because `10ms` also ends in `s`. The others are from
    /// the largest to the smallest.
    pub const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    const MAX_MILLIS: u64 = 3_660 * 86_400_000;

    /// A day.
    pub const DAY: Self = Self { millis: 86_400_000 };

    /// Creates a span from milliseconds; `None` if there are none or too many.
    pub fn from_millis(millis: u64) -> Option<Self> {
        (1..=Self::MAX_MILLIS).contains(&millis).then_some(Self { millis })
    }

    /// Creates a span from seconds in a constant. Zero seconds become one millisecond, because a span is never zero.
    pub const fn from_seconds(seconds: u16) -> Self {
        let millis = seconds as u64 * 1_000;
        Self { millis: if millis == 0 { 1 } else { millis } }
    }

    /// The duration in milliseconds.
    pub fn millis(self) -> u64 {
        self.millis
    }

    /// The duration as the standard library's type.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, *factor)))
            .filter(|(number, _)| !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|(number, factor)| number.parse::<u64>().ok()?.checked_mul(factor))
            .and_then(Self::from_millis)
            .ok_or_else(|| SpanError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let largest = Self::UNITS.iter().skip(1).find(|(_, factor)| self.millis.is_multiple_of(*factor));
        let (unit, factor) = largest.copied().unwrap_or(("ms", 1));
        write!(formatter, "{}{unit}", self.millis / factor)
    }
}

fn whole_millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn timestamps_round_trip() {
        for text in ["1970-01-01T00:00:00.000Z", "2026-11-21T00:00:10.214Z", "9999-12-31T23:59:59.999Z"] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        let offset: Timestamp = "2026-11-21T02:00:10.2149+02:00".parse().unwrap();
        assert_eq!(offset.to_string(), "2026-11-21T00:00:10.214Z");
        assert!("2026-11-21".parse::<Timestamp>().is_err());
        assert!("1969-12-31T23:59:59Z".parse::<Timestamp>().is_err());
        assert!(Timestamp::from_unix_millis(i64::MAX).is_err());
    }

    #[test]
    fn timestamps_are_read_and_written_as_chrono_does() {
        let strategy =
            (0..=Timestamp::MAX.unix_millis, prop::sample::select(vec!["", "x", "0", "Z"]), 0..25_usize);
        proptest!(|((millis, changed, place) in strategy)| {
            let written = Timestamp { unix_millis: millis }.to_string();
            let instant = DateTime::<Utc>::from_timestamp_millis(millis).unwrap();
            prop_assert_eq!(&written, &instant.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
            prop_assert_eq!(read_canonical(written.as_bytes()), Some(Timestamp { unix_millis: millis }));
            // Whatever is wrong with a text, the short way never reads what chrono reads differently.
            let mut damaged = written;
            damaged.replace_range(place.min(23)..24.min(place + 1), changed);
            if let Some(read) = read_canonical(damaged.as_bytes()) {
                let parsed = DateTime::parse_from_rfc3339(&damaged);
                prop_assert_eq!(parsed.map(|parsed| parsed.timestamp_millis()), Ok(read.unix_millis));
            }
        });
        for wrong in ["2026-02-29T00:00:00.000Z", "2026-01-01T24:00:00.000Z", "2026-01-01T00:00:60.000Z"] {
            assert_eq!(read_canonical(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn spans_are_written_in_their_largest_exact_unit() {
        for (text, canonical) in [
            ("10s", "10s"),
            ("60s", "1m"),
            ("90s", "90s"),
            ("1500ms", "1500ms"),
            ("24h", "1d"),
            ("360d", "360d"),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), canonical);
        }
        for text in ["", "s", "0s", "01s", "1.5s", "-1s", "1w", "1 s", "1S", "99999999999999999999d", "3661d"]
        {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
