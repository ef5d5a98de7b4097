//! The writer determines which rows a batch of records changes.
//!
//! For each pair, the writer remembers the block that is being filled and the roll-ups that are still open, so that
//! adding a record needs no reads. What it remembers can be rebuilt from the store, which happens after a failed write.

use std::collections::{BTreeMap, btree_map::Entry};

use common::{
    domain::{Body, GapCause, Interval, Pair, Record, Sequence, Slot, Timestamp},
    wire,
};

use super::{
    Break, PairState, Store, StoreError, Stored, StoredGap, StoredTick, TickOrGap,
    block::Block,
    key,
    packs::Packing,
    rewrite::Attempt,
    rollup::{Rolling, Row, Tier},
};
use crate::summary::Summary;

/// What the writer remembers between batches.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pairs: BTreeMap<Pair, PairWriter>,
    broken: NewestBreaks,
    /// The packs up to this sequence have been removed, or hold records that are kept permanently.
    pub(super) reclaimed: Sequence,
    /// Set once the oldest remaining pack was found to be within retention: the last slot that its records cover. The
    /// pack need not be examined again before that slot is past retention.
    pub(super) retained_until: Option<Timestamp>,
    /// When it was last tried to rewrite the store; `None` if it was not tried since the writer was loaded.
    pub(super) rewritten: Option<Attempt>,
    packing: Packing,
}

/// The newest break of each kind.
#[derive(Debug, Default, Clone, Copy)]
struct NewestBreaks {
    /// The newest sequence before which the log had dropped records because of their age.
    expired: Option<Sequence>,
    /// The newest message that is not a record.
    unreadable: Option<Sequence>,
}

#[derive(Debug)]
struct PairWriter {
    pair: Pair,
    state: PairState,
    /// The block with the pair's newest tick. `None` if there is no tick.
    block: Option<Block>,
    rolling: [Rolling; 3],
    changed: bool,
}

impl Writer {
    /// Adds these records, in log order, and all rows derived from them to the batch. Of records that cover slots
    /// before `whole_from`, only the derived rows are added.
    pub(super) fn write(
        &mut self,
        store: &Store,
        records: &[Stored],
        encoded: impl Fn(&Stored) -> Vec<u8>,
        breaks: &[Break],
        whole_from: Timestamp,
        batch: &mut sled::Batch,
    ) -> Result<(), StoreError> {
        let is_old = |record: &Record| record.covers_up_to().is_some_and(|covered| covered < whole_from);
        // Of the records before `whole_from`, each pair's newest tick and newest gap are stored whole. They may remain
        // the pair's newest ones for long, and the newest price is served with its quotes.
        let mut newest: BTreeMap<(Pair, bool), Sequence> = BTreeMap::new();
        for Stored { sequence, record } in records.iter().filter(|stored| is_old(&stored.record)) {
            if !matches!(record.body, Body::Lead(_)) {
                newest.insert((record.pair, matches!(record.body, Body::Tick(_))), *sequence);
            }
        }
        let is_newest = |sequence| newest.values().any(|newest| *newest == sequence);
        for stored in records {
            if !is_old(&stored.record) || is_newest(stored.sequence) {
                self.packing.push(stored.sequence, encoded(stored), batch)?;
            }
        }
        self.packing.finish(batch);
        self.derive(store, records, breaks, batch)
    }

    /// Adds the rows that are derived from these records to the batch, but not the records themselves.
    fn derive(
        &mut self,
        store: &Store,
        records: &[Stored],
        breaks: &[Break],
        batch: &mut sled::Batch,
    ) -> Result<(), StoreError> {
        let mut breaks = breaks.iter().peekable();
        for Stored { sequence, record } in records {
            while let Some(found) = breaks.next_if(|found| found.position() <= *sequence) {
                self.broken.add(*found);
            }
            let pair = match self.pairs.entry(record.pair) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(PairWriter::load(store, record.pair)?),
            };
            if let Body::Lead(_) = &record.body {
                batch.insert(key::lead(*sequence), wire::encode(record));
            }
            pair.write(*sequence, record, self.broken, batch);
        }
        for pair in self.pairs.values_mut().filter(|pair| pair.changed) {
            pair.finish(batch);
        }
        // The remaining breaks come after the last record.
        breaks.for_each(|found| self.broken.add(*found));
        for (name, position) in [(key::HOLE, self.broken.expired), (key::UNREADABLE, self.broken.unreadable)]
        {
            if let Some(position) = position {
                batch.insert(name, &key::sequence(position));
            }
        }
        Ok(())
    }

    /// Reads the state that the first batch needs.
    pub(super) fn load(store: &Store) -> Result<Self, StoreError> {
        let position = |name: &[u8]| -> Result<Option<Sequence>, StoreError> {
            let Some(bytes) = store.database.get(name)? else { return Ok(None) };
            key::read_sequence(&bytes).map(Some).ok_or(StoreError::Damaged("the row of missing messages"))
        };
        let broken = NewestBreaks { expired: position(key::HOLE)?, unreadable: position(key::UNREADABLE)? };
        Ok(Self { broken, packing: Packing::load(store)?, ..Self::default() })
    }
}

impl Break {
    fn position(self) -> Sequence {
        match self {
            Self::Expired(position) | Self::Unreadable(position) => position,
        }
    }
}

impl NewestBreaks {
    fn add(&mut self, found: Break) {
        match found {
            Break::Expired(position) => self.expired = Some(position),
            Break::Unreadable(position) => self.unreadable = Some(position),
        }
    }

    /// Why slots after the record at `newest` have no record. Pollers write a tick or a gap for every slot, so these
    /// slots had records. If no break explains why the records are missing, the log has lost them or was continued
    /// without them.
    fn cause_since(self, newest: Sequence) -> GapCause {
        if self.expired.is_some_and(|expired| newest < expired) {
            GapCause::Retention
        } else if self.unreadable.is_some_and(|unreadable| newest < unreadable) {
            GapCause::Unreadable
        } else {
            GapCause::LogLost
        }
    }
}

impl PairWriter {
    fn load(store: &Store, pair: Pair) -> Result<Self, StoreError> {
        let state = store.pair_state(pair)?.unwrap_or_default();
        let block = store.newest_block(pair)?;
        // If there is no block, the newest tick was removed because it is past retention.
        if block.as_ref().is_some_and(|block| block.last() != state.tick) {
            return Err(StoreError::Damaged("the newest tick is not in the newest block"));
        }
        let newest = state.covered.map(|(slot, _)| slot.start());
        let rolling = |tier: Tier| -> Result<Rolling, StoreError> {
            let Some(newest) = newest else {
                let start = Timestamp::EPOCH;
                return Ok(Rolling { tier, open: None, row: Row { start, bytes: Vec::new() } });
            };
            let bucket = tier.bucket(newest);
            let open = store.summarize(pair, bucket, newest.next())?.map(|summary| (bucket, summary));
            let start = tier.row(newest);
            let bytes = store.database.get(key::rollup(tier, pair, start))?;
            Ok(Rolling {
                tier,
                open,
                row: Row { start, bytes: bytes.map_or_else(Vec::new, |bytes| bytes.to_vec()) },
            })
        };
        let [day, hour, minute] = Tier::ALL;
        let rolling = [rolling(day)?, rolling(hour)?, rolling(minute)?];
        Ok(Self { pair, state, block, rolling, changed: false })
    }

    fn write(&mut self, sequence: Sequence, record: &Record, broken: NewestBreaks, batch: &mut sled::Batch) {
        let before = self.state.tick_or_gap;
        self.changed = true;
        self.state.newest = sequence;
        let (first, slot, interval) = match &record.body {
            Body::Tick(tick) => (tick.slot, tick.slot, tick.interval),
            Body::Gap(gap) => (gap.from, gap.slot, gap.interval),
            Body::Lead(_) => return,
        };
        if self.state.covered.is_none() {
            batch.insert(key::oldest(self.pair), key::oldest_value(broken.expired, first.start()));
        }
        if let Some(lost) = self.lost(first, interval, broken.cause_since(before)) {
            batch.insert(key::gap(self.pair, lost.slot.start()), lost.encode());
        }
        self.state.tick_or_gap = sequence;
        self.state.covered = Some((slot, interval));
        for rolling in &mut self.rolling {
            if rolling.reach(slot.start()) {
                let row = &rolling.row;
                batch.insert(key::rollup(rolling.tier, self.pair, row.start), row.bytes.as_slice());
            }
        }
        match TickOrGap::of(sequence, record) {
            Some(TickOrGap::Tick(_, tick)) => self.tick(&tick, batch),
            Some(TickOrGap::Gap(_, gap)) => {
                batch.insert(key::gap(self.pair, slot.start()), gap.encode());
                batch.insert(key::gap_index(self.pair, sequence), &key::instant(slot.start()));
            }
            None => {}
        }
    }

    fn tick(&mut self, tick: &StoredTick, batch: &mut sled::Batch) {
        let StoredTick { slot, sequence, .. } = *tick;
        let summary = Summary::of(tick.point());
        for rolling in &mut self.rolling {
            rolling.add(slot.start(), &summary);
        }
        self.state.tick = sequence;
        if !self.block.as_mut().is_some_and(|block| block.push(tick)) {
            self.put_block(batch);
            batch.insert(key::block_index(self.pair, sequence), &key::instant(slot.start()));
            self.block = Some(Block::begin(tick));
        }
    }

    /// A gap for the slots between the newest slot and `first`, if there are any. No record covers them.
    fn lost(&self, first: Slot, interval: Interval, cause: GapCause) -> Option<StoredGap> {
        let (newest, _) = self.state.covered?;
        let (from, slot) = interval.between(newest, first)?;
        Some(StoredGap { from, slot, interval, cause, backfilled: false, recorded: None, asked: None })
    }

    fn finish(&mut self, batch: &mut sled::Batch) {
        self.changed = false;
        batch.insert(key::pair_state(self.pair), key::pair_state_value(&self.state));
        self.put_block(batch);
    }

    fn put_block(&self, batch: &mut sled::Batch) {
        if let Some(block) = &self.block {
            batch.insert(key::block(self.pair, block.start().start()), block.bytes());
        }
    }
}
