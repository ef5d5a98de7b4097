//! Reading single records by sequence.

use common::domain::{Body, Pair, Record, Sequence, Slot, Tick, Timestamp};

use super::{Order, PairState, Store, StoreError, Stored, StoredGap, StoredTick, key, packs};

/// A tick or a gap, as it is kept after its quotes have expired. These are the records that cover slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TickOrGap {
    /// A pair's tick.
    Tick(Pair, StoredTick),
    /// A pair's gap.
    Gap(Pair, StoredGap),
}

impl TickOrGap {
    /// The part of a record that is kept after its quotes have expired. `None` for a lead, which covers no slots.
    pub fn of(sequence: Sequence, record: &Record) -> Option<Self> {
        let (pair, epoch) = (record.pair, record.epoch);
        match &record.body {
            Body::Tick(tick) => {
                let Tick { slot, interval, price, backfilled, .. } = *tick;
                let stored = StoredTick { slot, interval, price, sequence, epoch, backfilled };
                Some(Self::Tick(pair, stored))
            }
            Body::Gap(gap) => Some(Self::Gap(pair, StoredGap::of(sequence, epoch, gap))),
            Body::Lead(_) => None,
        }
    }
}

impl TickOrGap {
    /// The first slot that it covers.
    pub fn first(&self) -> Slot {
        match self {
            Self::Tick(_, tick) => tick.slot,
            Self::Gap(_, gap) => gap.from,
        }
    }

    /// Whether it is about slots before the pair's first live one.
    pub fn is_backfilled(&self) -> bool {
        match self {
            Self::Tick(_, tick) => tick.backfilled,
            Self::Gap(_, gap) => gap.backfilled,
        }
    }

    /// The gap, if it is one.
    pub fn gap(&self) -> Option<StoredGap> {
        match self {
            Self::Tick(..) => None,
            Self::Gap(_, gap) => Some(*gap),
        }
    }
}

impl Store {
    /// The whole record at a sequence. A tick or gap is available while its quotes are kept, a lead while ticks are kept.
    pub fn record(&self, sequence: Sequence) -> Result<Option<Record>, StoreError> {
        let whole = match self.whole(sequence)? {
            None => self.database.get(key::lead(sequence))?.map(|bytes| bytes.to_vec()),
            found => found,
        };
        whole.map(|bytes| Ok(packs::decode(sequence, &bytes)?.record)).transpose()
    }

    /// The tick or gap at a sequence, without its quotes.
    pub fn tick_or_gap(&self, sequence: Sequence) -> Result<Option<TickOrGap>, StoreError> {
        for (pair, _) in self.pairs()? {
            if let Some(tick) =
                self.tick_at_or_before(pair, sequence)?.filter(|tick| tick.sequence == sequence)
            {
                return Ok(Some(TickOrGap::Tick(pair, tick)));
            }
            let at_position = |gap: &StoredGap| gap.recorded.is_some_and(|(at, _)| at == sequence);
            if let Some(gap) = self.gap_at_or_before(pair, sequence)?.filter(at_position) {
                return Ok(Some(TickOrGap::Gap(pair, gap)));
            }
        }
        Ok(None)
    }

    /// A pair's newest record of any kind.
    pub fn newest_record(&self, pair: Pair) -> Result<Option<Stored>, StoreError> {
        let Some(PairState { newest: sequence, .. }) = self.pair_state(pair)? else { return Ok(None) };
        Ok(self.record(sequence)?.map(|record| Stored { sequence, record }))
    }

    /// The state of a pair at a sequence, apart from leads: its newest tick or gap and its newest tick up to there. `None` if
    /// the store has neither.
    pub fn pair_state_at(&self, pair: Pair, at: Sequence) -> Result<Option<PairState>, StoreError> {
        let tick = self.tick_at_or_before(pair, at)?;
        let gap = self.gap_at_or_before(pair, at)?;
        let of_tick = tick.map(|tick| (tick.sequence, (tick.slot, tick.interval)));
        let of_gap = gap.and_then(|gap| Some((gap.recorded?.0, (gap.slot, gap.interval))));
        let newest = of_tick.into_iter().chain(of_gap).max_by_key(|(sequence, _)| *sequence);
        Ok(newest.map(|(sequence, covered)| PairState {
            newest: sequence,
            tick_or_gap: sequence,
            tick: tick.map(|tick| tick.sequence).unwrap_or_default(),
            covered: Some(covered),
        }))
    }

    fn tick_at_or_before(&self, pair: Pair, at: Sequence) -> Result<Option<StoredTick>, StoreError> {
        let blocks = key::block_index(pair, Sequence::default())..=key::block_index(pair, at);
        let Some(row) = self.database.range(blocks).next_back() else { return Ok(None) };
        let start = key::read_instant(&row?.1).ok_or(StoreError::Damaged("block index"))?;
        let ticks = self.block(pair, start)?;
        Ok(ticks.into_iter().rev().find(|tick| tick.sequence <= at))
    }

    fn gap_at_or_before(&self, pair: Pair, at: Sequence) -> Result<Option<StoredGap>, StoreError> {
        let gaps = key::gap_index(pair, Sequence::default())..=key::gap_index(pair, at);
        let Some(row) = self.database.range(gaps).next_back() else { return Ok(None) };
        let last: Timestamp = key::read_instant(&row?.1).ok_or(StoreError::Damaged("gap index"))?;
        self.gaps(pair, last, last.next(), Order::Ascending).next().transpose()
    }
}
