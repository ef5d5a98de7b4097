//! Instants and durations in whole milliseconds.

use std::{fmt, ops::Range, str::FromStr, time::Duration};

use chrono::DateTime;

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
        let mut rest = self.unix_millis.unsigned_abs();
        let mut take = |modulus: u64| {
            let taken = rest % modulus;
            rest /= modulus;
            taken
        };
        let [millis, second, minute, hour] = [1_000, 60, 60, 24].map(&mut take);
        let (year, month, day) = date_of(rest);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |place: Range<usize>, mut number: u64| {
            for digit in text.get_mut(place).unwrap_or_default().iter_mut().rev() {
                *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
                number /= 10;
            }
        };
        put(0..4, year);
        put(5..7, month);
        put(8..10, day);
        put(11..13, hour);
        put(14..16, minute);
        put(17..19, second);
        put(20..23, millis);
        formatter.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

/// Reads a timestamp as this program writes it. `None` if it is written in another way. Each quote of a record has several
/// timestamps, and chrono takes several times as long.
fn read_canonical(text: &[u8]) -> Option<Timestamp> {
    let text: &[u8; 24] = text.try_into().ok()?;
    let [
        year @ ..,
        b'-',
        m1,
        m2,
        b'-',
        d1,
        d2,
        b'T',
        h1,
        h2,
        b':',
        i1,
        i2,
        b':',
        s1,
        s2,
        b'.',
        f1,
        f2,
        f3,
        b'Z',
    ] = *text
    else {
        return None;
    };
    let (year, month, day): (_, _, u64) = (number(year)?, number([m1, m2])?, number([d1, d2])?);
    let (hour, minute, second): (_, _, u64) = (number([h1, h2])?, number([i1, i2])?, number([s1, s2])?);
    let days = days_before(year, month, day);
    let is_date = year >= 1970 && date_of(days) == (year, month, day);
    let is_valid = is_date && hour < 24 && minute < 60 && second < 60;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    let millis = i64::try_from(seconds * 1_000 + number([f1, f2, f3])?).ok().filter(|_| is_valid)?;
    Timestamp::from_unix_millis(millis).ok()
}

fn number<const DIGITS: usize>(digits: [u8; DIGITS]) -> Option<u64> {
    digits
        .into_iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

/// The days in 400 years, after which the calendar repeats.
const ERA: u64 = 146_097;

/// The days from the first day of March in the year 0 to 1970. In years that begin in March, a leap day is the last day.
const BEFORE_1970: u64 = 719_468;

/// The date that is this many days after 1970-01-01: year, month and day.
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + BEFORE_1970;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months in a row, from March or from August on, have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// The days from 1970-01-01 to a date in 1970 or later. Of a date that does not exist, any number.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let year = if month > 2 { year } else { year.saturating_sub(1) };
    let month = (month + 9) % 12;
    let (era, year) = (year / 400, year % 400);
    let day = (153 * month + 2) / 5 + day;
    let days = (era * ERA + 365 * year + year / 4 + day).saturating_sub(year / 100 + 1);
    days.saturating_sub(BEFORE_1970)
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
    use chrono::{Datelike, Utc};
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
    fn every_day_is_read_and_written() {
        let mut day = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        for days in 0..days_before(10_000, 1, 1) {
            let date = (u64::try_from(day.year()).unwrap(), day.month().into(), day.day().into());
            assert_eq!(date_of(days), date);
            assert_eq!(days_before(date.0, date.1, date.2), days);
            day = day.succ_opt().unwrap();
        }
        assert_eq!(day.year(), 10_000);
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
        for wrong in [
            "2026-02-29T00:00:00.000Z",
            "2026-00-10T00:00:00.000Z",
            "2026-01-00T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "1969-12-31T00:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
            "2026-01-01T00:00:60.000Z",
        ] {
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
