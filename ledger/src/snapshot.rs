//! Snapshots: immutable views of everything that is known at one sequence of the log. Request handlers read them.

use std::{collections::BTreeMap, mem::take, ops::ControlFlow, sync::Arc, time::Duration};

use common::{
    bus::LogIdentity,
    domain::{Body, Epoch, Gap, Interval, Origin, Pair, Record, Sequence, Slot, Tick, Timestamp},
};

use crate::{
    events::{Event, Recent},
    position::Position,
    store::{Order, PairState, Store, StoreError, Stored, StoredGap, StoredTick, TickOrGap},
    summary::{MAX_CARRIED_INTERVALS, Point},
    window::{Window, WindowTick},
};

/// Everything known of the log up to one sequence. Cloning is cheap because the parts are shared.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The log's identity.
    pub identity: LogIdentity,
    /// The newest sequence that is included.
    pub sequence: Sequence,
    /// Where the log's prices come from. `None` while the log is empty.
    pub origin: Option<Origin>,
    /// All pairs that have a tick or a gap.
    pub pairs: BTreeMap<Pair, PairView>,
    /// The newest events, up to `sequence`.
    pub recent: Arc<Recent>,
}

/// Everything known of one pair.
#[derive(Debug, Clone)]
pub struct PairView {
    /// Its newest slot with a tick or a gap.
    pub slot: Slot,
    /// The sequence of that slot's record.
    pub sequence: Sequence,
    /// The current interval between slots.
    pub interval: Interval,
    /// The epoch of the leader that wrote the record of that slot.
    pub epoch: Epoch,
    /// The epoch of the pair's newest record of any kind.
    pub term: Epoch,
    /// Its newest tick, if there is one.
    pub tick: Option<Arc<NewestTick>>,
    /// The gap that covers its newest slot. `None` if that slot has a tick.
    pub gap: Option<StoredGap>,
    /// The tick one day before the newest tick, if there was one at that instant or shortly before.
    pub day_ago: Option<Point>,
    /// Its newest ticks, and possibly some that are newer than this view.
    pub window: Window,
    /// The window has every tick from this instant on.
    pub kept_from: Timestamp,
}

/// A pair's newest tick.
#[derive(Debug, Clone)]
pub struct NewestTick {
    /// The sequence of its record.
    pub sequence: Sequence,
    /// The epoch of the leader that wrote it.
    pub epoch: Epoch,
    /// The tick.
    pub tick: Tick,
}

common::words! {
    /// Why a message of the log is rejected. All pods reject the same messages.
    pub enum Rejection ("rejection") {
        /// The message was published without the fence that pollers use, so no poller wrote it.
        Unfenced = "unfenced",
        /// The message cannot be decoded.
        Undecodable = "undecodable",
        /// The record's origin is not that of the log's first record.
        Origin = "origin",
        /// The pair already has a tick or a gap for the record's slots, or the pair's newest tick or gap has a later
        /// epoch, or the record is backfilled although the pair has a live slot.
        Order = "order",
    }
}

/// Why there is no snapshot for an earlier sequence.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// This pod has not read the log that far.
    #[error("this pod has read the log up to sequence {newest} only; try again, or ask another pod")]
    Ahead {
        /// The newest sequence that this pod has read.
        newest: Sequence,
    },
    /// The sequence is too old, or is before the first tick or gap.
    #[error(
        "the sequence is before the log's first tick or gap, or older than windows.keep allows; the routes for \
         history reach further back"
    )]
    Gone,
    /// The store could not be read.
    #[error("cannot read the store")]
    Store(#[from] StoreError),
}

/// A pair is being written if its newest tick or gap is among this many of the log's last records, times the number of
/// pairs. The pairs take turns, and a new leader writes one more record for each.
const RECORDS_PER_PAIR: u64 = 4;

/// How many intervals one pair may be ahead of another: while the records of a slot are being written, one, and one
/// more if a slot of the other pair is late.
const MAX_LEAD: u32 = 2;

/// How far back the tick "a day ago" is.
const DAY: Duration = Duration::from_secs(86_400);

/// How far before the newest tick the tick "a day ago" can be. A tick's price holds for up to [`MAX_CARRIED_INTERVALS`]
/// intervals, as in the time-weighted mean, and an interval is at most a day. Ticks must be kept for this long.
pub const DAY_AGO_REACH: Duration = DAY.saturating_mul(1 + MAX_CARRIED_INTERVALS);

impl Snapshot {
    /// Loads the snapshot of everything that a store holds, with windows of `keep`.
    pub fn load(store: &Store, keep: Duration) -> Result<Self, StoreError> {
        let mut pairs = BTreeMap::new();
        let mut origin = None;
        for (pair, state) in store.pairs()? {
            if let Some(newest) = store.record(state.newest)? {
                origin = Some(newest.origin);
            }
            if state.covered.is_none() {
                continue;
            }
            let view = PairView::load(store, state)?;
            let kept_from = view.slot.start().minus(keep);
            let window = load_window(store, pair, kept_from, view.slot)?;
            pairs.insert(pair, PairView { window, kept_from, ..view });
        }
        let sequence = store.cursor()?;
        let recent = Arc::new(Recent::since(Position::after(sequence)));
        let mut snapshot = Self { identity: store.identity().clone(), sequence, origin, pairs, recent };
        snapshot.find_day_ago_ticks(store)?;
        Ok(snapshot)
    }

    /// The snapshot at an earlier sequence, if that is within `reach` of the slot that the log has reached. Whether the
    /// sequence is too old depends only on slots, so that all pods make the same decision.
    pub fn at(&self, store: &Store, sequence: Sequence, reach: Duration) -> Result<Self, PinError> {
        if sequence > self.sequence {
            return Err(PinError::Ahead { newest: self.sequence });
        }
        let mut pairs = BTreeMap::new();
        for (pair, newest) in &self.pairs {
            let view = if newest.sequence <= sequence {
                Some(newest.clone())
            } else {
                let state = store.pair_state_at(*pair, sequence)?;
                let older = state.map(|state| PairView::load(store, state)).transpose()?;
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
        let oldest = self.reached().map(|slot| slot.start().minus(reach));
        if pinned.reached().map(Slot::start) < oldest {
            return Err(PinError::Gone);
        }
        pinned.find_day_ago_ticks(store)?;
        Ok(pinned)
    }

    /// The slot that the log has reached: the newest slot of those pairs that are being written, without those that are
    /// more than two intervals ahead of another one.
    ///
    /// A pair is being written if its newest tick or gap is among the last records of the log. So a pair that has
    /// stopped does not hold the log back. A pair whose records are ahead, because a poller's clock was ahead, does not
    /// push it forward: such a pair gets no more records until its newest slot has passed. A pair whose newest tick is
    /// backfilled counts only if there is no other.
    pub fn reached(&self) -> Option<Slot> {
        let newest = self.pairs.values().map(|view| view.sequence).max()?;
        let pairs = u64::try_from(self.pairs.len()).unwrap_or(u64::MAX);
        let records = pairs.saturating_mul(RECORDS_PER_PAIR);
        let is_written = |view: &&PairView| newest.0 - view.sequence.0 < records;
        let is_live = |view: &&PairView| view.tick.as_ref().is_none_or(|newest| !newest.tick.backfilled);
        let written = || self.pairs.values().filter(is_written);
        let Some(last) = written().filter(is_live).min_by_key(|view| view.slot) else {
            return written().map(|view| view.slot).max();
        };
        let limit = last.slot.start().plus(last.interval.duration() * MAX_LEAD);
        written().filter(is_live).map(|view| view.slot).filter(|slot| slot.start() <= limit).max()
    }

    /// The events that a client without a cursor starts with, in log order: each pair's newest tick and the gap since
    /// then, if there is one.
    pub fn newest_events(&self, wanted: impl Fn(Pair) -> bool) -> Vec<Arc<Event>> {
        let origin = self.origin.unwrap_or(Origin::Live);
        let event =
            |sequence, tick_or_gap| Arc::new(Event::new(Position::after(sequence), tick_or_gap, origin));
        let mut events = Vec::new();
        for (pair, view) in self.pairs.iter().filter(|(pair, _)| wanted(**pair)) {
            let tick =
                view.tick.as_ref().map(|newest| (newest.sequence, TickOrGap::Tick(*pair, newest.stored())));
            let gap = view.gap.map(|gap| (view.sequence, TickOrGap::Gap(*pair, gap)));
            let both = tick.into_iter().chain(gap);
            events.extend(both.map(|(sequence, tick_or_gap)| event(sequence, tick_or_gap)));
        }
        events.sort_by_key(|event| event.position);
        events
    }

    /// Sets each pair's tick of a day ago. It is read from the store if the window may not reach back far enough, so
    /// that results do not depend on how much is kept in memory. The store must hold every record up to this snapshot.
    pub fn find_day_ago_ticks(&mut self, store: &Store) -> Result<(), StoreError> {
        for (pair, view) in &mut self.pairs {
            let Some(newest) = &view.tick else { continue };
            let then = newest.tick.slot.start().minus(DAY);
            let oldest = newest.tick.slot.start().minus(DAY_AGO_REACH);
            // The window has every tick from its first one on, so if it has a tick at or before that instant, the store
            // has no later one.
            let before = match view.window.newest_at(then) {
                Some(tick) => Some(tick),
                None => {
                    let mut found = store.ticks(*pair, oldest, then.next(), Order::Descending);
                    match found.next() {
                        // The store is closed, so the tick is unknown until the store has been reopened.
                        Some(Err(StoreError::Closed(_))) => None,
                        found => found.transpose()?.map(|tick| tick.point()),
                    }
                }
            };
            // How long a price holds is a matter of its own interval. A newer tick may have a shorter one.
            view.day_ago = before.filter(|tick| {
                let reach = tick.interval.duration() * MAX_CARRIED_INTERVALS;
                then.since(tick.slot.start()) <= reach
            });
        }
        Ok(())
    }

    /// Checks whether a record continues the pair's newest slot. If it does not, returns the sequence of that slot's
    /// record.
    ///
    /// In an intact log, each term starts with a lead that names the newest slot, and each slot follows the one before.
    /// If a record does not continue the newest slot, records are missing in the log, or the log was restored to an
    /// older state and no longer has the records that this pod knows.
    pub fn discontinuity_at(&self, record: &Record) -> Option<Sequence> {
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

    /// Adds one record. A record that contradicts what is known is rejected and only advances the sequence.
    ///
    /// Ticks of slots before `windows_from` are not added to the windows. Use it if so many records follow that no
    /// window will reach back to these ticks. Until then, windows are computed from the store.
    pub fn apply(&mut self, stored: &Stored, keep: Duration, windows_from: Timestamp) -> Option<Rejection> {
        let Stored { sequence, record } = stored;
        self.sequence = *sequence;
        if self.origin.is_some_and(|origin| origin != record.origin) {
            return Some(Rejection::Origin);
        }
        let view = self.pairs.get(&record.pair);
        if view.is_some_and(|view| record.epoch < view.epoch || !follows(&record.body, view.slot)) {
            return Some(Rejection::Order);
        }
        // The past of a pair ends where its first live slot begins.
        if record.is_backfilled() && view.is_some_and(|view| !view.is_backfilled()) {
            return Some(Rejection::Order);
        }
        self.origin = Some(record.origin);
        if let Some(view) = self.pairs.get_mut(&record.pair) {
            view.term = view.term.max(record.epoch);
        }
        let (slot, interval) = slot_and_interval(&record.body)?;
        let tick_or_gap = TickOrGap::of(*sequence, record)?;
        // The view is replaced below. Taking its window lets the tick be added without a copy.
        let known = self
            .pairs
            .get_mut(&record.pair)
            .map(|view| (view.slot, view.tick.take(), take(&mut view.window), view.kept_from));
        let newest = known.as_ref().map(|(slot, ..)| *slot);
        let (mut tick, mut window, mut kept_from) = match known {
            Some((_, tick, window, kept_from)) => (tick, window, kept_from),
            None => (None, Window::default(), Timestamp::EPOCH),
        };
        let recent = Arc::make_mut(&mut self.recent);
        if newest.is_some_and(|newest| interval.between(newest, tick_or_gap.first()).is_some()) {
            // The gap for records that the log had lost is an event too, but only the store has it. So start after that
            // gap.
            *recent = Recent::since(Position::before(*sequence));
        }
        recent.push(Event::new(Position::after(*sequence), tick_or_gap, record.origin));
        if let Body::Tick(new) = &record.body {
            let Tick { slot, interval, price, backfilled, .. } = *new;
            let point = Point { slot, interval, price, backfilled };
            let newest = NewestTick { sequence: *sequence, epoch: record.epoch, tick: new.clone() };
            tick = Some(Arc::new(newest));
            if slot.start() >= windows_from {
                window = window.push(WindowTick { point, sequence: *sequence });
            }
        }
        if slot.start() >= windows_from {
            kept_from = kept_from.max(slot.start().minus(keep));
            window = window.without_before(kept_from);
        } else {
            // A window has every tick from its first one on, so it begins again after this slot.
            (window, kept_from) = (Window::default(), slot.start().next());
        }
        let (sequence, epoch, gap) = (*sequence, record.epoch, tick_or_gap.gap());
        let (term, day_ago) = (epoch, None);
        let view = PairView { slot, sequence, interval, epoch, term, tick, gap, day_ago, window, kept_from };
        self.pairs.insert(record.pair, view);
        None
    }
}

impl NewestTick {
    /// The tick as history keeps it.
    fn stored(&self) -> StoredTick {
        let Tick { slot, interval, price, backfilled, .. } = self.tick;
        StoredTick { slot, interval, price, sequence: self.sequence, epoch: self.epoch, backfilled }
    }
}

impl PairView {
    /// The view of a pair from its newest records, still without the window and the tick of a day ago.
    fn load(store: &Store, state: PairState) -> Result<Self, StoreError> {
        const MISSING: StoreError = StoreError::Damaged("a pair's newest record is missing");
        let record = store.record(state.tick_or_gap)?.ok_or(MISSING)?;
        let (slot, interval) = slot_and_interval(&record.body).ok_or(MISSING)?;
        let tick = match store.record(state.tick)? {
            Some(Record { epoch, body: Body::Tick(tick), .. }) => {
                Some(Arc::new(NewestTick { sequence: state.tick, epoch, tick }))
            }
            None if state.tick == Sequence::default() => None,
            _ => return Err(MISSING),
        };
        let (sequence, epoch) = (state.tick_or_gap, record.epoch);
        let gap = TickOrGap::of(sequence, &record).and_then(|found| found.gap());
        let (window, kept_from) = (Window::default(), Timestamp::MAX);
        let term = store.record(state.newest)?.map_or(epoch, |newest| newest.epoch);
        Ok(Self { slot, sequence, interval, epoch, term, tick, gap, day_ago: None, window, kept_from })
    }

    /// The ticks in memory, if they reach back far enough for windows that start at `from`.
    pub fn window_since(&self, from: Timestamp) -> Option<&Window> {
        (from >= self.kept_from).then_some(&self.window)
    }

    /// The first `limit` ticks with slots in `[from, to)`, in this order. `None` unless all of them are in memory.
    pub fn ticks_in_memory(
        &self,
        (from, to): (Timestamp, Timestamp),
        order: Order,
        limit: usize,
    ) -> Option<Vec<WindowTick>> {
        let mut found = Vec::new();
        let mut add = |tick: &WindowTick| {
            found.push(*tick);
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let (before, last) = (from.max(self.kept_from).previous(), to.previous());
        match order {
            Order::Ascending if from < self.kept_from => {}
            Order::Ascending => self.window.visit(before, last, &mut add),
            Order::Descending => self.window.visit_back(before, last, &mut add),
        }
        (from >= self.kept_from || found.len() == limit).then_some(found)
    }

    /// Whether the pair has no live slot yet.
    pub fn is_backfilled(&self) -> bool {
        match (&self.gap, &self.tick) {
            (Some(gap), _) => gap.backfilled,
            (None, Some(newest)) => newest.tick.backfilled,
            (None, None) => false,
        }
    }

    /// The next slot that is due.
    pub fn next_slot(&self) -> Slot {
        self.interval.after(self.slot.start())
    }
}

fn load_window(store: &Store, pair: Pair, from: Timestamp, newest: Slot) -> Result<Window, StoreError> {
    let mut window = Window::default();
    for tick in store.ticks(pair, from, newest.start().next(), Order::Ascending) {
        window = window.push(tick?.into());
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
