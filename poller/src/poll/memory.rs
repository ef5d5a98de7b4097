//! What must be known about earlier slots to poll the next one: since when each source's price has been
//! unchanged, and where the log ends.

use std::collections::BTreeMap;

use common::domain::{Pair, Price, Record, SourceName, Timestamp};

/// What is known from earlier slots.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The newest price by source and pair, and since when it has been unchanged.
    seen: BTreeMap<(SourceName, Pair), (Price, Timestamp)>,
    /// The time up to which the log has records of every pair.
    covered: Option<Timestamp>,
}

impl Memory {
    /// Restores the memory from the newest record of each pair, so that a source that froze under the previous
    /// leader still counts as frozen. `pairs` is the number of configured pairs.
    pub(super) fn of(newest: &[Record], pairs: usize) -> Self {
        let every_pair = newest.len() == pairs;
        let covered = newest.iter().filter(|_| every_pair).filter_map(Record::covers_up_to).min();
        Self { seen: newest.iter().flat_map(seen).collect(), covered }
    }

    /// The time up to which the log has records of every pair. None if a pair has no record.
    pub(super) fn covered(&self) -> Option<Timestamp> {
        self.covered
    }

    /// Records a price. Returns since when it has been unchanged.
    pub(super) fn record(
        &mut self,
        source: SourceName,
        pair: Pair,
        price: Price,
        at: Timestamp,
    ) -> Timestamp {
        let seen = self.seen.entry((source, pair)).or_insert((price, at));
        // If the clock was set back, the stored time may be in the future. So the earlier time is kept.
        *seen = if seen.0 == price { (price, seen.1.min(at)) } else { (price, at) };
        seen.1
    }
}

fn seen(record: &Record) -> Vec<((SourceName, Pair), (Price, Timestamp))> {
    let quotes = record.body.evidence().into_iter().flat_map(|evidence| &evidence.quotes);
    let seen = quotes.filter_map(|judged| {
        let observation = judged.observation?;
        Some(((judged.source, record.pair), (observation.price, observation.unchanged_since)))
    });
    seen.collect()
}
