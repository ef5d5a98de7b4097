//! Prices and averages worked out a second time, in the plainest way, from records alone.

use serde_json::Value;
use testkit::naive;
pub(crate) use testkit::naive::median;

use crate::records::{Point, Quote, Record, decimal};

/// Checks a tick's price against its quotes.
pub(crate) fn check_price(tick: &Record) {
    let used = tick.used();
    let prices: Vec<&str> = used.iter().map(|quote| quote.price.as_deref().unwrap()).collect();
    let price = tick.price.as_deref().unwrap();
    assert_eq!(decimal(price), median(prices.iter().copied().map(decimal).collect()), "{tick:?}");
    if prices.len() % 2 == 1 {
        assert!(prices.contains(&price), "the digits of a quote that was used: {tick:?}");
    }
}

/// Checks the verdict on each quote of a tick: too old by its own time, too far from the others, or used.
pub(crate) fn check_verdicts(tick: &Record) {
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

/// What `/averages` must say about the window `(to − span, to]` of a pair whose slots are `interval` apart now.
pub(crate) fn window(points: &[Point], to: i64, span: i64, interval: i64) -> Value {
    naive::window(&ticks(points), to, span, interval)
}

/// What `/candles` must say, oldest first, where `next` is the slot that is due next.
pub(crate) fn candles(points: &[Point], length: i64, next: i64) -> Vec<Value> {
    naive::candles(&ticks(points), length, next)
}

fn ticks(points: &[Point]) -> Vec<naive::Tick> {
    let tick = |point: &Point| naive::Tick {
        slot: point.slot,
        interval: point.interval,
        price: point.price.clone(),
    };
    points.iter().map(tick).collect()
}
