//! Which prices are fresh, although clocks can be wrong.
//!
//! The age of a price is the time since its slot, on this machine's clock. That clock may be wrong, and so may have been
//! the clock of the poller that wrote the record. Two rules keep a wrong clock from making an old price look fresh:
//!
//! - A slot that is further ahead of the clock than clocks may differ has no age. Its price is not fresh.
//! - A price is at least as old as the time since this pod received it. That time is measured with the monotonic clock,
//!   which nobody can set. So a price does not become fresh again when the wall clock is set back.
//!
//! [`Freshness::watch`] reports both kinds of trouble. Both rules apply to each pair on its own.

mod jumps;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use common::{
    clock::Clock,
    domain::{Origin, Pair, Slot, Timestamp},
    readiness::{Check, Condition},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::metrics::ClockMetrics;
use jumps::Jumps;
use ledger::snapshot::{PairView, Snapshot};

/// How often the clock is checked while no record arrives.
const CHECK_PAUSE: Duration = Duration::from_secs(1);

/// The most pairs that the readiness check names.
const MAX_NAMED: usize = 3;

/// Decides which prices are fresh. One for each store that a pod serves.
#[derive(Debug)]
pub struct Freshness {
    clock: Arc<dyn Clock>,
    stale_after: Duration,
    /// The slot of each pair's newest tick, and when this pod received it.
    arrivals: RwLock<BTreeMap<Pair, (Slot, Instant)>>,
}

/// Where the state of the clock is reported. Clones share the same check and metrics.
#[derive(Debug, Clone)]
pub struct ClockReport {
    /// The readiness check.
    pub check: Check,
    /// The metrics.
    pub metrics: ClockMetrics,
}

impl Freshness {
    /// A price becomes stale `stale_after` its slot.
    pub fn new(clock: Arc<dyn Clock>, stale_after: Duration) -> Self {
        Self { clock, stale_after, arrivals: RwLock::default() }
    }

    /// How old a price of this slot is, or `None` if the slot is too far ahead of the clock. `view` is the pair's view in
    /// the same snapshot.
    pub fn age(&self, snapshot: &Snapshot, pair: Pair, view: &PairView, slot: Slot) -> Option<Duration> {
        let is_known = snapshot.origin == Some(Origin::Replay) || self.ahead(view, slot).is_none();
        is_known.then(|| self.now(snapshot, pair, view).since(slot.start()))
    }

    /// Whether a price of this slot is stale.
    pub fn is_stale(&self, snapshot: &Snapshot, pair: Pair, view: &PairView, slot: Slot) -> bool {
        self.age(snapshot, pair, view, slot).is_none_or(|age| age > self.stale_after)
    }

    /// How long a price of this slot stays fresh. `None` if it is stale.
    pub fn fresh_for(
        &self,
        snapshot: &Snapshot,
        pair: Pair,
        view: &PairView,
        slot: Slot,
    ) -> Option<Duration> {
        self.age(snapshot, pair, view, slot).and_then(|age| self.stale_after.checked_sub(age))
    }

    /// How long, from now on, a price of this slot stays fresh, or stays stale. `None` if it stays stale.
    pub fn steady_for(
        &self,
        snapshot: &Snapshot,
        pair: Pair,
        view: &PairView,
        slot: Slot,
    ) -> Option<Duration> {
        if snapshot.origin == Some(Origin::Replay) {
            return None;
        }
        match self.ahead(view, slot) {
            // One millisecond before the slot is no longer too far ahead.
            Some(ahead) => {
                Some(ahead.saturating_sub(allowance(view)).saturating_sub(Duration::from_millis(1)))
            }
            None => self.fresh_for(snapshot, pair, view, slot),
        }
    }

    /// The time at which the age of a pair's prices is measured.
    pub fn now(&self, snapshot: &Snapshot, pair: Pair, view: &PairView) -> Timestamp {
        // The slots of a replay are in the past, so the age of a price is counted back from the pair's newest slot and
        // not from the current time.
        if snapshot.origin == Some(Origin::Replay) {
            return view.slot.start();
        }
        let arrival = self.arrivals.read().unwrap_or_else(PoisonError::into_inner).get(&pair).copied();
        let at_least = arrival.map(|(slot, arrived)| slot.start().plus(self.clock.steady() - arrived));
        at_least.into_iter().fold(self.clock.now(), Timestamp::max)
    }

    /// How far a slot is ahead of the clock, if it is further ahead than clocks may differ.
    fn ahead(&self, view: &PairView, slot: Slot) -> Option<Duration> {
        let ahead = slot.start().since(self.clock.now());
        (ahead > allowance(view)).then_some(ahead)
    }

    /// Notes when the newest ticks arrived. Returns whether a tick arrived that is fresh on the clock.
    fn note_arrivals(&self, snapshot: &Snapshot) -> bool {
        let mut arrivals = self.arrivals.write().unwrap_or_else(PoisonError::into_inner);
        let mut is_confirmed = false;
        for (pair, view) in &snapshot.pairs {
            let Some(slot) = view.tick.as_ref().map(|newest| newest.tick.slot) else { continue };
            if arrivals.get(pair).is_some_and(|(known, _)| *known == slot) {
                continue;
            }
            arrivals.insert(*pair, (slot, self.clock.steady()));
            let is_old = self.clock.now().since(slot.start()) > self.stale_after;
            is_confirmed |= !is_old && self.ahead(view, slot).is_none();
        }
        is_confirmed
    }

    /// Notes when ticks arrive, and reports troubles with clocks, until nobody sends snapshots any more.
    pub async fn watch(&self, mut snapshots: watch::Receiver<Arc<Snapshot>>, report: ClockReport) {
        let mut jumps = Jumps::new(self.clock.now(), self.clock.steady());
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            if let Some(jump) = jumps.observe(self.clock.now(), self.clock.steady()) {
                report.metrics.jumped(jump);
                tracing::warn!(
                    event = "clock_jumped",
                    ahead_millis = jump,
                    "this machine's clock was set, or the machine was suspended"
                );
            }
            if self.note_arrivals(&snapshot) {
                jumps.forget();
            }
            self.report(&snapshot, &jumps, &report);
            if let Ok(Err(_)) = timeout(CHECK_PAUSE, snapshots.changed()).await {
                return;
            }
        }
    }

    fn report(&self, snapshot: &Snapshot, jumps: &Jumps, report: &ClockReport) {
        let is_replay = snapshot.origin == Some(Origin::Replay);
        let views = snapshot.pairs.iter().filter(|_| !is_replay);
        let ahead: Vec<(Pair, Slot, Duration)> =
            views.filter_map(|(pair, view)| Some((*pair, view.slot, self.ahead(view, view.slot)?))).collect();
        let most = ahead.iter().map(|(.., ahead)| *ahead).max().unwrap_or_default();
        report.metrics.slot_ahead(most);
        let jump = jumps.unconfirmed().filter(|_| !is_replay);
        report.check.set(match (ahead.is_empty(), jump) {
            (false, _) => Condition::Degraded(ahead_reason(&ahead, most)),
            (true, Some(jump)) => Condition::Degraded(format!(
                "this machine's clock jumped {} by {} s, and no new price has confirmed it yet",
                if jump > 0 { "ahead" } else { "back" },
                jump.unsigned_abs() / 1_000,
            )),
            (true, None) => Condition::Ready,
        });
    }
}

/// How far a slot may be ahead: a poller may write a slot's record as soon as the slot begins on its own clock, which may
/// differ from this one by the `max_clock_skew` in the pair's policy. One interval more is allowed, so that a clock that is
/// barely wrong does not make prices stale.
fn allowance(view: &PairView) -> Duration {
    let policy = view.tick.as_ref().map(|newest| newest.tick.evidence.policy);
    let skew = policy.map_or(Duration::ZERO, |policy| policy.max_clock_skew.duration());
    skew + view.interval.duration()
}

/// The reason names slots and not the distance, which changes all the time: each change of a reason is logged.
fn ahead_reason(ahead: &[(Pair, Slot, Duration)], most: Duration) -> String {
    let named: Vec<String> =
        ahead.iter().take(MAX_NAMED).map(|(pair, slot, _)| format!("{pair} ({slot})")).collect();
    let others = match ahead.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        count => format!(" and {count} other pairs"),
    };
    let unit = if most >= Duration::from_secs(3_600) { "by an hour or more" } else { "by less than an hour" };
    format!(
        "the newest slots of {}{others} are ahead of this machine's clock, {unit}, so their prices count as stale; correct \
         this machine's clock, or see TickwellSlotAhead in the runbook if a poller's clock was ahead",
        named.join(", ")
    )
}
