//! How long sources may take to respond, and how long pauses after failures become.

use std::time::Duration;

use common::domain::Interval;

/// Sources get no longer than this even if the interval is long, so that a price does not wait for the
/// slowest source.
const MAX_POLL_TIME: Duration = Duration::from_secs(4);

/// If there are fallbacks, the primaries get the poll time divided by this number. The fallbacks get the rest of
/// the poll time.
pub const FALLBACK_RESERVE: u32 = 2;

/// How long after the start of a slot its sources may respond.
pub fn poll_time(interval: Interval) -> Duration {
    (interval.duration() / 2).min(MAX_POLL_TIME)
}

/// The part of the poll time that a source is guaranteed even if there are fallbacks: the primaries' part.
pub(super) fn guaranteed_time(interval: Interval) -> Duration {
    poll_time(interval) / FALLBACK_RESERVE
}

/// A pause that has been doubled this many times.
pub(super) fn doubled(pause: Duration, times: u32) -> Duration {
    pause.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
}
