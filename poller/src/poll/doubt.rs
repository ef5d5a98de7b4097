//! Whether this machine's clock is to be believed.
//!
//! Slots are named by the wall clock and never go back: one record of a clock that is an hour ahead, and the
//! log has no room for the hour that then really passes. So a clock that leapt ahead is believed again when it
//! goes right, or when the sources' own times are where it is: then it was wrong before, or the machine slept.

use std::time::Duration;

use common::domain::Timestamp;
use tokio::time::Instant;

/// A clock that is set right moves by less than this; and less than this is soon made up for.
pub(super) const LEAST_LEAP: Duration = Duration::from_secs(60);

/// What is thought of the clock.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// What it showed when it was last believed, and when that was.
    believed: Option<(Timestamp, Instant)>,
    /// How far it has leapt ahead since.
    leapt: Option<Duration>,
}

impl Doubt {
    /// Up to there the log knows the time. Says something only where nothing else is known.
    pub(super) fn begin(&mut self, covered: Timestamp) {
        self.believed.get_or_insert((covered, Instant::now()));
    }

    /// What the clock shows now.
    pub(super) fn look(&mut self, now: Timestamp) {
        let leapt = self
            .believed
            .map_or(Duration::ZERO, |(shown, then)| now.since(shown).saturating_sub(then.elapsed()));
        if leapt < LEAST_LEAP {
            self.believe(now);
        } else {
            self.leapt = Some(leapt);
        }
    }

    /// What sources say about the time: how old each answer is by its own time, where it says one. Without any
    /// answer nothing is known, and nothing is lost by waiting; sources without times cannot say otherwise.
    pub(super) fn hear(&mut self, now: Timestamp, ages: &[Option<Duration>]) {
        let Some(leapt) = self.leapt else { return };
        let mut known = ages.iter().flatten().peekable();
        // Trades are rare at some hours: that they are old is no reason, that all are as old as the leap is one.
        let against = known.peek().is_some() && known.all(|age| *age > leapt / 2);
        if !ages.is_empty() && !against {
            self.believe(now);
        }
    }

    /// How far the clock is thought to be ahead; nothing where it is believed.
    pub(super) fn ahead(&self) -> Option<Duration> {
        self.leapt
    }

    fn believe(&mut self, now: Timestamp) {
        (self.believed, self.leapt) = (Some((now, Instant::now())), None);
    }
}
