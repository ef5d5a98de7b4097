//! Reading the ticks and gaps of several pairs in log order.

use std::{cmp::Ordering, iter::Peekable};

use common::domain::{Pair, Sequence, Timestamp};

use super::{Order, Store, StoreError, StoredGap, StoredTick, TickOrGap, key};
use crate::position::Position;

/// A tick or gap, and the position right after it in the log.
type Positioned = (Position, TickOrGap);

type Reading = Box<dyn Iterator<Item = Result<Positioned, StoreError>>>;

impl Store {
    /// The ticks and gaps of these pairs after a position, in log order. Each pair has its own range of slots,
    /// `[from, to)`.
    pub fn ticks_and_gaps_after(
        &self,
        pairs: &[(Pair, Timestamp, Timestamp)],
        after: Position,
    ) -> Result<impl Iterator<Item = Result<Positioned, StoreError>> + use<>, StoreError> {
        let mut readings = Vec::with_capacity(pairs.len());
        for (pair, from, to) in pairs {
            // Within a pair, slots are in log order, so start after the pair's newest slot at that position.
            let known = self.pair_state_at(*pair, after.last())?.and_then(|state| state.covered);
            let from = known.map_or(*from, |(slot, _)| slot.start().next().max(*from));
            let reading: Reading = Box::new(
                self.ticks_and_gaps_of(*pair, from, *to)
                    .filter(move |found| found.as_ref().map_or(true, |(position, _)| *position > after)),
            );
            readings.push(reading.peekable());
        }
        Ok(InOrder(readings))
    }

    /// Whether the store has all of a pair's ticks and gaps after a position, if slots before `from` are not kept.
    pub fn is_complete_after(
        &self,
        pair: Pair,
        after: Position,
        from: Timestamp,
    ) -> Result<bool, StoreError> {
        let last = after.last();
        if let Some((slot, interval)) = self.pair_state_at(pair, last)?.and_then(|state| state.covered) {
            return Ok(interval.after(slot.start()).start() >= from);
        }
        // The store has nothing of the pair up to this position. Either the pair started later, or its records are
        // missing.
        let Some(oldest) = self.database.get(key::oldest(pair))? else { return Ok(true) };
        let first = key::read_instant(&oldest).ok_or(StoreError::Damaged("oldest slot"))?;
        let hole = key::read_hole_before(&oldest).unwrap_or_default();
        Ok(first >= from && hole <= last.next())
    }

    fn ticks_and_gaps_of(
        &self,
        pair: Pair,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = Result<Positioned, StoreError>> + use<> {
        let ticks = self.ticks(pair, from, to, Order::Ascending).peekable();
        let gaps = self.gaps(pair, from, to, Order::Ascending).peekable();
        let mut by_slot = BySlot { ticks, gaps }.peekable();
        std::iter::from_fn(move || {
            loop {
                let found = match by_slot.next()? {
                    Ok(found) => found,
                    Err(error) => return Some(Err(error)),
                };
                let position = match found.sequence() {
                    Some(sequence) => Position::after(sequence),
                    // A gap without a record is positioned before the next record. If that record is outside the
                    // range, so is the gap.
                    None => match by_slot.peek().and_then(|next| next.as_ref().ok()?.sequence()) {
                        Some(sequence) => Position::before(sequence),
                        None => continue,
                    },
                };
                return Some(Ok((position, found.tick_or_gap(pair))));
            }
        })
    }
}

/// The ticks and gaps of one pair, by slot.
struct BySlot<T: Iterator, G: Iterator> {
    ticks: Peekable<T>,
    gaps: Peekable<G>,
}

enum Found {
    Tick(StoredTick),
    Gap(StoredGap),
}

impl Found {
    fn sequence(&self) -> Option<Sequence> {
        match self {
            Self::Tick(tick) => Some(tick.sequence),
            Self::Gap(gap) => gap.recorded.map(|(sequence, _)| sequence),
        }
    }

    fn tick_or_gap(self, pair: Pair) -> TickOrGap {
        match self {
            Self::Tick(tick) => TickOrGap::Tick(pair, tick),
            Self::Gap(gap) => TickOrGap::Gap(pair, gap),
        }
    }
}

impl<T, G> Iterator for BySlot<T, G>
where
    T: Iterator<Item = Result<StoredTick, StoreError>>,
    G: Iterator<Item = Result<StoredGap, StoreError>>,
{
    type Item = Result<Found, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let tick_first = match (self.ticks.peek(), self.gaps.peek()) {
            (Some(Ok(tick)), Some(Ok(gap))) => tick.slot < gap.slot,
            // Errors are returned as soon as they are found.
            (Some(Err(_)), _) | (Some(_), None) => true,
            (_, Some(_)) => false,
            (None, None) => return None,
        };
        match tick_first {
            true => self.ticks.next().map(|tick| tick.map(Found::Tick)),
            false => self.gaps.next().map(|gap| gap.map(Found::Gap)),
        }
    }
}

/// Merges several pairs into log order.
struct InOrder(Vec<Peekable<Reading>>);

impl Iterator for InOrder {
    type Item = Result<Positioned, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut first: Option<(usize, Option<Position>)> = None;
        for (index, reading) in self.0.iter_mut().enumerate() {
            // An error has no position and comes first.
            let Some(next) = reading.peek() else { continue };
            let place = next.as_ref().ok().map(|(position, _)| *position);
            if first.is_none_or(|(_, least)| place.cmp(&least) == Ordering::Less) {
                first = Some((index, place));
            }
        }
        self.0.get_mut(first?.0)?.next()
    }
}

#[cfg(test)]
mod tests;
