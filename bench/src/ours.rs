//! Tickwell's store, used in the same way as in a pod.

use std::{path::Path, time::Duration};

use anyhow::Result;
use common::{
    bus::LogIdentity,
    domain::{Body, Pair, Sequence, Timestamp},
};
use ledger::{
    snapshot::Snapshot,
    store::{Order, Retention, Store, Stored},
    summary::Summary,
};

use crate::{
    contender::{Contender, DAY, KEEP, QUOTES},
    year,
};

/// How long a commit of a pod may wait while the store is rewritten, with slots of 10 s.
const MAX_REWRITE: Duration = Duration::from_secs(5);

pub struct Ours {
    store: Store,
    snapshot: Option<Snapshot>,
}

pub fn identity() -> LogIdentity {
    LogIdentity::new("bench").expect("an identity")
}

pub fn retention() -> Retention {
    // Ticks are kept for more than a year, so that none is deleted.
    Retention { ticks: DAY * 400, quotes: QUOTES }
}

impl Contender for Ours {
    fn create(folder: &Path) -> Result<Self> {
        Ok(Self { store: Store::open_copy(folder, &identity(), year::begin())?, snapshot: None })
    }

    fn commit(&mut self, records: &[Stored], cursor: Sequence) -> Result<()> {
        self.store.commit(records, cursor, &[], Timestamp::EPOCH)?;
        let slot = |stored: &Stored| match &stored.record.body {
            Body::Tick(tick) => Some(tick.slot),
            _ => None,
        };
        self.store.reclaim(retention(), records.iter().rev().find_map(slot))?;
        self.store.rewrite_if_worthwhile(MAX_REWRITE)?;
        Ok(())
    }

    fn open(folder: &Path, stage: &mut dyn FnMut(&str)) -> Result<Self> {
        let mut ours = Self::create(folder)?;
        stage("sled opens");
        // A pod checks the consistency of all rows when it starts.
        ours.store.check()?;
        stage("check of all rows");
        ours.snapshot = Some(Snapshot::load(&ours.store, KEEP)?);
        stage("windows");
        Ok(ours)
    }

    fn scan(&self, pair: Pair, from: Timestamp, to: Timestamp) -> Result<usize> {
        let mut count = 0;
        for tick in self.store.ticks(pair, from, to, Order::Ascending) {
            count += usize::from(std::hint::black_box(tick?).price.units() > 0);
        }
        Ok(count)
    }

    fn daily(&self, pair: Pair, from: Timestamp, to: Timestamp) -> Result<usize> {
        let day = i64::try_from(DAY.as_millis())?;
        Ok(std::hint::black_box(self.store.candles(pair, day, from, to)?).len())
    }

    fn window(&self, pair: Pair, span: Duration) -> Result<u64> {
        let view = self.snapshot.as_ref().and_then(|snapshot| snapshot.pairs.get(&pair)).expect("a pair");
        let (from, to) = (view.slot.start().minus(span), view.slot);
        let summary: Option<Summary> = match span <= KEEP {
            true => view.window.summarize(from, to),
            false => self.store.summarize(pair, from.next(), to.start().next())?,
        };
        Ok(std::hint::black_box(summary).map_or(0, |summary| summary.count))
    }
}
