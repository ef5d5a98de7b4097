//! Since when each source has said the same, and where the log ends: all that a slot needs of earlier ones.

use std::collections::BTreeMap;

use common::domain::{Pair, Price, Record, SourceName, Timestamp};

/// What was seen before the present slot.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Each source's newest price of each pair, and since when it has been the same.
    seen: BTreeMap<(SourceName, Pair), (Price, Timestamp)>,
    /// Up to where the log covers every pair.
    covered: Option<Timestamp>,
}

impl Memory {
    /// What the newest records of so many pairs say. A new leader goes on where the last one was: to it, a
    /// source that froze before must not look alive again.
    pub(super) fn of(newest: &[Record], pairs: usize) -> Self {
        let every_pair = newest.len() == pairs;
        let covered = newest.iter().filter(|_| every_pair).filter_map(Record::covers_up_to).min();
        Self { seen: newest.iter().flat_map(seen).collect(), covered }
    }

    /// Up to where the log covers every pair.
    pub(super) fn covered(&self) -> Option<Timestamp> {
        self.covered
    }

    /// Takes in a price. Answers since when the source has said it.
    pub(super) fn see(&mut self, source: SourceName, pair: Pair, price: Price, at: Timestamp) -> Timestamp {
        let seen = self.seen.entry((source, pair)).or_insert((price, at));
        // Where the clock was set back, it is not before now that we know of.
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
