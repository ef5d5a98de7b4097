//! What must be known about earlier slots to poll the next one: since when each source's quote has been
//! unchanged, and where the log ends.

use std::collections::BTreeMap;

use common::domain::{Pair, Record, Reported, SourceName, Timestamp};

/// What is known from earlier slots.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The newest quote by source and pair, and since when it has been unchanged.
    seen: BTreeMap<(SourceName, Pair), (Seen, Timestamp)>,
    /// The time up to which the log has records of every pair.
    covered: Option<Timestamp>,
    /// The times up to which the log has live records of the pairs that have any.
    newest: Vec<Timestamp>,
}

/// What a source returned, with its own time of the price that counts.
pub(super) type Seen = (Reported, Option<Timestamp>);

impl Memory {
    /// Restores the memory from the newest record of each pair, so that a source that froze under the previous
    /// leader still counts as frozen. `pairs` is the number of configured pairs.
    pub(super) fn of(newest: &[Record], pairs: usize) -> Self {
        let every_pair = newest.len() == pairs;
        // Backfilled slots may end long before now, so they do not show what time it is.
        let is_live = every_pair && !newest.iter().any(Record::is_backfilled);
        let covered = newest.iter().filter(|_| is_live).filter_map(Record::covers_up_to).min();
        let live = newest.iter().filter(|record| !record.is_backfilled());
        let each = live.filter_map(Record::covers_up_to).collect();
        Self { seen: newest.iter().flat_map(seen).collect(), covered, newest: each }
    }

    /// The time up to which the log has records of every pair. None if a pair has no live record.
    pub(super) fn covered(&self) -> Option<Timestamp> {
        self.covered
    }

    /// The newest time before `now` up to which the log has records of a pair. A pair whose records are ahead of the
    /// clock says nothing about the time.
    pub(super) fn newest_before(&self, now: Timestamp) -> Option<Timestamp> {
        self.newest.iter().filter(|newest| **newest <= now).max().copied()
    }

    /// Records a quote. Returns since when nothing of it has changed.
    pub(super) fn record(&mut self, source: SourceName, pair: Pair, quote: Seen, at: Timestamp) -> Timestamp {
        let seen = self.seen.entry((source, pair)).or_insert((quote, at));
        // If the clock was set back, the stored time may be in the future. So the earlier time is kept.
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

#[cfg(test)]
mod tests {
    use common::domain::Price;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_millis(second * 1_000).unwrap()
    }

    #[test]
    fn a_quote_is_unchanged_only_if_nothing_of_it_has_changed() {
        let price = |text: &str| -> Option<Price> { Some(text.parse().unwrap()) };
        let quote = Reported { last: price("100"), bid: price("99"), ask: price("101") };
        let (source, pair) = ("kraken".parse().unwrap(), "BTC-USD".parse().unwrap());
        for changed in [
            (Reported { last: price("100.5"), ..quote }, Some(at(1))),
            (Reported { bid: price("99.5"), ..quote }, Some(at(1))),
            (Reported { ask: None, ..quote }, Some(at(1))),
            (quote, Some(at(2))),
            (quote, None),
        ] {
            let mut memory = Memory::default();
            let mut record = |quote, second| memory.record(source, pair, quote, at(second));
            assert_eq!(record((quote, Some(at(1))), 10), at(10));
            assert_eq!(record((quote, Some(at(1))), 20), at(10));
            assert_eq!(record(changed, 30), at(30), "{changed:?}");
            assert_eq!(record(changed, 40), at(30), "{changed:?}");
            // After the clock was set back.
            assert_eq!(record(changed, 15), at(15), "{changed:?}");
        }
    }
}
