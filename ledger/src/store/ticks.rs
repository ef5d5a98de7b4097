//! Reading the ticks of a pair by slot.

use super::{
    Order, Store, StoreError, StoredTick,
    block::{self, Block},
    database::Row,
    key,
};
use common::domain::{Pair, Slot, Timestamp};

impl Store {
    /// A pair's ticks with slots in `[from, to)`.
    pub fn ticks(
        &self,
        pair: Pair,
        from: Timestamp,
        to: Timestamp,
        order: Order,
    ) -> impl Iterator<Item = Result<StoredTick, StoreError>> + use<> {
        // sled panics if the range is reversed.
        let from = from.min(to);
        // Of the blocks that start before `from`, only the last one can contain ticks of the range.
        let reaching_in =
            self.database.range(key::block(pair, Timestamp::EPOCH)..key::block(pair, from)).rev();
        let reaching_in = reaching_in.take(1);
        let beginning_inside = self.database.range(key::block(pair, from)..key::block(pair, to));
        let rows: Box<dyn Iterator<Item = _>> = match order {
            Order::Ascending => Box::new(reaching_in.chain(beginning_inside)),
            Order::Descending => Box::new(beginning_inside.rev().chain(reaching_in)),
        };
        rows.flat_map(move |row| in_order(row, from, to, order))
    }

    /// A pair's ticks at these slots, which must exist, oldest first.
    pub fn ticks_at(&self, pair: Pair, slots: &[Slot]) -> Result<Vec<StoredTick>, StoreError> {
        let mut block: Vec<StoredTick> = Vec::new();
        let find = |slot: &Slot| {
            if block.last().is_none_or(|last| last.slot < *slot) {
                let reaching = key::block(pair, Timestamp::EPOCH)..=key::block(pair, slot.start());
                let (name, bytes) = self.database.range(reaching).next_back().ok_or(DAMAGED)??;
                let start = key::read_instant(&name).ok_or(DAMAGED)?;
                block = block::ticks(start, &bytes).ok_or(DAMAGED)?;
            }
            let place = block.binary_search_by_key(slot, |tick| tick.slot).map_err(|_missing| DAMAGED)?;
            block.get(place).copied().ok_or(DAMAGED)
        };
        slots.iter().map(find).collect()
    }

    /// The ticks of the block that starts at a slot.
    pub(super) fn block(&self, pair: Pair, start: Timestamp) -> Result<Vec<StoredTick>, StoreError> {
        let bytes = self.database.get(key::block(pair, start))?.ok_or(DAMAGED)?;
        block::ticks(start, &bytes).ok_or(DAMAGED)
    }

    /// The block that is still being filled.
    pub(super) fn newest_block(&self, pair: Pair) -> Result<Option<Block>, StoreError> {
        let blocks = key::block(pair, Timestamp::EPOCH)..=key::block(pair, Timestamp::MAX);
        let Some(row) = self.database.range(blocks).next_back() else { return Ok(None) };
        let (name, bytes) = row?;
        let start = key::read_instant(&name).ok_or(DAMAGED)?;
        Block::resume(start, &bytes).ok_or(DAMAGED).map(Some)
    }
}

const DAMAGED: StoreError = StoreError::Damaged("block");

/// The ticks of one row that are in the range.
fn in_order(
    row: Result<Row, StoreError>,
    from: Timestamp,
    to: Timestamp,
    order: Order,
) -> impl Iterator<Item = Result<StoredTick, StoreError>> {
    let read = || {
        let (name, bytes) = row?;
        let start = key::read_instant(&name).ok_or(DAMAGED)?;
        let mut ticks = block::ticks(start, &bytes).ok_or(DAMAGED)?;
        ticks.retain(|tick| tick.slot.start() >= from && tick.slot.start() < to);
        if order == Order::Descending {
            ticks.reverse();
        }
        Ok(ticks)
    };
    let (ticks, error) = match read() {
        Ok(ticks) => (ticks, None),
        Err(error) => (Vec::new(), Some(Err(error))),
    };
    ticks.into_iter().map(Ok).chain(error)
}
