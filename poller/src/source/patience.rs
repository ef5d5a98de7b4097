//! How long sources have to answer.

use std::time::Duration;

use common::domain::Interval;

/// Sources get this long at most, however long the interval is: the price should not wait for the slowest.
const MAX_POLL_TIME: Duration = Duration::from_secs(4);

/// Where there are fallbacks, the primaries get this part of the time, one half, and leave them the rest.
pub const FALLBACK_RESERVE: u32 = 2;

/// How long after a slot's instant its sources may answer.
pub fn poll_time(interval: Interval) -> Duration {
    (interval.duration() / 2).min(MAX_POLL_TIME)
}

/// How much of it a source can count on: what the primaries get where there are fallbacks.
pub(super) fn surely_left(interval: Interval) -> Duration {
    poll_time(interval) / FALLBACK_RESERVE
}
