//! Ticks of up to 256 consecutive slots in one value, a few bytes each.
//!
//! A block begins with a pair's tick and takes those of the next 256 slots, as long as they keep the
//! interval. Ticks are appended to its bytes as they come; none is ever changed. Each is written as what it
//! differs in from the one before:
//!
//! | part | meaning |
//! |---|---|
//! | control, one byte | decimal places (low four bits); whether it is the very next slot; whether it has the same epoch |
//! | slots skipped | only if it is not the next one |
//! | positions since | distance in the log |
//! | epochs since | only if it is another one |
//! | mantissa | the difference, both at the decimal places of this one |
//!
//! Numbers are variable-length, seven bits a byte; signed ones are folded so that small ones stay short.

use common::domain::{Epoch, Interval, Price, Sequence, Slot, Span, Timestamp};
use rust_decimal::Decimal;

use super::StoredTick;
use crate::number::{self, fold, unfold};

/// The slots of a block. More make values larger, which are written anew with every tick; fewer make a
/// long scan slower, for it costs a look-up for each.
const SLOTS: u64 = 256;

/// Control bits above those for the decimal places, of which a price has at most 13.
const NEXT_SLOT: u8 = 0x10;
const SAME_EPOCH: u8 = 0x20;
const PLACES: u8 = 0x0f;

/// A block that can still grow.
#[derive(Debug, Clone)]
pub(super) struct Block {
    start: Slot,
    last: Last,
    bytes: Vec<u8>,
}

/// What the next tick is written as a difference from.
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
    /// The block that begins with this tick.
    pub(super) fn begin(tick: &StoredTick) -> Self {
        let mut bytes = Vec::new();
        number::write(&mut bytes, tick.interval.millis().into());
        let mut last = Last::before(tick.slot.start(), tick.interval);
        last.append(tick, &mut bytes);
        Self { start: tick.slot, last, bytes }
    }

    /// Appends a later tick, if there is room for it.
    pub(super) fn push(&mut self, tick: &StoredTick) -> bool {
        let distance = tick.slot.start().millis_since(self.start.start());
        let fits = tick.interval == self.last.interval && distance / tick.interval.millis() < SLOTS;
        if fits {
            self.last.append(tick, &mut self.bytes);
        }
        fits
    }

    /// The block as it was written; nothing where it is damaged.
    pub(super) fn resume(start: Timestamp, bytes: &[u8]) -> Option<Self> {
        let (mut first, mut last) = (None, None);
        read(start, bytes, |tick, state| {
            first.get_or_insert(tick.slot);
            last = Some(state);
        })?;
        Some(Self { start: first?, last: last?, bytes: bytes.to_vec() })
    }

    /// The slot it begins with.
    pub(super) fn start(&self) -> Slot {
        self.start
    }

    /// The position of its last tick.
    pub(super) fn last(&self) -> Sequence {
        Sequence(self.last.sequence)
    }

    /// Its value.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The ticks of a block, by slot and by position; nothing where it is damaged.
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
        // Anything else was not written by `push`.
        if last.slot.millis_since(start) / last.interval.millis() >= SLOTS {
            return None;
        }
        each(tick, last);
    }
    Some(())
}

impl Last {
    /// As if a tick stood one slot before the first.
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
        let (control, after) = rest.split_first()?;
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
        })
    }

    /// The last mantissa as if it had so many decimal places: near the next one, and the same for who
    /// writes and who reads.
    fn mantissa_at(&self, places: u32) -> i128 {
        // A price is below 10²⁵ units, so neither can overflow.
        match places.checked_sub(self.places) {
            Some(more) => self.mantissa * 10_i128.pow(more),
            None => self.mantissa / 10_i128.pow(self.places - places),
        }
    }
}

#[cfg(test)]
mod tests;
