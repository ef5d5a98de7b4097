//! What a slot needs to know of earlier ones: since when each source's quote is unchanged, and where the log
//! ends.

use std::collections::BTreeMap;

use common::domain::{Pair, Record, Reported, SourceName, Timestamp};

/// What is known from earlier slots.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The newest quote by source and pair, and since when it has been unchanged.
    seen: BTreeMap<(SourceName, Pair), (Seen, Timestamp)>,
    /// Up to when the log covers every pair.
    covered: Option<Timestamp>,
}

/// What a source returned, with its own time of the price that counts.
pub(super) type Seen = (Reported, Option<Timestamp>);

impl Memory {
    /// The memory after the newest record of each pair, so that a source that froze under the previous leader
    /// still counts as frozen. `pairs` is the number of configured pairs.
    pub(super) fn of(newest: &[Record], pairs: usize) -> Self {
        let every_pair = newest.len() == pairs;
        let covered = newest.iter().filter(|_| every_pair).filter_map(Record::covers_up_to).min();
        Self { seen: newest.iter().flat_map(seen).collect(), covered }
    }

    /// Up to when the log covers every pair. None if a pair has no record.
    pub(super) fn covered(&self) -> Option<Timestamp> {
        self.covered
    }

    /// Records a quote. Returns since when nothing of it has changed.
    pub(super) fn record(&mut self, source: SourceName, pair: Pair, quote: Seen, at: Timestamp) -> Timestamp {
        let seen = self.seen.entry((source, pair)).or_insert((quote, at));
        // After the clock was set back, the known time may be in the future.
        *seen = if seen.0 == quote { (quote, seen.1.min(at)) } else { (quote, at) };
        seen.1
    }
}

fn seen(record: &Record) -> Vec<((SourceName, Pair), (Seen, Timestamp))> {
    let quotes = record.body.evidence().into_iter().flat_map(|evidence| &evidence.quotes);
    let seen = quotes.filter_map(|judged| {
        let observation = judged.observation?;
        let seen = (observation.reported, observation.source_time);
        Some(((judged.source, record.pair), (seen, observation.unchanged_since)))
    });
    seen.collect()
}
