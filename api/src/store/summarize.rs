//! Summaries of any range, and what was newest at an earlier position.

use common::domain::{Pair, Sequence, Timestamp};

use super::{Heads, Order, Store, StoreError, Stored, key};
use crate::summary::{Point, Summary};

impl Store {
    /// The summary of a pair's ticks with slots in `[from, to)`; nothing where there are none.
    ///
    /// `to` must not lie beyond the slots that are covered: whoever asks from a snapshot asks for its past.
    pub fn summarize(
        &self,
        pair: Pair,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Summary>, StoreError> {
        let mut whole: Option<Summary> = None;
        for tick in self.ticks(pair, from, to, Order::Ascending) {
            let tick = tick?;
            let one = Summary::of(Point { slot: tick.slot, interval: tick.interval, price: tick.price });
            whole = Some(whole.map_or(one, |whole| whole.merge(&one)));
        }
        Ok(whole)
    }

    /// The summaries of a pair's ticks in each bucket of `length` milliseconds that touches `[from, to)`,
    /// oldest first, with the start of the bucket; buckets without ticks are left out. Buckets lie on the
    /// calendar (UTC), and `length` divides a day; the first and last are cut where the range is.
    pub fn candles(
        &self,
        pair: Pair,
        length: i64,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Timestamp, Summary)>, StoreError> {
        let mut candles: Vec<(Timestamp, Summary)> = Vec::new();
        for tick in self.ticks(pair, from, to, Order::Ascending) {
            let tick = tick?;
            let one = Summary::of(Point { slot: tick.slot, interval: tick.interval, price: tick.price });
            let at = tick.slot.start().unix_millis();
            let start = Timestamp::from_unix_millis(at - at % length).unwrap_or(Timestamp::EPOCH);
            match candles.last_mut() {
                Some((open, candle)) if *open == start => *candle = candle.merge(&one),
                _ => candles.push((start, one)),
            }
        }
        Ok(candles)
    }

    /// A pair's newest tick or gap, and its newest tick, at or before a position. Nothing where the store
    /// knows of neither.
    pub fn covering_at(&self, pair: Pair, at: Sequence) -> Result<Option<Heads>, StoreError> {
        let mut heads = Heads::default();
        let rows = self.database.range(key::record(Sequence::default())..=key::record(at));
        for row in rows.rev() {
            let (name, value) = row?;
            let Stored { sequence, record } = super::read_record(&name, &value)?;
            if record.pair != pair {
                continue;
            }
            heads.newest = heads.newest.max(sequence);
            if matches!(record.body, common::domain::Body::Gap(_) | common::domain::Body::Tick(_)) {
                heads.covering = heads.covering.max(sequence);
            }
            if matches!(record.body, common::domain::Body::Tick(_)) {
                heads.tick = sequence;
                break;
            }
        }
        Ok(Some(heads).filter(|heads| heads.covering > Sequence::default()))
    }
}
