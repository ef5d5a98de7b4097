//! The immutable view that handlers read: one pod's knowledge at one sequence.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{
    bus::LogIdentity,
    domain::{Body, Epoch, Interval, Origin, Pair, Record, Sequence, Slot, Tick, Timestamp},
};

use crate::{
    store::{Order, Store, StoreError, Stored},
    summary::{LONGEST_STANDING, Point},
    window::Window,
};

/// What is known of the log up to one sequence. Cloning is cheap: the parts are shared.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The log.
    pub identity: LogIdentity,
    /// Up to where.
    pub sequence: Sequence,
    /// Where its prices come from; missing while the log is empty.
    pub origin: Option<Origin>,
    /// Every pair that has a tick or a gap.
    pub pairs: BTreeMap<Pair, PairView>,
}

/// What is known of one pair.
#[derive(Debug, Clone)]
pub struct PairView {
    /// Its newest slot, tick or gap.
    pub slot: Slot,
    /// The position of that slot's record.
    pub sequence: Sequence,
    /// The distance between slots now.
    pub interval: Interval,
    /// The term of the leader that wrote it.
    pub epoch: Epoch,
    /// Its newest tick; missing where there has been none.
    pub tick: Option<Arc<NewestTick>>,
    /// The tick one day before the newest one, where the log has one near that instant.
    pub day_ago: Option<Point>,
    /// Its newest ticks.
    pub window: Window,
}

/// A pair's newest tick.
#[derive(Debug, Clone)]
pub struct NewestTick {
    /// Its record's position.
    pub sequence: Sequence,
    /// The term of the leader that wrote it.
    pub epoch: Epoch,
    /// The tick.
    pub tick: Tick,
}

common::words! {
    /// Why a record of the log is passed over, by every pod alike.
    pub enum Rejection ("rejection") {
        /// It did not come through the log's fence: no poller wrote it.
        Unfenced = "unfenced",
        /// It cannot be decoded.
        Undecodable = "undecodable",
        /// Its prices come from elsewhere than the log's first record's.
        Origin = "origin",
        /// Its slots are covered already, or its epoch went back.
        Order = "order",
    }
}

/// How far back "a day ago" lies.
const DAY: Duration = Duration::from_secs(86_400);

/// Times are whole milliseconds.
const MILLISECOND: Duration = Duration::from_millis(1);

/// How far back the tick of a day ago may lie: it stands for that instant as it does in the time-weighted
/// mean, and an interval is a day at most. Ticks must be kept for so long.
pub const DAY_AGO_REACH: Duration = DAY.saturating_mul(1 + LONGEST_STANDING);

impl Snapshot {
    /// The view of a store's whole content, with windows of `keep`.
    pub fn load(store: &Store, keep: Duration) -> Result<Self, StoreError> {
        let mut pairs = BTreeMap::new();
        let mut origin = None;
        for (pair, heads) in store.pairs()? {
            if let Some(newest) = store.record(heads.newest)? {
                origin = Some(newest.origin);
            }
            let Some(record) = store.record(heads.covering)? else { continue };
            let tick = match store.record(heads.tick)? {
                Some(Record { epoch, body: Body::Tick(tick), .. }) => {
                    Some(Arc::new(NewestTick { sequence: heads.tick, epoch, tick }))
                }
                _ => None,
            };
            if let Some((slot, interval)) = slot_and_interval(&record.body) {
                let window = load_window(store, pair, slot, keep)?;
                let (sequence, epoch) = (heads.covering, record.epoch);
                let view = PairView { slot, sequence, interval, epoch, tick, day_ago: None, window };
                pairs.insert(pair, view);
            }
        }
        let mut snapshot =
            Self { identity: store.identity().clone(), sequence: store.cursor()?, origin, pairs };
        snapshot.look_back(store)?;
        Ok(snapshot)
    }

    /// Finds each pair's tick of a day ago. In the store, not in the window: how much a pod keeps in
    /// memory must not change its answer. Every record up to this snapshot's must be in the store.
    pub fn look_back(&mut self, store: &Store) -> Result<(), StoreError> {
        for (pair, view) in &mut self.pairs {
            let Some(newest) = &view.tick else { continue };
            let then = newest.tick.slot.start().minus(DAY);
            let oldest = then.minus(newest.tick.interval.duration() * LONGEST_STANDING);
            // Where memory has a tick of that very instant, it is the one that is looked for.
            let remembered =
                view.window.summarize(then.minus(MILLISECOND), newest.tick.interval.slot_at(then));
            view.day_ago = match remembered {
                Some(then) => Some(then.last),
                None => {
                    let mut found = store.ticks(*pair, oldest, then.next(), Order::Descending);
                    match found.next() {
                        // Not known for the moment.
                        Some(Err(StoreError::Closed(_))) => None,
                        found => found.transpose()?.as_ref().map(point),
                    }
                }
            };
        }
        Ok(())
    }

    /// Takes in one record. One that contradicts what is known is rejected, and changes nothing but the
    /// sequence.
    pub fn apply(&mut self, stored: &Stored, keep: Duration) -> Option<Rejection> {
        let Stored { sequence, record } = stored;
        self.sequence = *sequence;
        if self.origin.is_some_and(|origin| origin != record.origin) {
            return Some(Rejection::Origin);
        }
        let view = self.pairs.get(&record.pair);
        if view.is_some_and(|view| record.epoch < view.epoch || !follows(&record.body, view.slot)) {
            return Some(Rejection::Order);
        }
        self.origin = Some(record.origin);
        let (slot, interval) = slot_and_interval(&record.body)?;
        let (mut tick, mut window) =
            view.map(|view| (view.tick.clone(), view.window.clone())).unwrap_or_default();
        if let Body::Tick(new) = &record.body {
            let point = Point { slot: new.slot, interval: new.interval, price: new.price };
            let newest = NewestTick { sequence: *sequence, epoch: record.epoch, tick: new.clone() };
            (tick, window) = (Some(Arc::new(newest)), window.push(point));
        }
        let window = window.without_before(slot.start().minus(keep));
        let epoch = record.epoch;
        let view = PairView { slot, sequence: *sequence, interval, epoch, tick, day_ago: None, window };
        self.pairs.insert(record.pair, view);
        None
    }
}

impl PairView {
    /// Whether its newest tick is older than `limit`, or there is none.
    pub fn is_stale(&self, now: Timestamp, limit: Duration) -> bool {
        self.tick.as_ref().is_none_or(|newest| now.since(newest.tick.slot.start()) > limit)
    }

    /// The instant the next record is due.
    pub fn next_slot(&self) -> Slot {
        self.interval.after(self.slot.start())
    }
}

fn load_window(store: &Store, pair: Pair, newest: Slot, keep: Duration) -> Result<Window, StoreError> {
    let (from, to) = (newest.start().minus(keep), newest.start().next());
    let mut window = Window::default();
    for tick in store.ticks(pair, from, to, Order::Ascending) {
        window = window.push(point(&tick?));
    }
    Ok(window)
}

fn point(tick: &crate::store::StoredTick) -> Point {
    Point { slot: tick.slot, interval: tick.interval, price: tick.price }
}

fn slot_and_interval(body: &Body) -> Option<(Slot, Interval)> {
    match body {
        Body::Tick(tick) => Some((tick.slot, tick.interval)),
        Body::Gap(gap) => Some((gap.slot, gap.interval)),
        Body::Lead(_) => None,
    }
}

fn follows(body: &Body, newest: Slot) -> bool {
    match body {
        Body::Tick(tick) => tick.slot > newest,
        Body::Gap(gap) => gap.from > newest,
        Body::Lead(_) => true,
    }
}
