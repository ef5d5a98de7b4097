//! Decides when a source that failed is asked again.
//!
//! This is a pure state machine. A source is not asked in two cases:
//!
//! - It rests: for as long as its response announced, or for a time that depends on the failure (too many
//!   requests, banned, forbidden). Rests are measured on the monotonic clock.
//! - It pauses after failed slots: until the next slot at first, and longer after several failed slots in a row.
//!   Pauses last whole slots, so there are no retries within a slot.

use std::time::Duration;

use common::domain::{Failure, Interval, Slot, Timestamp};
use tokio::time::Instant;

use crate::source::patience::doubled;

/// The longest rest. Binance bans for up to three days:
/// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits>
pub(super) const LONGEST_REST: Duration = Duration::from_secs(3 * 86_400);

/// The rest after too many requests if the source does not announce one. Bitfinex blocks for a minute:
/// <https://docs.bitfinex.com/docs/requirements-and-limitations>
const RATE_LIMITED: Duration = Duration::from_secs(60);

/// The rest after a first ban without an announced end. The rest doubles with each further ban. This is the length
/// of Binance's shortest ban.
const BANNED: Duration = Duration::from_secs(120);

/// The rest after "forbidden" and "unavailable for legal reasons". Retrying soon does not help, but an operator may
/// fix the cause.
const FORBIDDEN: Duration = Duration::from_secs(600);

/// The rest after a lock-out without an announced end.
const LOCKED_OUT: Duration = Duration::from_secs(900);

/// The longest pause of a source that keeps failing. If the interval is longer, the pause is one interval.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A source's rests and pauses.
#[derive(Debug)]
pub(super) struct Backoff {
    interval: Interval,
    resting_until: Option<Instant>,
    /// Why the source rests.
    reason: Failure,
    /// Whether the rest has been reported.
    is_reported: bool,
    /// The start of the first slot for which the source may be asked again.
    paused_until: Timestamp,
    failures_in_a_row: u32,
    /// Whether a response to the current slot reported a ban.
    is_banned: bool,
    /// Consecutive slots with a ban. If a ban refuses several requests of one slot, they count as one ban.
    bans_in_a_row: u32,
}

impl Backoff {
    pub(super) fn new(interval: Interval) -> Self {
        Self {
            interval,
            resting_until: None,
            reason: Failure::BackingOff,
            is_reported: false,
            paused_until: Timestamp::EPOCH,
            failures_in_a_row: 0,
            is_banned: false,
            bans_in_a_row: 0,
        }
    }

    /// Whether the source may be asked for a slot.
    pub(super) fn may_ask(&self, slot: Slot, now: Instant) -> bool {
        self.rest_left(now).is_none() && slot.start() >= self.paused_until
    }

    /// How much of the rest is left.
    pub(super) fn rest_left(&self, now: Instant) -> Option<Duration> {
        self.resting_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Records a failed request. `announced` is how long the source asked us to wait.
    pub(super) fn failed(&mut self, failure: Failure, announced: Option<Duration>, now: Instant) {
        let rest = announced.or(match failure {
            Failure::Http429 | Failure::RateLimited => Some(RATE_LIMITED),
            Failure::Http418 => Some(doubled(BANNED, self.bans_in_a_row)),
            Failure::Http403 | Failure::Http451 | Failure::Challenge => Some(FORBIDDEN),
            Failure::LockedOut => Some(LOCKED_OUT),
            _ => None,
        });
        self.is_banned |= failure == Failure::Http418;
        let until = rest.and_then(|rest| now.checked_add(rest.min(LONGEST_REST)));
        // If several requests of a slot fail, the longest rest counts.
        if until > self.resting_until {
            (self.resting_until, self.reason, self.is_reported) = (until, failure, false);
        }
    }

    /// The reason and the length of the current rest, if it skips at least one slot. Each rest is returned only
    /// once.
    pub(super) fn rest_to_report(
        &mut self,
        slot_began: Instant,
        now: Instant,
    ) -> Option<(Failure, Duration)> {
        let next = slot_began.checked_add(self.interval.duration())?;
        let left = self.rest_left(now).filter(|_| self.resting_until > Some(next))?;
        let is_reported = std::mem::replace(&mut self.is_reported, true);
        (!is_reported).then_some((self.reason, left))
    }

    /// Records the end of a slot, and whether any pair got a price.
    pub(super) fn slot_ended(&mut self, slot: Slot, any_price: bool, now: Instant) {
        if std::mem::take(&mut self.is_banned) {
            self.bans_in_a_row = self.bans_in_a_row.saturating_add(1);
        }
        if !any_price {
            let pause = doubled(self.interval.duration(), self.failures_in_a_row).min(self.longest_pause());
            self.paused_until = slot.start().plus(pause);
            self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        } else if self.rest_left(now).is_none() {
            *self = Self::new(self.interval);
        } else {
            // A request of this slot returned a price, but another one failed, so the source rests. It does not pause
            // in addition.
            self.failures_in_a_row = 0;
        }
    }

    /// The longest pause in whole slots, at least one.
    fn longest_pause(&self) -> Duration {
        let slots = LONGEST_PAUSE.as_millis() / u128::from(self.interval.millis()).max(1);
        self.interval.duration().saturating_mul(u32::try_from(slots).unwrap_or(u32::MAX).max(1))
    }
}

#[cfg(test)]
mod tests;
