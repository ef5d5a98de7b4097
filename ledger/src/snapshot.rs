//! The immutable view that handlers read: one pod's knowledge at one sequence.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{
    bus::LogIdentity,
    domain::{Body, Epoch, Gap, Interval, Origin, Pair, Record, Sequence, Slot, Tick, Timestamp},
};

use crate::{
    events::{Event, Recent},
    position::Position,
    store::{Covering, Heads, Order, Store, StoreError, Stored, StoredGap, StoredTick},
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
    /// The newest events, up to here.
    pub recent: Arc<Recent>,
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
    /// The term of its newest record of any kind.
    pub term: Epoch,
    /// Its newest tick; missing where there has been none.
    pub tick: Option<Arc<NewestTick>>,
    /// The gap that its newest slot is in; missing where that slot has a tick.
    pub gap: Option<StoredGap>,
    /// The tick one day before the newest one, where the log has one near that instant.
    pub day_ago: Option<Point>,
    /// Its newest ticks, and maybe some that are newer than this view.
    pub window: Window,
    /// Since when the window holds every tick.
    pub kept_from: Timestamp,
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

/// Why there is no view at an earlier position.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// This pod has not read the log so far.
    #[error("this pod has the log up to {newest} only: ask again, or ask another pod")]
    Ahead {
        /// How far it has read.
        newest: Sequence,
    },
    /// It is too long ago, or nothing was covered yet.
    #[error(
        "that is before the first slot, or longer ago than answers reach back, which windows.keep decides; \
         history reaches further"
    )]
    Gone,
    /// The store did not answer.
    #[error("the store did not answer")]
    Store(#[from] StoreError),
}

/// How far back "a day ago" lies.
const DAY: Duration = Duration::from_secs(86_400);

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
            if heads.covered.is_none() {
                continue;
            }
            let view = PairView::load(store, heads)?;
            let kept_from = view.slot.start().minus(keep);
            let window = load_window(store, pair, kept_from, view.slot)?;
            pairs.insert(pair, PairView { window, kept_from, ..view });
        }
        let sequence = store.cursor()?;
        let recent = Arc::new(Recent::since(Position::behind(sequence)));
        let mut snapshot = Self { identity: store.identity().clone(), sequence, origin, pairs, recent };
        snapshot.look_back(store)?;
        Ok(snapshot)
    }

    /// The view as it was at an earlier position, as far back as `reach` from the newest slot. Whether that
    /// is too long ago is told by slots alone, so that every pod says the same.
    pub fn at(&self, store: &Store, sequence: Sequence, reach: Duration) -> Result<Self, PinError> {
        if sequence > self.sequence {
            return Err(PinError::Ahead { newest: self.sequence });
        }
        let mut pairs = BTreeMap::new();
        for (pair, newest) in &self.pairs {
            let view = if newest.sequence <= sequence {
                Some(newest.clone())
            } else {
                let heads = store.covering_at(*pair, sequence)?;
                let older = heads.map(|heads| PairView::load(store, heads)).transpose()?;
                older.map(|older| PairView {
                    window: newest.window.clone(),
                    kept_from: newest.kept_from,
                    ..older
                })
            };
            pairs.extend(view.map(|view| (*pair, view)));
        }
        let (identity, origin, recent) = (self.identity.clone(), self.origin, Arc::default());
        let mut pinned = Self { identity, sequence, origin, pairs, recent };
        let oldest = self.newest_slot().map(|slot| slot.start().minus(reach));
        if pinned.newest_slot().map(Slot::start) < oldest {
            return Err(PinError::Gone);
        }
        pinned.look_back(store)?;
        Ok(pinned)
    }

    /// The newest slot of any pair.
    pub fn newest_slot(&self) -> Option<Slot> {
        self.pairs.values().map(|view| view.slot).max()
    }

    /// What a client begins with that has no cursor: each pair's newest tick, and the gap since, if there is
    /// one; in the order of the log.
    pub fn newest_events(&self, wanted: impl Fn(Pair) -> bool) -> Vec<Arc<Event>> {
        let origin = self.origin.unwrap_or(Origin::Live);
        let event = |sequence, covering| Arc::new(Event::new(Position::behind(sequence), covering, origin));
        let mut events = Vec::new();
        for (pair, view) in self.pairs.iter().filter(|(pair, _)| wanted(**pair)) {
            let tick =
                view.tick.as_ref().map(|newest| (newest.sequence, Covering::Tick(*pair, newest.kept())));
            let gap = view.gap.map(|gap| (view.sequence, Covering::Gap(*pair, gap)));
            events.extend(tick.into_iter().chain(gap).map(|(sequence, covering)| event(sequence, covering)));
        }
        events.sort_by_key(|event| event.position);
        events
    }

    /// Finds each pair's tick of a day ago. In the store, not in the window: how much a pod keeps in
    /// memory must not change its answer. Every record up to this snapshot's must be in the store.
    pub fn look_back(&mut self, store: &Store) -> Result<(), StoreError> {
        for (pair, view) in &mut self.pairs {
            let Some(newest) = &view.tick else { continue };
            let then = newest.tick.slot.start().minus(DAY);
            let oldest = then.minus(newest.tick.interval.duration() * LONGEST_STANDING);
            // Where memory has a tick of that very instant, it is the one that is looked for.
            let remembered = view.window.summarize(then.previous(), newest.tick.interval.slot_at(then));
            view.day_ago = match remembered {
                Some(then) => Some(then.last),
                None => {
                    let mut found = store.ticks(*pair, oldest, then.next(), Order::Descending);
                    match found.next() {
                        // Not known for the moment.
                        Some(Err(StoreError::Closed(_))) => None,
                        found => found.transpose()?.map(|tick| tick.point()),
                    }
                }
            };
        }
        Ok(())
    }

    /// The position of the pair's newest slot, where this record does not continue from there. In a whole log each term
    /// begins with a lead that names the newest slot, and each slot follows the one before. So either the log itself is
    /// broken here, or it was set back and what is known of it is no longer part of it.
    pub fn broken_off_at(&self, record: &Record) -> Option<Sequence> {
        let view = self.pairs.get(&record.pair)?;
        let joins = match &record.body {
            Body::Lead(lead) => record.epoch > view.term && lead.covered == Some(view.slot.start()),
            Body::Tick(Tick { slot: first, interval, .. }) | Body::Gap(Gap { from: first, interval, .. }) => {
                record.epoch == view.term
                    && follows(&record.body, view.slot)
                    && interval.between(view.slot, *first).is_none()
            }
        };
        (!joins).then_some(view.sequence)
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
        if let Some(view) = self.pairs.get_mut(&record.pair) {
            view.term = view.term.max(record.epoch);
        }
        let view = self.pairs.get(&record.pair);
        let (slot, interval) = slot_and_interval(&record.body)?;
        let covering = Covering::of(*sequence, record)?;
        let (mut tick, mut window) =
            view.map(|view| (view.tick.clone(), view.window.clone())).unwrap_or_default();
        let recent = Arc::make_mut(&mut self.recent);
        if view.is_some_and(|view| interval.between(view.slot, covering.first()).is_some()) {
            // What the log had lost here is an event too, and the store knows it.
            *recent = Recent::since(Position::before(*sequence));
        }
        recent.push(Event::new(Position::behind(*sequence), covering, record.origin));
        if let Body::Tick(new) = &record.body {
            let point = Point { slot: new.slot, interval: new.interval, price: new.price };
            let newest = NewestTick { sequence: *sequence, epoch: record.epoch, tick: new.clone() };
            (tick, window) = (Some(Arc::new(newest)), window.push(point));
        }
        let kept_from = slot.start().minus(keep);
        let window = window.without_before(kept_from);
        let (sequence, epoch, gap) = (*sequence, record.epoch, covering.gap());
        let (term, day_ago) = (epoch, None);
        let view = PairView { slot, sequence, interval, epoch, term, tick, gap, day_ago, window, kept_from };
        self.pairs.insert(record.pair, view);
        None
    }
}

impl NewestTick {
    /// What history has of it.
    fn kept(&self) -> StoredTick {
        let Tick { slot, interval, price, .. } = self.tick;
        StoredTick { slot, interval, price, sequence: self.sequence, epoch: self.epoch }
    }
}

impl PairView {
    /// The view from a pair's newest records, without its window and the tick of a day ago.
    fn load(store: &Store, heads: Heads) -> Result<Self, StoreError> {
        const MISSING: StoreError = StoreError::Damaged("a pair's newest record is missing");
        let record = store.record(heads.covering)?.ok_or(MISSING)?;
        let (slot, interval) = slot_and_interval(&record.body).ok_or(MISSING)?;
        let tick = match store.record(heads.tick)? {
            Some(Record { epoch, body: Body::Tick(tick), .. }) => {
                Some(Arc::new(NewestTick { sequence: heads.tick, epoch, tick }))
            }
            None if heads.tick == Sequence::default() => None,
            _ => return Err(MISSING),
        };
        let (sequence, epoch) = (heads.covering, record.epoch);
        let gap = Covering::of(sequence, &record).and_then(|covering| covering.gap());
        let (window, kept_from) = (Window::default(), Timestamp::MAX);
        let term = store.record(heads.newest)?.map_or(epoch, |newest| newest.epoch);
        Ok(Self { slot, sequence, interval, epoch, term, tick, gap, day_ago: None, window, kept_from })
    }

    /// The ticks in memory, where they reach back far enough for windows that begin at `from`.
    pub fn window_since(&self, from: Timestamp) -> Option<&Window> {
        (from >= self.kept_from).then_some(&self.window)
    }

    /// The instant the next record is due.
    pub fn next_slot(&self) -> Slot {
        self.interval.after(self.slot.start())
    }
}

fn load_window(store: &Store, pair: Pair, from: Timestamp, newest: Slot) -> Result<Window, StoreError> {
    let mut window = Window::default();
    for tick in store.ticks(pair, from, newest.start().next(), Order::Ascending) {
        window = window.push(tick?.point());
    }
    Ok(window)
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
