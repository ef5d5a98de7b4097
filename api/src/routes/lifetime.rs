//! How long an answer stays what it is, for caches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::domain::Origin;

use super::State;
use ledger::snapshot::{PairView, Snapshot};

/// Where a route says that its answer is closed: that nothing which will ever be recorded can change it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lifetime(Arc<Said>);

#[derive(Debug)]
struct Said {
    closed: AtomicBool,
    at_most_millis: AtomicU64,
}

impl Default for Said {
    fn default() -> Self {
        Self { closed: AtomicBool::new(false), at_most_millis: AtomicU64::new(u64::MAX) }
    }
}

impl Lifetime {
    /// Says that it is not what was asked for any more after this time.
    pub(super) fn end_after(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0.at_most_millis.fetch_min(millis, Ordering::Relaxed);
    }

    /// How long an answer that holds for some time holds by what the route said.
    pub(crate) fn limit(&self, holds: Duration) -> Duration {
        holds.min(Duration::from_millis(self.0.at_most_millis.load(Ordering::Relaxed)))
    }

    /// Says so, if it is.
    pub(super) fn close_if(&self, is_closed: bool) {
        self.0.closed.store(is_closed, Ordering::Relaxed);
    }

    /// Whether the route said so.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }
}

impl State {
    /// How long an answer from this snapshot can be taken for the newest, by this pod's clock: until the next
    /// record of any pair is due, and no longer than every fresh price stays fresh.
    ///
    /// Pairs that are stale are not waited for: one that is no longer polled would have everything else asked for
    /// again and again.
    pub(crate) fn holds(&self, snapshot: &Snapshot) -> Duration {
        if snapshot.origin == Some(Origin::Replay) {
            // A recording goes by in a time of its own.
            return Duration::ZERO;
        }
        let now = self.clock.now();
        let until = |view: &PairView| {
            let newest = view.tick.as_ref().filter(|_| !self.is_stale(snapshot, view))?;
            let stale = newest.tick.slot.start().plus(self.stale_after);
            Some(view.next_slot().start().min(stale).since(now))
        };
        snapshot.pairs.values().filter_map(until).min().unwrap_or_default()
    }
}
