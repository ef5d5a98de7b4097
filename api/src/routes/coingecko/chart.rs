//! Which ticks become the rows of a chart.
//!
//! Everything is counted from the pair's newest slot and not from the clock, so that all pods return the same rows.

use std::time::Duration;

use common::domain::{Slot, Timestamp};

use super::parameters::Days;
use crate::problem::Problem;
use ledger::summary::{Point, Summary};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The bucket lengths that CoinGecko's documentation names, with the longest range that each is for. They also limit the
/// number of rows: 2,880 of five minutes, 2,400 hours.
const FIVE_MINUTES: (Duration, Duration) = (MINUTE.saturating_mul(5), DAY.saturating_mul(10));
const HOURLY: (Duration, Duration) = (HOUR, DAY.saturating_mul(100));
const DAILY: (Duration, Duration) = (DAY, Duration::MAX);

/// The ranges up to which a chart without `interval` has rows of five minutes or an hour.
const FIVE_MINUTES_BY_DEFAULT: Duration = DAY;
const HOURLY_BY_DEFAULT: Duration = DAY.saturating_mul(90);

/// The longest ranges for which candles have half an hour or four hours by default, and an hour or a day on request.
const HALF_HOURS: (Duration, Duration) = (MINUTE.saturating_mul(30), DAY.saturating_mul(2));
const FOUR_HOURS: (Duration, Duration) = (HOUR.saturating_mul(4), DAY.saturating_mul(30));
const FOUR_DAYS: Duration = DAY.saturating_mul(4);
const HOURLY_CANDLES: (Duration, Duration) = (HOUR, DAY.saturating_mul(90));
const DAILY_CANDLES: (Duration, Duration) = (DAY, DAY.saturating_mul(180));

/// Buckets of equal length, aligned to 1970, that begin in a range of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Buckets {
    /// The length of a bucket in milliseconds.
    pub(super) length: i64,
    /// The start of the first bucket.
    pub(super) from: Timestamp,
    /// The end of the range, which need not be the end of a bucket.
    pub(super) to: Timestamp,
}

/// What a pair has: its history begins here, and this is its newest slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) from: Timestamp,
    pub(super) newest: Slot,
}

/// The buckets of a chart of the last days.
pub(super) fn last_days(known: Known, days: Days, interval: Option<&str>) -> Result<Buckets, Problem> {
    let length = length(days.duration(), true, interval)?;
    Ok(buckets(known, length, known.newest.start().minus(days.duration()), known.newest.start()))
}

/// The buckets of a chart from one time to another, both included.
pub(super) fn range(
    known: Known,
    (from, to): (Timestamp, Timestamp),
    interval: Option<&str>,
) -> Result<Buckets, Problem> {
    if from > to {
        return Err(Problem::parameter("to", "to is before from"));
    }
    let end = to.min(known.newest.start());
    let length = length(end.since(from), end == known.newest.start(), interval)?;
    Ok(buckets(known, length, from, end))
}

/// The buckets of candles of the last days.
pub(super) fn candles(known: Known, days: Days, interval: Option<&str>) -> Result<Buckets, Problem> {
    let range = days.duration();
    let length = match interval {
        Some("hourly") => limited("hourly", HOURLY_CANDLES, range)?,
        Some("daily") => limited("daily", DAILY_CANDLES, range)?,
        Some(_) => return Err(Problem::parameter("interval", "write daily or hourly, or leave it out")),
        None if range <= HALF_HOURS.1 => HALF_HOURS.0,
        None if range <= FOUR_HOURS.1 => FOUR_HOURS.0,
        None => FOUR_DAYS,
    };
    Ok(buckets(known, length, known.newest.start().minus(range), known.newest.start()))
}

fn length(range: Duration, reaches_newest: bool, interval: Option<&str>) -> Result<Duration, Problem> {
    match interval {
        Some("5m") => limited("5m", FIVE_MINUTES, range),
        Some("hourly") => limited("hourly", HOURLY, range),
        Some("daily") => limited("daily", DAILY, range),
        Some(_) => Err(Problem::parameter("interval", "write 5m, hourly or daily, or leave it out")),
        None if range <= FIVE_MINUTES_BY_DEFAULT && reaches_newest => Ok(FIVE_MINUTES.0),
        None if range <= HOURLY_BY_DEFAULT => Ok(HOURLY.0),
        None => Ok(DAILY.0),
    }
}

fn limited(
    interval: &str,
    (length, longest): (Duration, Duration),
    range: Duration,
) -> Result<Duration, Problem> {
    if range <= longest {
        return Ok(length);
    }
    let days = longest.as_secs() / DAY.as_secs();
    let detail =
        format!("interval={interval} covers at most {days} days; ask for fewer days or leave out interval");
    Err(Problem::parameter("interval", detail))
}

fn buckets(known: Known, length: Duration, from: Timestamp, last: Timestamp) -> Buckets {
    let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    let from = from.max(known.from).unix_millis().unsigned_abs().div_ceil(length.unsigned_abs());
    let from = i64::try_from(from).ok().and_then(|number| number.checked_mul(length));
    let from = from.and_then(|from| Timestamp::from_unix_millis(from).ok());
    Buckets { length, from: from.unwrap_or(Timestamp::MAX), to: last.next() }
}

/// The rows of a chart: the first tick of each bucket, and the last tick of the range.
pub(super) fn points(buckets: &[(Timestamp, Summary)]) -> Vec<Point> {
    let mut points: Vec<Point> = buckets.iter().map(|(_, bucket)| bucket.first).collect();
    let last = buckets.last().map(|(_, bucket)| bucket.last);
    points.extend(last.filter(|last| points.last().is_none_or(|point| point.slot < last.slot)));
    points
}

/// The candles whose buckets are over, each with its end. That is the time of a candle in this dialect.
pub(super) fn closed(
    buckets: Vec<(Timestamp, Summary)>,
    length: i64,
    next: Slot,
) -> impl Iterator<Item = (Timestamp, Summary)> {
    let length = Duration::from_millis(length.unsigned_abs());
    let ends = buckets.into_iter().map(move |(start, bucket)| (start.plus(length), bucket));
    ends.filter(move |(end, _)| *end <= next.start())
}

#[cfg(test)]
mod tests;
