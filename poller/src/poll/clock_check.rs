//! Decides whether this machine's clock is trusted.
//!
//! A slot's time comes from the wall clock, and slots never go back. If a single record were published while the
//! clock is an hour ahead, nothing could be recorded during the next hour. So after a jump ahead, nothing is
//! published until the clock is corrected, or until several other clocks agree with it. If they agree, the clock was
//! wrong before the jump, or the machine was asleep.
//!
//! The other clocks are the *witnesses*: each source, by the timestamps of its prices and the `Date` of its responses,
//! and the server of the log.

use std::time::Duration;

use common::domain::Timestamp;
use tokio::time::Instant;

/// Smaller jumps are ignored. Normal clock adjustments are smaller, and real time soon catches up with the clock.
pub(super) const MIN_JUMP: Duration = Duration::from_secs(60);

/// How many witnesses must agree with the clock after a jump. A single one may have the same wrong clock, because it
/// runs on this machine. If there is only one witness at all, it is enough.
const MIN_AGREEING: usize = 2;

/// Whether the clock is trusted.
#[derive(Debug, Default)]
pub(super) struct ClockCheck {
    /// The time that the clock showed when it was last trusted, and the instant at which that was.
    trusted: Option<(Timestamp, Instant)>,
    /// How far the clock seems to be ahead. None while it is trusted.
    ahead: Option<Duration>,
    /// Whether the witnesses have been asked since the clock seems to be ahead.
    has_asked: bool,
}

impl ClockCheck {
    /// Trusts the time up to which the log has records, unless the clock has been checked already.
    pub(super) fn start_at(&mut self, covered: Timestamp) {
        self.trusted.get_or_insert((covered, Instant::now()));
    }

    /// Compares the clock with the monotonic clock.
    pub(super) fn observe(&mut self, now: Timestamp) {
        let Some((shown, then)) = self.trusted else { return };
        let ahead = now.since(shown).saturating_sub(then.elapsed());
        if ahead < MIN_JUMP {
            self.trust(now);
        } else {
            self.ahead = Some(ahead);
        }
    }

    /// Compares the clock with the witnesses. `behind` has an entry for each witness: how far its newest time is behind
    /// the clock, or None if it gave no time.
    ///
    /// A timestamp may be old because trades are rare. So a witness only contradicts the clock if its newest time is
    /// behind by more than half of the jump.
    pub(super) fn compare(&mut self, now: Timestamp, behind: &[Option<Duration>]) {
        let needed = MIN_AGREEING.min(behind.len());
        let times: Vec<Duration> = behind.iter().flatten().copied().collect();
        self.has_asked = true;
        match (self.trusted, self.ahead) {
            // Simulated prices have no witnesses.
            _ if needed == 0 => self.trust(now),
            // The log has no records. The clock is trusted unless all witnesses contradict it.
            (None, _) => {
                let least = times.iter().min().copied().filter(|least| *least >= MIN_JUMP);
                match least.filter(|_| times.len() >= needed) {
                    Some(least) => self.ahead = Some(least),
                    None => self.trust(now),
                }
            }
            (Some(_), Some(ahead)) => {
                let agreeing = times.iter().filter(|time| **time <= ahead / 2).count();
                if agreeing >= needed && agreeing * 2 > times.len() {
                    self.trust(now);
                }
            }
            (Some(_), None) => {}
        }
    }

    /// Whether the witnesses have to be asked.
    pub(super) fn needs_witnesses(&self) -> bool {
        self.trusted.is_none() || self.ahead.is_some()
    }

    /// How far the clock seems to be ahead. None if it is trusted.
    pub(super) fn ahead(&self) -> Option<Duration> {
        self.ahead
    }

    /// How far the clock seems to be ahead, if the witnesses did not agree with it. None if it is trusted, or if it is
    /// not known yet whether they agree.
    pub(super) fn contradicted(&self) -> Option<Duration> {
        self.ahead.filter(|_| self.has_asked)
    }

    fn trust(&mut self, now: Timestamp) {
        (self.trusted, self.ahead, self.has_asked) = (Some((now, Instant::now())), None, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + second * 1_000).unwrap()
    }

    fn seconds(behind: &[Option<u64>]) -> Vec<Option<Duration>> {
        behind.iter().map(|seconds| seconds.map(Duration::from_secs)).collect()
    }

    /// Whether the clock is trusted after it has jumped ahead of the log by an hour.
    fn is_believed(behind: &[Option<u64>]) -> bool {
        let mut check = ClockCheck::default();
        check.start_at(at(0));
        check.observe(at(3_600));
        assert!(check.ahead().is_some());
        check.compare(at(3_600), &seconds(behind));
        check.ahead().is_none()
    }

    #[test]
    fn a_jump_is_believed_if_several_witnesses_agree_and_most_do() {
        for (behind, expected) in [
            (&[Some(0), Some(1), None][..], true),
            (&[Some(0), Some(1_700), Some(HOUR)], true),
            (&[Some(0)], true),
            // Before, all of these were believed: a single witness that agreed was enough, and so was none with a time.
            (&[Some(0), None], false),
            (&[None, None], false),
            (&[Some(0), Some(HOUR)], false),
            (&[Some(0), Some(0), Some(HOUR), Some(HOUR)], false),
            (&[Some(HOUR)], false),
        ] {
            assert_eq!(is_believed(behind), expected, "{behind:?}");
        }
    }

    #[test]
    fn without_records_the_clock_is_trusted_unless_all_witnesses_contradict_it() {
        for (behind, expected) in [
            (&[][..], true),
            (&[None, None], true),
            (&[Some(HOUR), None], true),
            (&[Some(HOUR), Some(0)], true),
            (&[Some(HOUR), Some(240 * HOUR)], false),
            (&[Some(HOUR)], false),
        ] {
            let mut check = ClockCheck::default();
            check.observe(at(0));
            check.compare(at(0), &seconds(behind));
            assert_eq!(check.ahead().is_none(), expected, "{behind:?}");
        }
    }
}
