//! Averages of windows: what sums give from the tree in memory or from the store, and what only a look at
//! every tick gives.
//!
//! Nothing here depends on where the ticks came from, and so on how much this pod keeps in memory.

mod scan;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use common::domain::{Pair, Sequence, Slot, Span, Timestamp};
use rust_decimal::Decimal;

use crate::{
    snapshot::PairView,
    store::{Order, Store, StoreError},
    summary::{Point, Summary},
};

/// The most ticks a window may hold for its median and EMA to be computed: a day of one-second slots, or
/// eleven days of ten-second slots. A few milliseconds of work, and 16 bytes each while it is done. Part of
/// the contract and not a setting: two pods must answer alike.
pub const MAX_SCANNED_TICKS: u64 = 100_000;

/// Windows whose scans are remembered: some tens of pairs with some windows each, at one sequence.
const MAX_REMEMBERED: usize = 1_024;

/// What is to be said about a window `(from, to]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowAverages {
    /// Where it begins; a tick at this very instant is not in it.
    pub from: Timestamp,
    /// Where it ends; a tick at this very instant is in it.
    pub to: Slot,
    /// The slots it has at the present interval.
    pub expected: u64,
    /// Its ticks, where there are any.
    pub summary: Option<Summary>,
    /// What needs a look at each tick, where there are ticks and not too many.
    pub scanned: Option<Scanned>,
}

/// What sums cannot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// The price in the middle, or the midpoint of the two.
    pub median: Decimal,
    /// The exponential moving average.
    pub ema: Decimal,
}

/// Scans that were done already. What they found never changes: a position of the log stands for the same
/// ticks for ever.
#[derive(Debug, Default)]
pub struct Scans {
    /// By the position of the record that the window ends with, so that the oldest goes first.
    remembered: Mutex<BTreeMap<(Sequence, Pair, Span), Scanned>>,
}

impl Scans {
    /// The averages of a pair over the window of `span` that ends with its newest slot. May wait for the disk.
    pub fn window(
        &self,
        store: &Store,
        pair: Pair,
        view: &PairView,
        span: Span,
    ) -> Result<WindowAverages, StoreError> {
        let (from, to) = (view.slot.start().minus(span.duration()), view.slot);
        let in_memory = view.window_since(from);
        let summary = match in_memory {
            Some(window) => window.summarize(from, to),
            None => store.summarize(pair, from.next(), to.start().next())?,
        };
        let expected = span.millis().div_ceil(view.interval.millis());
        let few = summary.is_some_and(|summary| summary.count <= MAX_SCANNED_TICKS);
        let scan = || {
            let mut units = Vec::new();
            let mut add = |point: &Point| units.push(point.price.units());
            match in_memory {
                Some(window) => window.visit(from, to, &mut add),
                None => {
                    for tick in store.ticks(pair, from.next(), to.start().next(), Order::Ascending) {
                        units.push(tick?.price.units());
                    }
                }
            }
            Ok(scan::scan(units, expected))
        };
        let scanned = if few { self.remembered_or((view.sequence, pair, span), scan)? } else { None };
        Ok(WindowAverages { from, to, expected, summary, scanned })
    }

    fn remembered_or(
        &self,
        key: (Sequence, Pair, Span),
        scan: impl FnOnce() -> Result<Option<Scanned>, StoreError>,
    ) -> Result<Option<Scanned>, StoreError> {
        let remembered = || lock(&self.remembered).get(&key).copied();
        if let Some(known) = remembered() {
            return Ok(Some(known));
        }
        let found = scan()?;
        if let Some(found) = found {
            let mut all = lock(&self.remembered);
            all.insert(key, found);
            if all.len() > MAX_REMEMBERED {
                all.pop_first();
            }
        }
        Ok(found)
    }
}

/// What the locks hold is whole at any time, whoever panicked while holding them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
