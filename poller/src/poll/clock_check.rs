//! Detects that this machine's clock has jumped ahead.
//!
//! A slot's time comes from the wall clock, and slots never go back. If a single record were published while the
//! clock is an hour ahead, nothing could be recorded during the next hour. So after a jump ahead, nothing is
//! published until the clock is corrected, or until the sources' timestamps agree with the clock. If the
//! timestamps agree, the clock was wrong before the jump, or the machine was asleep.

use std::time::Duration;

use common::domain::Timestamp;
use tokio::time::Instant;

/// Smaller jumps are ignored. Normal clock adjustments are smaller, and real time soon catches up with the clock.
pub(super) const MIN_JUMP: Duration = Duration::from_secs(60);

/// Whether the clock is trusted.
#[derive(Debug, Default)]
pub(super) struct ClockCheck {
    /// The time that the clock showed when it was last trusted, and the instant at which that was.
    trusted: Option<(Timestamp, Instant)>,
    /// How far the clock has jumped ahead since then. None while it is trusted.
    ahead: Option<Duration>,
}

impl ClockCheck {
    /// Trusts the time up to which the log has records of every pair, unless the clock has been checked already.
    pub(super) fn start_at(&mut self, covered: Timestamp) {
        self.trusted.get_or_insert((covered, Instant::now()));
    }

    /// Compares the clock with the monotonic clock.
    pub(super) fn observe(&mut self, now: Timestamp) {
        let ahead = self
            .trusted
            .map_or(Duration::ZERO, |(shown, then)| now.since(shown).saturating_sub(then.elapsed()));
        if ahead < MIN_JUMP {
            self.trust(now);
        } else {
            self.ahead = Some(ahead);
        }
    }

    /// Compares the clock with the sources' timestamps. `ages` has an entry for each price: how old the price is
    /// according to its timestamp, or None if it has no timestamp. Without any prices the clock stays untrusted,
    /// since there is nothing to publish anyway. Prices without timestamps cannot contradict the clock.
    pub(super) fn compare_with_sources(&mut self, now: Timestamp, ages: &[Option<Duration>]) {
        let Some(ahead) = self.ahead else { return };
        let mut known = ages.iter().flatten().peekable();
        // A timestamp may be old because trades are rare. But if every timestamp is older than half of the jump,
        // the timestamps contradict the clock.
        let contradicted = known.peek().is_some() && known.all(|age| *age > ahead / 2);
        if !ages.is_empty() && !contradicted {
            self.trust(now);
        }
    }

    /// How far the clock seems to be ahead. None if it is trusted.
    pub(super) fn ahead(&self) -> Option<Duration> {
        self.ahead
    }

    fn trust(&mut self, now: Timestamp) {
        (self.trusted, self.ahead) = (Some((now, Instant::now())), None);
    }
}
