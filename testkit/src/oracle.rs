//! An independent computation of prices and averages from records, as simple as possible.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first record that is not as documented"
)]

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    naive,
    records::{Kind, Point, Policy, Quote, Record, decimal, time_text},
};

pub use crate::naive::median;

/// Checks a tick's price against its quotes, and the price of each quote against what the source returned.
///
/// # Panics
///
/// Panics if the price does not follow from the quotes.
pub fn check_price(tick: &Record) {
    let used = tick.used();
    let prices: Vec<&str> = used.iter().map(|quote| quote.price.as_deref().unwrap()).collect();
    let price = tick.price.as_deref().unwrap();
    assert_eq!(decimal(price), median(prices.iter().copied().map(decimal).collect()), "{tick:?}");
    if prices.len() % 2 == 1 {
        assert!(prices.contains(&price), "the price must have the digits of a used quote: {tick:?}");
    }
    let policy = tick.policy.as_ref().unwrap();
    for quote in tick.quotes().iter().filter(|quote| quote.price.is_some()) {
        check_quote(quote, policy);
    }
}

/// Checks which price of a quote counts: the midpoint of a book that is not crossed and not too wide, or the last trade.
fn check_quote(quote: &Quote, policy: &Policy) {
    let last = quote.last.as_deref().map(decimal);
    let book = quote.bid.as_deref().map(decimal).zip(quote.ask.as_deref().map(decimal));
    let mid = book.and_then(|(bid, ask)| {
        let mid = (bid + ask) / Decimal::TWO;
        (bid <= ask && ask - bid <= decimal(&policy.max_deviation) * mid).then_some(mid)
    });
    let (mid, last) = (mid.map(|mid| (mid, "mid")), last.map(|last| (last, "last")));
    let (price, basis) = if policy.price == "last" { last.or(mid) } else { mid.or(last) }.unwrap();
    assert_eq!(
        (decimal(quote.price.as_deref().unwrap()), quote.basis.as_deref()),
        (price, Some(basis)),
        "{quote:?}"
    );
}

/// Checks the verdict on each quote of a tick: too old, too far from the others, or used.
///
/// # Panics
///
/// Panics if a verdict is wrong.
pub fn check_verdicts(tick: &Record) {
    let policy = tick.policy.as_ref().unwrap();
    let answered: Vec<&Quote> = tick.quotes().iter().filter(|quote| quote.price.is_some()).collect();
    let price = |quote: &Quote| decimal(quote.price.as_deref().unwrap());
    let is_stale = |quote: &Quote| {
        let age = quote.source_time.map(|time| quote.observed_at.unwrap().0 - time.0);
        age.is_some_and(|age| age > policy.max_quote_age.0)
    };
    let center = median(answered.iter().filter(|quote| !is_stale(quote)).map(|quote| price(quote)).collect());
    let reach = center * decimal(&policy.max_deviation);
    for quote in answered {
        let expected = match ((price(quote) - center).abs() <= reach, is_stale(quote)) {
            (_, true) => "stale",
            (false, _) => "outlier",
            (true, _) => "used",
        };
        assert_eq!(quote.verdict, expected, "{} in {tick:?}", quote.source);
    }
}

/// What `/averages` must return for the window `(to − span, to]` of a pair whose slots are now `interval` apart.
#[must_use]
pub fn window(points: &[Point], to: i64, span: i64, interval: i64) -> Value {
    naive::window(&ticks(points), to, span, interval)
}

/// What `/candles` must return, oldest first. `next` is the slot that is due next.
#[must_use]
pub fn candles(points: &[Point], length: i64, next: i64) -> Vec<Value> {
    naive::candles(&ticks(points), length, next)
}

fn ticks(points: &[Point]) -> Vec<naive::Tick> {
    let tick = |point: &Point| naive::Tick {
        slot: point.slot,
        interval: point.interval,
        price: point.price.clone(),
        backfilled: point.backfilled,
    };
    points.iter().map(tick).collect()
}

/// What `/gaps` must return for a pair, oldest first.
///
/// # Panics
///
/// Panics if a gap does not say which slots it covers.
#[must_use]
pub fn gaps(records: &[Record], pair: &str) -> Vec<Value> {
    let gap = |record: &Record| {
        let explained: Value = serde_json::from_slice(&record.bytes).unwrap();
        let (from, last) = record.covers().unwrap();
        json!({
            "from": time_text(from),
            "to": time_text(last),
            "slots": (last - from) / record.interval() + 1,
            "interval": explained["interval"],
            "cause": explained["cause"],
            "backfilled": record.backfilled,
            "sequence": record.sequence,
            "epoch": record.epoch,
            "sources": record.quotes.as_ref().map(Vec::len),
        })
    };
    records.iter().filter(|record| record.kind == Kind::Gap && record.pair == pair).map(gap).collect()
}
