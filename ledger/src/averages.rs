//! Averages of windows. Most of them are computed from a summary, which comes from the tree in memory or from the
//! store. The median and the exponential moving average (EMA) need every tick.
//!
//! Results do not depend on where the ticks came from, so they do not depend on how much this pod keeps in memory.

mod scan;

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Mutex, MutexGuard, PoisonError},
};

use common::domain::{Pair, Slot, Span, Timestamp};
use rust_decimal::Decimal;

use crate::{
    snapshot::PairView,
    store::{Order, Store, StoreError},
    summary::Summary,
    window::WindowTick,
};

/// The largest number of ticks for which median and EMA are computed: a day of one-second slots, or eleven days of
/// ten-second slots. This takes a few milliseconds and 16 bytes per tick. It is a constant and not a setting, because
/// all pods must return the same results.
pub const MAX_SCANNED_TICKS: u64 = 100_000;

/// The largest number of cached results, enough for some tens of pairs with a few windows each.
const MAX_CACHED: usize = 1_024;

/// The averages of a window `(from, to]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowAverages {
    /// The start, which is excluded.
    pub from: Timestamp,
    /// The end, which is included.
    pub to: Slot,
    /// The number of slots of the window at the current interval.
    pub expected: u64,
    /// The summary of the window's ticks, if there are any.
    pub summary: Option<Summary>,
    /// Median and EMA, if there are ticks but not more than [`MAX_SCANNED_TICKS`].
    pub scanned: Option<Scanned>,
}

/// The averages that need every tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// The median: the middle price, or the mean of the two middle prices.
    pub median: Decimal,
    /// The exponential moving average.
    pub ema: Decimal,
}

/// Caches the averages that can only be computed by reading every tick of a window. Entries never become invalid,
/// because the ticks up to a slot that the log has covered never change.
#[derive(Debug, Default)]
pub struct Scans {
    /// Keyed by the slot that the window ends with, so that the oldest entry is evicted first.
    cache: Mutex<BTreeMap<(Slot, Pair, Span), Scanned>>,
}

impl Scans {
    /// The averages of a pair over the window of `span` that ends with its newest slot. May read from disk.
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
            let mut add = |tick: &WindowTick| {
                units.push(tick.point.price.units());
                ControlFlow::Continue(())
            };
            match in_memory {
                Some(window) => window.visit(from, to.start(), &mut add),
                None => {
                    for tick in store.ticks(pair, from.next(), to.start().next(), Order::Ascending) {
                        units.push(tick?.price.units());
                    }
                }
            }
            Ok(scan::scan(units, expected))
        };
        let scanned = if few { self.cached_or((to, pair, span), scan)? } else { None };
        Ok(WindowAverages { from, to, expected, summary, scanned })
    }

    /// How many ticks in memory [`Self::window`] has to visit. `None` if it has to read the store.
    pub fn ticks_to_visit(&self, pair: Pair, view: &PairView, span: Span) -> Option<u64> {
        let (from, to) = (view.slot.start().minus(span.duration()), view.slot);
        let window = view.window_since(from)?;
        if lock(&self.cache).contains_key(&(to, pair, span)) {
            return Some(0);
        }
        let count = window.summarize(from, to).map_or(0, |summary| summary.count);
        // Of more ticks, neither the median nor the EMA is computed.
        Some(if count > MAX_SCANNED_TICKS { 0 } else { count })
    }

    fn cached_or(
        &self,
        key: (Slot, Pair, Span),
        scan: impl FnOnce() -> Result<Option<Scanned>, StoreError>,
    ) -> Result<Option<Scanned>, StoreError> {
        let cached = || lock(&self.cache).get(&key).copied();
        if let Some(known) = cached() {
            return Ok(Some(known));
        }
        let found = scan()?;
        if let Some(found) = found {
            let mut all = lock(&self.cache);
            all.insert(key, found);
            if all.len() > MAX_CACHED {
                all.pop_first();
            }
        }
        Ok(found)
    }
}

/// The cache is consistent even after a panic while the lock was held, so poisoning is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
