//! Consecutive gaps of a pair as one.
//!
//! A poller records one gap for each slot whose quotes did not agree, so a long outage has many gap records. Gaps are
//! merged if no tick lies between them. The result depends only on the log and the request, so it is the same on every
//! pod.

use std::{cmp::Reverse, collections::BTreeMap};

use common::domain::{GapCause, Pair, Timestamp};

use crate::store::{Order, Store, StoreError, StoredGap};

/// Gaps of a pair that follow each other without a tick between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedGap {
    /// The earliest of the gaps.
    pub first: StoredGap,
    /// The latest of the gaps.
    pub last: StoredGap,
    /// The number of gaps.
    pub count: u64,
    slots: BTreeMap<GapCause, u64>,
}

/// A page of merged gaps.
#[derive(Debug, PartialEq, Eq)]
pub struct MergedPage {
    /// The items, in the order of the request.
    pub items: Vec<MergedGap>,
    /// If there is a next page: where the last item of this page begins, and where the next page continues.
    pub next: Option<(Timestamp, Timestamp)>,
}

/// How much a page may have.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The maximum number of items.
    pub items: usize,
    /// The maximum number of gaps that are read. A merged gap that does not fit continues as another item on the next
    /// page, unless the page has other items. Then the whole merged gap is on the next page.
    pub gaps: usize,
}

impl MergedGap {
    fn of(gap: StoredGap) -> Self {
        Self { first: gap, last: gap, count: 1, slots: BTreeMap::from([(gap.cause, gap.slots())]) }
    }

    fn add(&mut self, gap: StoredGap, order: Order) {
        match order {
            Order::Ascending => self.last = gap,
            Order::Descending => self.first = gap,
        }
        self.count += 1;
        *self.slots.entry(gap.cause).or_default() += gap.slots();
    }

    /// The number of slots.
    pub fn slots(&self) -> u64 {
        self.slots.values().sum()
    }

    /// The causes, each with its number of slots, most slots first.
    pub fn causes(&self) -> Vec<(GapCause, u64)> {
        let mut causes: Vec<_> = self.slots.iter().map(|(cause, slots)| (*cause, *slots)).collect();
        causes.sort_by_key(|(_, slots)| Reverse(*slots));
        causes
    }
}

/// Merges the gaps of a pair that have a slot in `[from, to)`.
pub fn page(
    store: &Store,
    pair: Pair,
    (from, to): (Timestamp, Timestamp),
    order: Order,
    limits: Limits,
) -> Result<MergedPage, StoreError> {
    merge(store.gaps(pair, from, to, order), order, limits, |one, other| {
        let (earlier, later) = match order {
            Order::Ascending => (one, other),
            Order::Descending => (other, one),
        };
        if earlier.interval == later.interval {
            return Ok(earlier.interval.after(earlier.slot.start()) == later.from);
        }
        // The interval was changed between the gaps, so their times alone do not say whether there is a slot between them.
        let (after, before) = (earlier.slot.start().next(), later.from.start());
        Ok(store.ticks(pair, after, before, Order::Ascending).next().transpose()?.is_none())
    })
}

/// Merges gaps. `follows` says whether no tick lies between a gap and the next one in this order.
fn merge(
    gaps: impl Iterator<Item = Result<StoredGap, StoreError>>,
    order: Order,
    limits: Limits,
    follows: impl Fn(&StoredGap, &StoredGap) -> Result<bool, StoreError>,
) -> Result<MergedPage, StoreError> {
    let mut items: Vec<MergedGap> = Vec::new();
    for (read, gap) in gaps.enumerate() {
        let gap = gap?;
        let newest = |item: &MergedGap| match order {
            Order::Ascending => item.last,
            Order::Descending => item.first,
        };
        let continues = items.last().map_or(Ok(false), |item| follows(&newest(item), &gap))?;
        if read == limits.gaps || (!continues && items.len() == limits.items) {
            return Ok(cut(items, gap, continues));
        }
        match items.last_mut() {
            Some(item) if continues => item.add(gap, order),
            _ => items.push(MergedGap::of(gap)),
        }
    }
    Ok(MergedPage { items, next: None })
}

/// The page that ends before `gap`. If `gap` continues the last item, that item is left to the next page, unless it is
/// the only one.
fn cut(mut items: Vec<MergedGap>, gap: StoredGap, continues: bool) -> MergedPage {
    let unfinished = if continues && items.len() > 1 { items.pop() } else { None };
    let next = unfinished.map_or(gap, |item| item.first).from.start();
    let last = items.last().map(|item| item.first.from.start());
    MergedPage { items, next: last.map(|last| (last, next)) }
}

#[cfg(test)]
mod tests;
