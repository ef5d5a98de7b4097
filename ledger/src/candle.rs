//! Candles: summaries of the ticks in calendar-aligned buckets.

use std::time::Duration;

use common::domain::{Pair, Slot, Timestamp};

use crate::{
    store::{Order, Store, StoreError},
    summary::Summary,
};

common::words! {
    /// The length of a candle's bucket.
    pub enum CandleInterval ("candle interval") {
        /// One minute.
        Minute = "1m",
        /// Five minutes.
        FiveMinutes = "5m",
        /// 15 minutes.
        QuarterHour = "15m",
        /// One hour.
        Hour = "1h",
        /// Four hours.
        FourHours = "4h",
        /// One day.
        Day = "1d",
    }
}

/// The largest number of buckets that are read at once, including empty ones. 10,000 summaries take about 2 MB.
const MAX_BUCKETS: i64 = 10_000;

/// A bucket with at least one tick.
#[derive(Debug, Clone, Copy)]
pub struct Candle {
    /// The start of the bucket.
    pub start: Timestamp,
    /// The summary of its ticks.
    pub summary: Summary,
    /// Whether the bucket is over and every slot in it has a tick.
    pub complete: bool,
}

impl CandleInterval {
    /// The length of the bucket in milliseconds, a divisor of a day.
    fn millis(self) -> i64 {
        let minutes = match self {
            Self::Minute => 1,
            Self::FiveMinutes => 5,
            Self::QuarterHour => 15,
            Self::Hour => 60,
            Self::FourHours => 240,
            Self::Day => 1_440,
        };
        minutes * 60_000
    }

    /// The end of the last bucket that starts before an instant.
    pub fn end_of_buckets_before(self, instant_after: Timestamp) -> Timestamp {
        let length = self.millis();
        instant(first_at_or_after(instant_after, length) * length)
    }
}

/// A pair's buckets of one length.
#[derive(Debug, Clone, Copy)]
pub struct Buckets {
    /// The pair.
    pub pair: Pair,
    /// The length of the buckets.
    pub interval: CandleInterval,
    /// The pair's newest slot. Later ticks are not known yet.
    pub newest: Slot,
    /// The pair's next slot, which has no tick or gap yet.
    pub next: Slot,
}

impl Buckets {
    /// Up to `limit` candles whose buckets start in `[from, to)`.
    pub fn page(
        &self,
        store: &Store,
        (from, to): (Timestamp, Timestamp),
        order: Order,
        limit: usize,
    ) -> Result<Vec<Candle>, StoreError> {
        let length = self.interval.millis();
        // Bucket k starts at k × length.
        let (mut first, mut end) = (first_at_or_after(from, length), first_at_or_after(to, length));
        let mut count = i64::try_from(limit).unwrap_or(MAX_BUCKETS).clamp(1, MAX_BUCKETS);
        let mut found = Vec::new();
        while first < end && found.len() < limit {
            let part = match order {
                Order::Ascending => first..end.min(first + count),
                Order::Descending => first.max(end - count)..end,
            };
            let candles = store.candles(
                self.pair,
                length,
                instant(part.start * length),
                instant(part.end * length).min(self.newest.start().next()),
            )?;
            let candles = candles.into_iter().map(|(start, summary)| self.candle(start, summary));
            match order {
                Order::Ascending => {
                    found.extend(candles);
                    first = part.end;
                }
                Order::Descending => {
                    found.extend(candles.rev());
                    end = part.start;
                }
            }
            // Many buckets may be empty, so each step reads more buckets than the one before.
            count = (count * 2).min(MAX_BUCKETS);
        }
        found.truncate(limit);
        Ok(found)
    }

    fn candle(&self, start: Timestamp, summary: Summary) -> Candle {
        let end = start.plus(Duration::from_millis(self.interval.millis().unsigned_abs()));
        let last = summary.last;
        // `largest_gap` excludes the start of its range, but a bucket includes its start. So the range begins a
        // millisecond before the bucket.
        let before = start.previous();
        let complete = self.next.start() >= end
            && last.interval.after(last.slot.start()).start() >= end
            && summary.largest_gap(before, last.slot.start()).is_zero();
        Candle { start, summary, complete }
    }
}

fn first_at_or_after(instant: Timestamp, length: i64) -> i64 {
    // Timestamps are never negative, so their absolute value is the same.
    instant.unix_millis().unsigned_abs().div_ceil(length.unsigned_abs()).cast_signed()
}

fn instant(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).unwrap_or(Timestamp::MAX)
}
