//! How sources did lately: what became of their quotes in the last hour of slots.
//!
//! It is worked out from the whole records of the log, quotes included, and ends with the newest slot of a
//! snapshot. So it is the same on every pod, and never changes for a sequence: what was found is remembered by it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::domain::{Body, Evidence, Pair, Price, Record, Sequence, Slot, SourceName, Timestamp, Verdict};
use rust_decimal::Decimal;

use crate::{
    snapshot::Snapshot,
    store::{Order, Store, StoreError},
    summary::{DERIVED_DECIMALS, change_ratio, decimal_of_parts, half_even},
};

/// How far back from the newest slot is looked. Whole records must be kept for so long behind the oldest sequence
/// that can be asked for.
pub const REACH: Duration = Duration::from_secs(3_600);

/// Positions of the log that are looked at, at most: an hour of two pairs at one second, and a tenth of a second of
/// work. Where an hour has more, what is told begins later, and says so. Part of the contract and not a setting: two
/// pods must answer alike.
const MAX_RECORDS: u64 = 10_000;

/// Sequences whose reports are remembered. Nearly everybody asks for the newest.
const MAX_REMEMBERED: usize = 8;

/// How every source did in the slots of `(from, to]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where it begins; a slot at this very instant is not in it.
    pub from: Timestamp,
    /// The newest slot of any pair.
    pub to: Slot,
    /// By source and pair.
    pub sources: BTreeMap<SourceName, BTreeMap<Pair, Standing>>,
}

/// How one source did on one pair, or on several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How often each verdict was given on it. There is at least one.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// The position of the newest record that has a verdict on it, the record's slot, and the verdict.
    pub last: (Sequence, Slot, Verdict),
    /// Its newest quote in a slot that has a price, and that price.
    pub quoted: Option<(Price, Price)>,
}

/// The reports that were worked out already.
#[derive(Debug, Default)]
pub struct Reports {
    remembered: Mutex<BTreeMap<Sequence, Arc<Report>>>,
}

impl Reports {
    /// The report of a snapshot; nothing where it has no slot yet. May wait for the disk.
    pub fn of(&self, store: &Store, snapshot: &Snapshot) -> Result<Option<Arc<Report>>, StoreError> {
        if let Some(known) = self.known(snapshot) {
            return Ok(Some(known));
        }
        let Some(report) = Report::of(store, snapshot)?.map(Arc::new) else { return Ok(None) };
        let mut all = self.remembered();
        all.insert(snapshot.sequence, report.clone());
        if all.len() > MAX_REMEMBERED {
            all.pop_first();
        }
        Ok(Some(report))
    }

    /// The report of a snapshot, where somebody asked for it before.
    pub fn known(&self, snapshot: &Snapshot) -> Option<Arc<Report>> {
        self.remembered().get(&snapshot.sequence).cloned()
    }

    /// What is in it is whole at any time, whoever panicked while holding it.
    fn remembered(&self) -> MutexGuard<'_, BTreeMap<Sequence, Arc<Report>>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    fn of(store: &Store, snapshot: &Snapshot) -> Result<Option<Self>, StoreError> {
        let Some(to) = snapshot.newest_slot() else { return Ok(None) };
        let mut report = Self { from: to.start().minus(REACH), to, sources: BTreeMap::new() };
        let Some(first) = report.first_position(store, snapshot)? else { return Ok(Some(report)) };
        let earliest = Sequence(snapshot.sequence.0.saturating_sub(MAX_RECORDS));
        if first <= earliest {
            // The slots that are covered up to there are left out, of all pairs alike.
            for pair in snapshot.pairs.keys() {
                let covered = store.covering_at(*pair, earliest)?.and_then(|heads| heads.covered);
                report.from = report.from.max(covered.map_or(report.from, |(slot, _)| slot.start()));
            }
        }
        for stored in store.records_between(first.max(earliest.next()), snapshot.sequence)? {
            let stored = stored?;
            report.add(stored.sequence, &stored.record);
        }
        Ok(Some(report))
    }

    /// The position of the first record that may be about one of its slots.
    fn first_position(&self, store: &Store, snapshot: &Snapshot) -> Result<Option<Sequence>, StoreError> {
        let (from, to) = (self.from.next(), self.to.start().next());
        let mut first: Option<Sequence> = None;
        for pair in snapshot.pairs.keys() {
            let tick = store.ticks(*pair, from, to, Order::Ascending).next().transpose()?;
            let mut gaps = store.gaps(*pair, from, to, Order::Ascending);
            // Some were noted by the reader, and have no record.
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
            let one = Standing {
                verdicts: BTreeMap::from([(judged.verdict, 1)]),
                last: (sequence, slot, judged.verdict),
                quoted,
            };
            let pairs = self.sources.entry(judged.source).or_default();
            pairs.entry(record.pair).and_modify(|standing| standing.merge(&one)).or_insert(one);
        }
    }
}

impl Standing {
    /// Adds another standing of the same source, which is as new or newer where both are of one pair.
    pub fn merge(&mut self, other: &Self) {
        for (verdict, count) in &other.verdicts {
            *self.verdicts.entry(*verdict).or_default() += count;
        }
        if other.last.0 >= self.last.0 {
            self.last = other.last;
        }
        self.quoted = other.quoted.or(self.quoted);
    }

    /// The slots that have a verdict on it.
    pub fn slots(&self) -> u64 {
        self.verdicts.values().sum()
    }

    /// How many of them used its quote, from 0 to 1.
    pub fn share_used(&self) -> Decimal {
        let used = self.verdicts.get(&Verdict::Used).copied().unwrap_or(0);
        let parts = u128::from(used) * 10_u128.pow(DERIVED_DECIMALS);
        decimal_of_parts(half_even(parts, u128::from(self.slots()).max(1)))
    }

    /// How far its newest quote was from the price, in relation to the price. Nothing where no decimal holds it.
    pub fn deviation(&self) -> Option<Decimal> {
        self.quoted.and_then(|(quote, price)| change_ratio(price, quote))
    }
}
