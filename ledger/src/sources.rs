//! Source statistics: the verdicts on each source's quotes in the last hour of slots.
//!
//! They are computed from whole records, including their quotes, up to the slot that the log has reached. So every pod
//! computes the same statistics for a sequence, and they can be cached by sequence.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::domain::{Body, Evidence, Pair, Price, Record, Sequence, Slot, SourceName, Timestamp, Verdict};
use rust_decimal::Decimal;

use crate::{
    derived::quotient,
    snapshot::Snapshot,
    store::{Order, Store, StoreError},
    summary::change_ratio,
};

/// How far back from the newest slot the statistics reach. Whole records must be kept for this long before the oldest
/// sequence that can be requested.
pub const REACH: Duration = Duration::from_secs(3_600);

/// The largest number of the log's sequences that are read. This is enough for an hour of two pairs at one-second
/// intervals, and takes a tenth of a second. If the hour has more, the report starts later, as its field `from` shows.
/// This is a constant and not a setting, because all pods must return the same results.
const MAX_RECORDS: u64 = 10_000;

/// The number of reports in the cache. Nearly all requests ask for the newest sequence.
const MAX_CACHED: usize = 8;

/// The statistics of every source over the slots in `(from, to]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The start, which is excluded.
    pub from: Timestamp,
    /// The slot that the log has reached, which is included.
    pub to: Slot,
    /// The statistics, by source and pair.
    pub sources: BTreeMap<SourceName, BTreeMap<Pair, SourceStatistics>>,
}

/// The statistics of one source for one pair or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatistics {
    /// How many times each verdict was given. There is at least one verdict.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// The newest record with a verdict on this source: its sequence, its slot and the verdict.
    pub last: (Sequence, Slot, Verdict),
    /// The source's newest quote in a slot that has a price, and the price of that slot.
    pub quoted: Option<(Price, Price)>,
}

/// A cache of reports.
#[derive(Debug, Default)]
pub struct Reports {
    cache: Mutex<BTreeMap<Sequence, Arc<Report>>>,
}

impl Reports {
    /// The report of a snapshot. `None` if the snapshot has no slots yet. May read from disk.
    pub fn of(&self, store: &Store, snapshot: &Snapshot) -> Result<Option<Arc<Report>>, StoreError> {
        if let Some(known) = self.known(snapshot) {
            return Ok(Some(known));
        }
        let Some(report) = Report::of(store, snapshot)?.map(Arc::new) else { return Ok(None) };
        let mut all = self.cache();
        all.insert(snapshot.sequence, report.clone());
        if all.len() > MAX_CACHED {
            all.pop_first();
        }
        Ok(Some(report))
    }

    /// The report of a snapshot, if it is cached.
    pub fn known(&self, snapshot: &Snapshot) -> Option<Arc<Report>> {
        self.cache().get(&snapshot.sequence).cloned()
    }

    /// The cache is consistent even after a panic while the lock was held, so poisoning is ignored.
    fn cache(&self) -> MutexGuard<'_, BTreeMap<Sequence, Arc<Report>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    fn of(store: &Store, snapshot: &Snapshot) -> Result<Option<Self>, StoreError> {
        let Some(to) = snapshot.reached() else { return Ok(None) };
        let mut report = Self { from: to.start().minus(REACH), to, sources: BTreeMap::new() };
        let Some(first) = report.first_sequence(store, snapshot)? else { return Ok(Some(report)) };
        let earliest = Sequence(snapshot.sequence.0.saturating_sub(MAX_RECORDS));
        if first <= earliest {
            // Some records are not read. The report starts after the newest slot of such a record, so that it covers
            // the same slots for all pairs.
            for pair in snapshot.pairs.keys() {
                let covered = store.pair_state_at(*pair, earliest)?.and_then(|state| state.covered);
                report.from = report.from.max(covered.map_or(report.from, |(slot, _)| slot.start()));
            }
        }
        for stored in store.records_between(first.max(earliest.next()), snapshot.sequence)? {
            let stored = stored?;
            report.add(stored.sequence, &stored.record);
        }
        Ok(Some(report))
    }

    /// The sequence of the first record that covers one of the report's slots.
    fn first_sequence(&self, store: &Store, snapshot: &Snapshot) -> Result<Option<Sequence>, StoreError> {
        let (from, to) = (self.from.next(), self.to.start().next());
        let mut first: Option<Sequence> = None;
        for pair in snapshot.pairs.keys() {
            let tick = store.ticks(*pair, from, to, Order::Ascending).next().transpose()?;
            let mut gaps = store.gaps(*pair, from, to, Order::Ascending);
            // Skip gaps without a record, which this pod has added.
            let gap = gaps.find_map(|gap| gap.map(|gap| gap.recorded).transpose()).transpose()?;
            let found = tick.map(|tick| tick.sequence).into_iter().chain(gap.map(|(sequence, _)| sequence));
            first = first.into_iter().chain(found).min();
        }
        Ok(first)
    }

    fn add(&mut self, sequence: Sequence, record: &Record) {
        let (slot, price, evidence) = match &record.body {
            Body::Tick(tick) => (tick.slot, Some(tick.price), Some(&tick.evidence)),
            Body::Gap(gap) => (gap.slot, None, gap.evidence.as_ref()),
            Body::Lead(_) => return,
        };
        let is_inside = slot.start() > self.from && slot <= self.to;
        let Some(Evidence { quotes, .. }) = evidence.filter(|_| is_inside) else { return };
        for judged in quotes {
            let quoted = price.and_then(|price| Some((judged.observation?.price, price)));
            let one = SourceStatistics {
                verdicts: BTreeMap::from([(judged.verdict, 1)]),
                last: (sequence, slot, judged.verdict),
                quoted,
            };
            let pairs = self.sources.entry(judged.source).or_default();
            pairs.entry(record.pair).and_modify(|statistics| statistics.merge(&one)).or_insert(one);
        }
    }
}

impl SourceStatistics {
    /// Adds other statistics of the same source. If they are about the same pair, they must not be older than the
    /// existing ones.
    pub fn merge(&mut self, other: &Self) {
        for (verdict, count) in &other.verdicts {
            *self.verdicts.entry(*verdict).or_default() += count;
        }
        if other.last.0 >= self.last.0 {
            self.last = other.last;
        }
        self.quoted = other.quoted.or(self.quoted);
    }

    /// The number of slots with a verdict on this source.
    pub fn slots(&self) -> u64 {
        self.verdicts.values().sum()
    }

    /// The share of the slots that [`Self::slots`] counts in which the source's quote was used, from 0 to 1.
    pub fn share_used(&self) -> Decimal {
        let used = self.verdicts.get(&Verdict::Used).copied().unwrap_or(0);
        quotient(u128::from(used), u128::from(self.slots()).max(1), 0)
    }

    /// The difference between the source's newest quote and the price of that quote's slot, relative to the price.
    /// `None` if the source has no quote in a slot with a price, or if the difference is too large for a decimal.
    pub fn deviation(&self) -> Option<Decimal> {
        self.quoted.and_then(|(quote, price)| change_ratio(price, quote))
    }
}
