//! The gaps of a pair, in the order of time.

use common::domain::{Epoch, Gap, GapCause, Interval, Pair, Sequence, Slot, Timestamp};

use super::{Order, Store, StoreError, database::Row, key};

/// A gap as its row has it: everything of the record but the quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredGap {
    /// The first slot it covers.
    pub from: Slot,
    /// The last slot it covers.
    pub slot: Slot,
    /// The distance between its slots.
    pub interval: Interval,
    /// Why there is no tick.
    pub cause: GapCause,
    /// Its record's position in the log, and the term of the leader that wrote it; missing where the log
    /// had no record of these slots any more.
    pub recorded: Option<(Sequence, Epoch)>,
    /// How many sources were asked; missing where nobody was.
    pub asked: Option<u32>,
}

impl StoredGap {
    /// The row of a gap that a record tells of.
    pub(crate) fn of(sequence: Sequence, epoch: Epoch, gap: &Gap) -> Self {
        let asked = gap.evidence.as_ref().map(|evidence| evidence.quotes.len());
        Self {
            from: gap.from,
            slot: gap.slot,
            interval: gap.interval,
            cause: gap.cause,
            recorded: Some((sequence, epoch)),
            // A record of 64 kB holds a few hundred quotes at most.
            asked: asked.map(|count| u32::try_from(count).unwrap_or(u32::MAX - 1)),
        }
    }

    /// How many slots it covers; at least one.
    pub fn slots(&self) -> u64 {
        self.slot.start().millis_since(self.from.start()) / self.interval.millis() + 1
    }

    /// Whether any slot of it lies in `[from, to)`.
    fn touches(&self, from: Timestamp, to: Timestamp) -> bool {
        // Its first slot that is not before `from`; on the grid of its own interval.
        let first = match self.from.start() < from {
            true => self.interval.after(from.previous()),
            false => self.from,
        };
        first <= self.slot && first.start() < to
    }
}

impl Store {
    /// A pair's gaps that have a slot in `[from, to)`, each whole, one after the other.
    pub fn gaps(
        &self,
        pair: Pair,
        from: Timestamp,
        to: Timestamp,
        order: Order,
    ) -> impl Iterator<Item = Result<StoredGap, StoreError>> + use<> {
        // A crossed range would panic inside sled.
        let from = from.min(to);
        let ending_inside = self.database.range(key::gap(pair, from)..key::gap(pair, to));
        // Of those that end later, only the first can have begun before `to`: gaps do not overlap.
        let reaching_out = self.database.range(key::gap(pair, to)..=key::gap(pair, Timestamp::MAX)).take(1);
        let rows: Box<dyn Iterator<Item = _>> = match order {
            Order::Ascending => Box::new(ending_inside.chain(reaching_out)),
            Order::Descending => Box::new(reaching_out.chain(ending_inside.rev())),
        };
        let read = |row: Result<Row, StoreError>| {
            let (name, value) = row?;
            key::read_gap(&name, &value).ok_or(StoreError::Damaged("gap"))
        };
        rows.map(read).filter(move |gap| gap.as_ref().map_or(true, |gap| gap.touches(from, to)))
    }
}

#[cfg(test)]
pub(super) mod tests;
