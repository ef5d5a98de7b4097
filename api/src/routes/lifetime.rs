//! How long caches may keep a response.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::domain::{Origin, Pair};

use super::State;
use ledger::snapshot::{PairView, Snapshot};

/// How long a response stays valid. The handler of the route sets this, and the middleware that keeps answers reads it.
///
/// A response is closed if no future record can change it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lifetime(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    closed: AtomicBool,
    at_most_millis: AtomicU64,
    pinned: OnceLock<Arc<Snapshot>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            closed: AtomicBool::new(false),
            at_most_millis: AtomicU64::new(u64::MAX),
            pinned: OnceLock::new(),
        }
    }
}

impl Lifetime {
    /// Limits the lifetime of the response.
    pub(super) fn end_after(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0.at_most_millis.fetch_min(millis, Ordering::Relaxed);
    }

    /// The handler's limit.
    pub(crate) fn at_most(&self) -> Duration {
        Duration::from_millis(self.0.at_most_millis.load(Ordering::Relaxed))
    }

    /// Sets the earlier snapshot that the response is from.
    pub(crate) fn pin(&self, snapshot: Arc<Snapshot>) {
        // A request is pinned once.
        let _ = self.0.pinned.set(snapshot);
    }

    /// The earlier snapshot that the response is from, if it is not from the newest one.
    pub(crate) fn pinned(&self) -> Option<&Arc<Snapshot>> {
        self.0.pinned.get()
    }

    /// Sets whether the response is closed.
    pub(super) fn close_if(&self, is_closed: bool) {
        self.0.closed.store(is_closed, Ordering::Relaxed);
    }

    /// Whether the response is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }
}

impl State {
    /// How long a response from this snapshot is current by this pod's clock: until the next record of any pair is due,
    /// or until a fresh price becomes stale. At most one interval, even if the clock is behind the log.
    ///
    /// Pairs with a stale price do not count. Otherwise one pair that is no longer polled would disable caching for all
    /// others.
    pub(crate) fn time_to_live(&self, snapshot: &Snapshot) -> Duration {
        if snapshot.origin == Some(Origin::Replay) {
            // A replay does not follow the clock, so it is unknown when its next record is due.
            return Duration::ZERO;
        }
        let until = |(pair, view): (&Pair, &PairView)| {
            let slot = view.tick.as_ref()?.tick.slot;
            let fresh_for = self.freshness.fresh_for(snapshot, *pair, view, slot)?;
            let next = view.next_slot().start().since(self.freshness.now(snapshot, *pair, view));
            Some(fresh_for.min(next).min(view.interval.duration()))
        };
        snapshot.pairs.iter().filter_map(until).min().unwrap_or_default()
    }

    /// How long, from now on, the same pairs have a stale price. `None` if that does not end.
    pub(crate) fn steady_for(&self, snapshot: &Snapshot) -> Option<Duration> {
        let steady = |(pair, view): (&Pair, &PairView)| {
            self.freshness.steady_for(snapshot, *pair, view, view.tick.as_ref()?.tick.slot)
        };
        snapshot.pairs.iter().filter_map(steady).min()
    }
}
