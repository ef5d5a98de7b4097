//! Gaps: their rows, and reading the gaps of a pair by slot. A row holds, in this order: sequence, first slot,
//! interval, epoch, how many sources were asked, whether it is backfilled, cause.

use common::domain::{Epoch, Gap, GapCause, Interval, Pair, Sequence, Slot, Timestamp, Words};

use super::{Order, Store, StoreError, database::Row, key};

/// The number in a gap's row if no source was asked.
const NOT_ASKED: u32 = u32::MAX;

/// A gap as history keeps it: everything of the record but the quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredGap {
    /// The first slot it covers.
    pub from: Slot,
    /// The last slot it covers.
    pub slot: Slot,
    /// The interval between its slots.
    pub interval: Interval,
    /// Why there is no tick.
    pub cause: GapCause,
    /// Whether it is about slots before the pair's first live one.
    pub backfilled: bool,
    /// The sequence of its record and the epoch of the leader that wrote it. `None` if the log has no record of these
    /// slots, so that the pod added the gap.
    pub recorded: Option<(Sequence, Epoch)>,
    /// The number of sources that were asked for a quote. `None` if no source was asked.
    pub asked: Option<u32>,
}

impl StoredGap {
    /// The stored form of a gap record.
    pub(crate) fn of(sequence: Sequence, epoch: Epoch, gap: &Gap) -> Self {
        let asked = gap.evidence.as_ref().map(|evidence| evidence.quotes.len());
        Self {
            from: gap.from,
            slot: gap.slot,
            interval: gap.interval,
            cause: gap.cause,
            backfilled: gap.backfilled,
            recorded: Some((sequence, epoch)),
            // A record of at most 64 kB holds a few hundred quotes.
            asked: asked.map(|count| u32::try_from(count).unwrap_or(NOT_ASKED - 1)),
        }
    }

    /// Encodes the value of the gap's row.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (at, epoch) = self.recorded.unwrap_or((Sequence::default(), Epoch(0)));
        [
            key::sequence(at).as_slice(),
            &key::instant(self.from.start()),
            &self.interval.millis().to_be_bytes(),
            &epoch.0.to_be_bytes(),
            &self.asked.unwrap_or(NOT_ASKED).to_be_bytes(),
            &[u8::from(self.backfilled)],
            self.cause.as_str().as_bytes(),
        ]
        .concat()
    }

    /// Decodes a gap's row.
    pub(super) fn decode((name, value): &Row) -> Result<Self, StoreError> {
        Self::try_decode(name, value).ok_or(StoreError::Damaged("gap"))
    }

    fn try_decode(name: &[u8], value: &[u8]) -> Option<Self> {
        let (_, last) = name.split_last_chunk::<8>()?;
        let (at, rest) = value.split_at_checked(8)?;
        let (from, rest) = rest.split_at_checked(8)?;
        let (millis, rest) = rest.split_at_checked(8)?;
        let (epoch, rest) = rest.split_at_checked(8)?;
        let (asked, rest) = rest.split_at_checked(4)?;
        let (backfilled, cause) = rest.split_first()?;
        let interval = key::read_interval(millis)?;
        let asked = u32::from_be_bytes(asked.try_into().ok()?);
        let (at, epoch) = (key::read_sequence(at)?, Epoch(u64::from_be_bytes(epoch.try_into().ok()?)));
        Some(Self {
            from: key::read_slot(interval, from)?,
            slot: key::read_slot(interval, last)?,
            interval,
            cause: std::str::from_utf8(cause).ok()?.parse::<GapCause>().ok()?,
            backfilled: *backfilled == 1,
            recorded: (at != Sequence::default()).then_some((at, epoch)),
            asked: (asked != NOT_ASKED).then_some(asked),
        })
    }

    /// The number of slots it covers; at least one.
    pub fn slots(&self) -> u64 {
        self.slot.start().millis_since(self.from.start()) / self.interval.millis() + 1
    }

    /// Whether one of its slots is in `[from, to)`.
    fn touches(&self, from: Timestamp, to: Timestamp) -> bool {
        // The gap's first slot at or after `from`.
        let first = match self.from.start() < from {
            true => self.interval.after(from.previous()),
            false => self.from,
        };
        first <= self.slot && first.start() < to
    }
}

impl Store {
    /// A pair's gaps that have a slot in `[from, to)`. A gap that extends beyond the range is not cut.
    pub fn gaps(
        &self,
        pair: Pair,
        from: Timestamp,
        to: Timestamp,
        order: Order,
    ) -> impl Iterator<Item = Result<StoredGap, StoreError>> + use<> {
        // sled panics if the range is reversed.
        let from = from.min(to);
        let ending_inside = self.database.range(key::gap(pair, from)..key::gap(pair, to));
        // Of the gaps that end later, only the first can start before `to`, because gaps do not overlap.
        let reaching_out = self.database.range(key::gap(pair, to)..=key::gap(pair, Timestamp::MAX)).take(1);
        let rows: Box<dyn Iterator<Item = _>> = match order {
            Order::Ascending => Box::new(ending_inside.chain(reaching_out)),
            Order::Descending => Box::new(reaching_out.chain(ending_inside.rev())),
        };
        rows.map(|row: Result<Row, StoreError>| StoredGap::decode(&row?))
            .filter(move |gap| gap.as_ref().map_or(true, |gap| gap.touches(from, to)))
    }
}

#[cfg(test)]
pub(super) mod tests;
