//! When a source that failed is asked again.
//!
//! A pure state machine: it is told what happened and when, and says whether the source may be asked. Two
//! things keep a source at rest. What it announced, or what its answer stands for (too many requests, banned,
//! forbidden), holds on the monotonic clock. Failures in a row hold for whole slots, so that requests stay
//! on the grid and the next slot is the only retry there is.

use std::time::Duration;

use common::domain::{Failure, Interval, Slot, Timestamp};
use tokio::time::Instant;

/// No rest is longer: Binance bans for up to three days.
/// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits>
pub(super) const LONGEST_REST: Duration = Duration::from_secs(3 * 86_400);

/// After too many requests, where the source does not say for how long: Bitfinex blocks for a minute.
/// <https://docs.bitfinex.com/docs/requirements-and-limitations>
const RATE_LIMITED: Duration = Duration::from_secs(60);

/// After a ban without a term, doubled each time: Binance's shortest.
const BANNED: Duration = Duration::from_secs(120);

/// After "forbidden" and "not available in this place", which no retry changes but an operator may.
const FORBIDDEN: Duration = Duration::from_secs(600);

/// Between tries of a source that keeps failing, or one interval if that is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A source's rests.
#[derive(Debug)]
pub(super) struct Backoff {
    interval: Interval,
    /// Not asked before, by the monotonic clock.
    resting_until: Option<Instant>,
    /// Why.
    reason: Failure,
    /// Whether that has been told.
    is_told: bool,
    /// Not asked before, by the grid.
    paused_until: Timestamp,
    failures_in_a_row: u32,
    /// Whether this slot brought one.
    is_banned: bool,
    /// Slots with a ban in a row: what many requests of one slot are told is one ban.
    bans_in_a_row: u32,
}

impl Backoff {
    pub(super) fn new(interval: Interval) -> Self {
        Self {
            interval,
            resting_until: None,
            reason: Failure::BackingOff,
            is_told: false,
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

    /// How much is left of what was announced.
    pub(super) fn rest_left(&self, now: Instant) -> Option<Duration> {
        self.resting_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Takes in one failed answer, as soon as it is here. `announced` is how long the source said to wait.
    pub(super) fn failed(&mut self, failure: Failure, announced: Option<Duration>, now: Instant) {
        let rest = announced.or(match failure {
            Failure::Http429 | Failure::RateLimited => Some(RATE_LIMITED),
            Failure::Http418 => Some(doubled(BANNED, self.bans_in_a_row)),
            Failure::Http403 | Failure::Http451 => Some(FORBIDDEN),
            _ => None,
        });
        self.is_banned |= failure == Failure::Http418;
        let until = rest.and_then(|rest| now.checked_add(rest.min(LONGEST_REST)));
        // Of several answers to one slot the longest rest holds.
        if until > self.resting_until {
            (self.resting_until, self.reason, self.is_told) = (until, failure, false);
        }
    }

    /// A rest that begins and will be noticed, why and for how long; once for each.
    pub(super) fn begun(&mut self, slot_began: Instant, now: Instant) -> Option<(Failure, Duration)> {
        let next = slot_began.checked_add(self.interval.duration())?;
        let left = self.rest_left(now).filter(|_| self.resting_until > Some(next))?;
        let is_told = std::mem::replace(&mut self.is_told, true);
        (!is_told).then_some((self.reason, left))
    }

    /// Takes in how a slot ended: whether any pair got a price.
    pub(super) fn ended(&mut self, slot: Slot, any_price: bool, now: Instant) {
        if std::mem::take(&mut self.is_banned) {
            self.bans_in_a_row = self.bans_in_a_row.saturating_add(1);
        }
        if !any_price {
            let slots = 1_u32.checked_shl(self.failures_in_a_row).unwrap_or(u32::MAX);
            let pause = self.interval.duration().saturating_mul(slots).min(self.longest_pause());
            self.paused_until = slot.start().plus(pause);
            self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        } else if self.rest_left(now).is_none() {
            *self = Self::new(self.interval);
        } else {
            // Some pairs got a price while others were told to wait: no failure, and no success either.
            self.failures_in_a_row = 0;
        }
    }

    /// The longest pause as whole slots, at least one.
    fn longest_pause(&self) -> Duration {
        let slots = LONGEST_PAUSE.as_millis() / u128::from(self.interval.millis()).max(1);
        self.interval.duration().saturating_mul(u32::try_from(slots).unwrap_or(u32::MAX).max(1))
    }
}

fn doubled(length: Duration, times: u32) -> Duration {
    let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
    length.saturating_mul(factor).min(LONGEST_REST)
}

#[cfg(test)]
mod tests;
