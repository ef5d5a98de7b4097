//! Summaries of any range, merged from roll-ups and, at the edges, from ticks.

use common::domain::{Pair, Timestamp};

use super::{
    Order, Store, StoreError, key,
    rollup::{Row, Tier, later},
};
use crate::summary::Summary;

impl Store {
    /// The summary of a pair's ticks with slots in `[from, to)`. `None` if there are none.
    ///
    /// The range must not include slots after the pair's newest one.
    pub fn summarize(
        &self,
        pair: Pair,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Summary>, StoreError> {
        let mut whole: Option<Summary> = None;
        self.pieces(&Tier::ALL, pair, from, to, &mut |piece| {
            whole = Some(whole.map_or(*piece, |whole| whole.merge(piece)));
        })?;
        Ok(whole)
    }

    /// The summaries of a pair's ticks in each bucket of `length` milliseconds that overlaps `[from, to)`, with the
    /// start of the bucket, oldest first. Buckets without ticks are left out. Buckets start at multiples of `length`
    /// since the Unix epoch (UTC). The first and the last bucket include only ticks in the range.
    pub fn candles(
        &self,
        pair: Pair,
        length: i64,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Timestamp, Summary)>, StoreError> {
        let fitting = Tier::ALL.iter().position(|tier| length % tier.millis() == 0);
        let tiers = Tier::ALL.get(fitting.unwrap_or(Tier::ALL.len())..).unwrap_or(&[]);
        let mut candles: Vec<(Timestamp, Summary)> = Vec::new();
        self.pieces(tiers, pair, from, to, &mut |piece| {
            let start = super::rollup::floor(piece.first.slot.start(), length);
            match candles.last_mut() {
                Some((open, candle)) if *open == start => *candle = candle.merge(piece),
                _ => candles.push((start, *piece)),
            }
        })?;
        Ok(candles)
    }

    /// Visits the ticks in `[from, to)` in order, as few summaries as possible: roll-ups of these tiers, longest first,
    /// and single ticks where there are no roll-ups. No summary crosses a bucket boundary of the first tier.
    fn pieces(
        &self,
        tiers: &[Tier],
        pair: Pair,
        from: Timestamp,
        to: Timestamp,
        each: &mut impl FnMut(&Summary),
    ) -> Result<(), StoreError> {
        let Some((tier, shorter)) = tiers.split_first() else {
            for tick in self.ticks(pair, from, to, Order::Ascending) {
                each(&Summary::of(tick?.point()));
            }
            return Ok(());
        };
        // Everything before this instant has been visited.
        let mut done = from;
        for row in self.database.range(key::rollup(*tier, pair, tier.row(from))..key::rollup(*tier, pair, to))
        {
            let (name, bytes) = row?;
            let start = key::read_instant(&name).ok_or(StoreError::Damaged("roll-up"))?;
            // A damaged row is treated as missing, and shorter tiers are used instead.
            let buckets = Row::buckets(*tier, start, &bytes).unwrap_or_default();
            for (bucket, summary) in buckets {
                let end = later(bucket, tier.millis());
                if bucket < done || end > to {
                    continue;
                }
                // There is no roll-up for the time before this bucket, so use shorter tiers.
                if done < bucket {
                    self.pieces(shorter, pair, done, bucket, each)?;
                }
                each(&summary);
                done = end;
            }
        }
        if done < to { self.pieces(shorter, pair, done, to, each) } else { Ok(()) }
    }
}
