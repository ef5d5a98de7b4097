//! Blocks: the ticks of up to 256 consecutive slots in one value, at a few bytes each.
//!
//! A block starts with a tick and has the ticks of the 256 slots from there on, as long as the interval stays the same.
//! Ticks are appended as they arrive and never changed. Each one is encoded as the difference from the one before:
//!
//! | part | meaning |
//! |---|---|
//! | control, one byte | decimal places (low four bits); flags: right after the tick before, same epoch as before, backfilled |
//! | distance in slots | from the tick before; only if it is not one slot |
//! | distance in sequences | from the tick before |
//! | difference of the epochs | from the tick before; only if the epochs differ |
//! | difference of the mantissas | from the tick before, whose mantissa is scaled to this tick's decimal places |
//!
//! Numbers are varints of seven bits a byte. Signed ones are zigzag-encoded, so that small ones stay short.

use common::domain::{Epoch, Interval, Price, Sequence, Slot, Span, Timestamp};
use rust_decimal::Decimal;

use super::StoredTick;
use crate::number::{self, fold, unfold};

/// The number of slots in a block. The whole value is rewritten with every tick, so more slots make writes larger.
/// Fewer slots make long scans slower, because each block costs a look-up.
const SLOTS: u64 = 256;

/// Control bits. The lower four hold the decimal places, of which a price has at most 14.
const NEXT_SLOT: u8 = 0x10;
const SAME_EPOCH: u8 = 0x20;
const BACKFILLED: u8 = 0x40;
const PLACES: u8 = 0x0f;

/// A block that can still grow.
#[derive(Debug, Clone)]
pub(super) struct Block {
    start: Slot,
    last: Last,
    bytes: Vec<u8>,
}

/// The fields of the last tick, from which the next one is encoded as a difference.
#[derive(Debug, Clone, Copy)]
struct Last {
    interval: Interval,
    slot: Timestamp,
    sequence: u64,
    epoch: u64,
    mantissa: i128,
    places: u32,
}

impl Block {
    /// Starts a block with its first tick.
    pub(super) fn begin(tick: &StoredTick) -> Self {
        let mut bytes = Vec::new();
        number::write(&mut bytes, tick.interval.millis().into());
        let mut last = Last::before(tick.slot.start(), tick.interval);
        last.append(tick, &mut bytes);
        Self { start: tick.slot, last, bytes }
    }

    /// Appends a later tick. Returns false if it does not fit into this block.
    pub(super) fn push(&mut self, tick: &StoredTick) -> bool {
        let distance = tick.slot.start().millis_since(self.start.start());
        let fits = tick.interval == self.last.interval && distance / tick.interval.millis() < SLOTS;
        if fits {
            self.last.append(tick, &mut self.bytes);
        }
        fits
    }

    /// Decodes a block so that it can grow further. Returns `None` if it is damaged.
    pub(super) fn resume(start: Timestamp, bytes: &[u8]) -> Option<Self> {
        let (mut first, mut last) = (None, None);
        read(start, bytes, |tick, state| {
            first.get_or_insert(tick.slot);
            last = Some(state);
        })?;
        Some(Self { start: first?, last: last?, bytes: bytes.to_vec() })
    }

    pub(super) fn start(&self) -> Slot {
        self.start
    }

    /// The sequence of its last tick.
    pub(super) fn last(&self) -> Sequence {
        Sequence(self.last.sequence)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Decodes the ticks of a block, in order. Returns `None` if it is damaged.
pub(super) fn ticks(start: Timestamp, bytes: &[u8]) -> Option<Vec<StoredTick>> {
    let mut ticks = Vec::new();
    read(start, bytes, |tick, _| ticks.push(tick))?;
    (!ticks.is_empty()).then_some(ticks)
}

fn read(start: Timestamp, mut bytes: &[u8], mut each: impl FnMut(StoredTick, Last)) -> Option<()> {
    let rest = &mut bytes;
    let interval = Span::from_millis(number::read_u64(rest)?)?;
    let mut last = Last::before(start, Interval::new(interval).ok()?);
    while !rest.is_empty() {
        let tick = last.read(rest)?;
        // `push` never adds a tick after the last slot, so the block is damaged.
        if last.slot.millis_since(start) / last.interval.millis() >= SLOTS {
            return None;
        }
        each(tick, last);
    }
    Some(())
}

impl Last {
    /// The state before the first tick, as if there were a tick one slot earlier.
    fn before(start: Timestamp, interval: Interval) -> Self {
        let slot = start.minus(interval.duration());
        Self { interval, slot, sequence: 0, epoch: 0, mantissa: 0, places: 0 }
    }

    fn append(&mut self, tick: &StoredTick, bytes: &mut Vec<u8>) {
        let (slot, price) = (tick.slot.start(), tick.price.decimal());
        let steps = slot.millis_since(self.slot) / self.interval.millis();
        let epochs = tick.epoch.0.saturating_sub(self.epoch);
        let mut control = u8::try_from(price.scale()).unwrap_or(PLACES) & PLACES;
        control |= if steps == 1 { NEXT_SLOT } else { 0 };
        control |= if epochs == 0 { SAME_EPOCH } else { 0 };
        control |= if tick.backfilled { BACKFILLED } else { 0 };
        bytes.push(control);
        if steps != 1 {
            number::write(bytes, steps.into());
        }
        number::write(bytes, tick.sequence.0.saturating_sub(self.sequence).into());
        if epochs != 0 {
            number::write(bytes, epochs.into());
        }
        number::write(bytes, fold(price.mantissa() - self.mantissa_at(price.scale())));
        *self = Self {
            interval: self.interval,
            slot,
            sequence: tick.sequence.0,
            epoch: tick.epoch.0,
            mantissa: price.mantissa(),
            places: price.scale(),
        };
    }

    fn read(&mut self, rest: &mut &[u8]) -> Option<StoredTick> {
        let (&control, after) = rest.split_first()?;
        *rest = after;
        let steps = if control & NEXT_SLOT == 0 { number::read_u64(rest)? } else { 1 };
        let positions = number::read_u64(rest)?;
        let epochs = if control & SAME_EPOCH == 0 { number::read_u64(rest)? } else { 0 };
        let places = u32::from(control & PLACES);
        let mantissa = self.mantissa_at(places).checked_add(unfold(number::read(rest)?))?;
        self.slot = self.slot.plus(self.interval.duration().checked_mul(u32::try_from(steps).ok()?)?);
        self.sequence = self.sequence.checked_add(positions)?;
        self.epoch = self.epoch.checked_add(epochs)?;
        (self.mantissa, self.places) = (mantissa, places);
        Some(StoredTick {
            slot: self.interval.slot(self.slot)?,
            interval: self.interval,
            price: Price::new(Decimal::try_from_i128_with_scale(mantissa, places).ok()?).ok()?,
            sequence: Sequence(self.sequence),
            epoch: Epoch(self.epoch),
            backfilled: control & BACKFILLED != 0,
        })
    }

    /// The last mantissa, scaled to this many decimal places.
    fn mantissa_at(&self, places: u32) -> i128 {
        // A price is below 10²⁵ units, so this cannot overflow.
        match places.checked_sub(self.places) {
            Some(more) => self.mantissa * 10_i128.pow(more),
            None => self.mantissa / 10_i128.pow(self.places - places),
        }
    }
}

#[cfg(test)]
mod tests;
