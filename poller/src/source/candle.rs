//! Closes of an exchange's one-minute candles, which are the prices of the past.
//!
//! Like prices, candles are requested with values and parsed by pure functions: the [`Candles`] trait. Which rows count
//! is decided here for all exchanges.

use std::{collections::BTreeMap, time::Duration};

use common::domain::{Failure, Pair, Price, Timestamp};
use serde_json::value::RawValue;

use super::market::Market;

/// The length of a candle.
pub const MINUTE: Duration = Duration::from_secs(60);

const MINUTE_MILLIS: i64 = 60_000;

/// A one-minute candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candle {
    /// The start of its minute.
    pub start: Timestamp,
    /// The price of its last trade.
    pub close: Price,
}

/// A range of candles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CandleRange {
    /// The start of the first candle.
    pub first: Timestamp,
    /// The start of the last candle.
    pub last: Timestamp,
}

/// What an exchange's one-minute candles are called and look like.
pub trait Candles: Send + Sync {
    /// How many candles a response has at most.
    fn most(&self) -> u16;

    /// Whether a request can ask for older candles than the newest ones.
    fn has_pages(&self) -> bool {
        true
    }

    /// The path and query that return a market's candles of a range. The response may have other candles too.
    fn path(&self, market: &Market, range: CandleRange) -> String;

    /// Parses the body of a response that reports no error. The candles may be in any order, and the newest may still be
    /// running.
    fn parse(&self, body: &str, market: &Market) -> Result<Vec<Candle>, Failure>;
}

/// What a source has of a pair's past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The closes of finished candles, by the end of their minute.
    pub closes: BTreeMap<Timestamp, Price>,
    /// Why other minutes have no close.
    pub otherwise: Failure,
}

impl Past {
    /// Nothing, for one reason.
    pub fn failed(failure: Failure) -> Self {
        Self { closes: BTreeMap::new(), otherwise: failure }
    }
}

/// The past of each pair that a source was asked for.
pub type Pasts = BTreeMap<Pair, Past>;

impl CandleRange {
    /// The candles that end after `from` and at or before `to`.
    pub fn ending_in(from: Timestamp, to: Timestamp) -> Self {
        let minute = |instant: Timestamp| instant.minus(Duration::from_millis(past_minute(instant)));
        Self { first: minute(from), last: minute(to).minus(MINUTE) }
    }

    /// The number of candles.
    pub fn count(self) -> u64 {
        if self.last < self.first { 0 } else { self.last.millis_since(self.first) / 60_000 + 1 }
    }

    /// Divides the range into parts of at most this many candles, the newest part first.
    pub fn pages(self, most: u16) -> Vec<Self> {
        let length = MINUTE * u32::from(most.max(1));
        let mut pages = Vec::new();
        let mut last = self.last;
        while last >= self.first {
            let first = last.minus(length - MINUTE).max(self.first);
            pages.push(Self { first, last });
            if first <= self.first {
                break;
            }
            last = first.minus(MINUTE);
        }
        pages
    }
}

/// The closes of those candles that are finished, by the end of their minute.
///
/// A candle is known to be finished if there is a later one, whatever the exchange's clock and ours show. So the newest
/// candle of all is left out.
pub fn finished(candles: impl IntoIterator<Item = Candle>) -> Result<BTreeMap<Timestamp, Price>, Failure> {
    let mut closes = BTreeMap::new();
    for Candle { start, close } in candles {
        if past_minute(start) != 0 {
            return Err(Failure::Invalid);
        }
        // Pages may overlap, but a minute has one close.
        if closes.insert(start.plus(MINUTE), close).is_some_and(|other| other != close) {
            return Err(Failure::Malformed);
        }
    }
    closes.pop_last();
    Ok(closes)
}

/// The candles in rows without member names: the column of the close, and how a start and a close are read.
pub fn from_rows(
    rows: &[Vec<&RawValue>],
    close: usize,
    start_of: impl Fn(Option<&RawValue>) -> Result<Timestamp, Failure>,
    price_of: impl Fn(Option<&RawValue>) -> Result<Price, Failure>,
) -> Result<Vec<Candle>, Failure> {
    let candle = |row: &Vec<&RawValue>| {
        let start = start_of(row.first().copied())?;
        Ok(Candle { start, close: price_of(row.get(close).copied())? })
    };
    rows.iter().map(candle).collect()
}

fn past_minute(instant: Timestamp) -> u64 {
    (instant.unix_millis() % MINUTE_MILLIS).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_unix_millis(minute * MINUTE_MILLIS).unwrap()
    }

    fn candle(minute: i64, close: &str) -> Candle {
        Candle { start: at(minute), close: close.parse().unwrap() }
    }

    fn ends(candles: &[Candle]) -> Vec<i64> {
        finished(candles.to_vec()).unwrap().keys().map(|end| end.unix_millis() / MINUTE_MILLIS).collect()
    }

    #[test]
    fn the_newest_candle_is_never_used_and_the_order_does_not_matter() {
        let candles = [candle(7, "3"), candle(5, "1"), candle(6, "2")];
        assert_eq!(ends(&candles), [6, 7]);
        assert_eq!(finished(candles).unwrap()[&at(6)].to_string(), "1");
        assert_eq!(ends(&candles[..1]), [0_i64; 0]);
        assert_eq!(ends(&[]), [0_i64; 0]);
    }

    #[test]
    fn a_minute_with_two_closes_or_a_start_between_minutes_is_refused() {
        assert_eq!(finished([candle(5, "1"), candle(5, "2")]), Err(Failure::Malformed));
        assert!(finished([candle(5, "1"), candle(5, "1"), candle(6, "1")]).is_ok());
        let odd = Candle { start: at(5).next(), ..candle(5, "1") };
        assert_eq!(finished([odd]), Err(Failure::Invalid));
    }

    #[test]
    fn pages_cover_the_range_once_newest_first() {
        for (count, most, expected) in [(1, 300, 1), (300, 300, 1), (301, 300, 2), (1_440, 300, 5), (5, 1, 5)]
        {
            let range = CandleRange::ending_in(at(1_000), at(1_000 + count));
            assert_eq!(range.count(), count.unsigned_abs());
            let pages = range.pages(most);
            assert_eq!(pages.len(), expected);
            assert_eq!((pages[0].last, pages[expected - 1].first), (range.last, range.first));
            assert!(pages.windows(2).all(|two| two[1].last.plus(MINUTE) == two[0].first));
            assert!(pages.iter().all(|page| page.count() <= u64::from(most)));
        }
        assert!(CandleRange::ending_in(at(5), at(5)).pages(300).is_empty());
    }

    #[test]
    fn a_range_has_the_candles_that_end_in_it() {
        let range =
            CandleRange::ending_in(at(10).plus(Duration::from_secs(5)), at(12).plus(Duration::from_secs(59)));
        assert_eq!((range.first, range.last), (at(10), at(11)));
    }
}
