//! Notices that somebody has set the wall clock, by comparing it with the monotonic clock.

use common::domain::Timestamp;
use tokio::time::Instant;

/// Smaller jumps are ordinary corrections, and change no result noticeably.
const MIN_JUMP_MILLIS: i64 = 10_000;

/// The jumps of the wall clock that no new price has confirmed yet.
#[derive(Debug)]
pub(super) struct Jumps {
    /// What the wall clock showed when it was last observed, and the instant at which that was.
    last: (Timestamp, Instant),
    /// The sum of the unconfirmed jumps, in milliseconds. Above zero if the clock is ahead of where it was expected.
    millis: i64,
}

impl Jumps {
    pub(super) fn new(now: Timestamp, steady: Instant) -> Self {
        Self { last: (now, steady), millis: 0 }
    }

    /// Compares the wall clock with the monotonic clock. Returns the jump since the last call in milliseconds, if there
    /// was one.
    pub(super) fn observe(&mut self, now: Timestamp, steady: Instant) -> Option<i64> {
        let (shown, then) = self.last;
        self.last = (now, steady);
        let passed = i64::try_from((steady - then).as_millis()).unwrap_or(i64::MAX);
        let shown = now.unix_millis().saturating_sub(shown.unix_millis());
        let jump = shown.saturating_sub(passed);
        if jump.abs() < MIN_JUMP_MILLIS {
            return None;
        }
        self.millis = self.millis.saturating_add(jump);
        Some(jump)
    }

    /// The sum of the jumps that no new price has confirmed, in milliseconds. `None` if the clock is back where it was
    /// expected.
    pub(super) fn unconfirmed(&self) -> Option<i64> {
        Some(self.millis).filter(|millis| millis.abs() >= MIN_JUMP_MILLIS)
    }

    /// A new price agrees with the clock.
    pub(super) fn forget(&mut self) {
        self.millis = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000).unwrap()
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_and_one_that_drifts_is_not() {
        let mut steady = Instant::now();
        let mut jumps = Jumps::new(at(0), steady);
        let mut after = |monotonic: u64, wall: i64| {
            steady += Duration::from_secs(monotonic);
            let jump = jumps.observe(at(wall), steady);
            (jump, jumps.unconfirmed())
        };
        assert_eq!(after(1, 1), (None, None));
        // Slow drift is corrected by NTP, however much it adds up to.
        for (monotonic, wall) in [(100, 95), (100, 190), (100, 285)] {
            assert_eq!(after(monotonic, wall), (None, None));
        }
        assert_eq!(after(1, 285 - 3_599), (Some(-3_600_000), Some(-3_600_000)));
        assert_eq!(after(10, 285 - 3_589), (None, Some(-3_600_000)));
        assert_eq!(after(0, 285 + 11), (Some(3_600_000), None));
        assert_eq!(after(0, 285 + 100_011), (Some(100_000_000), Some(100_000_000)));
        jumps.forget();
        assert_eq!(jumps.unconfirmed(), None);
    }
}
