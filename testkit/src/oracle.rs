//! Prices and averages worked out a second time, in the plainest way, from records alone.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first record that is not as documented"
)]

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};

use crate::records::{Kind, Point, Quote, Record, decimal, time_text};

/// The decimal places of derived values.
const DERIVED_DECIMALS: u32 = 8;

/// A tick stands until the next one if that is at most this many intervals away, else for one interval.
const LONGEST_STANDING: i64 = 3;

/// The middle of some prices, or the exact midpoint of the two in the middle.
///
/// # Panics
///
/// Where there are none.
#[must_use]
pub fn median(mut prices: Vec<Decimal>) -> Decimal {
    prices.sort_unstable();
    let (lower, upper) = (prices[(prices.len() - 1) / 2], prices[prices.len() / 2]);
    (lower + upper) / Decimal::TWO
}

/// Checks a tick's price against its quotes.
///
/// # Panics
///
/// Where it is another than they make.
pub fn check_price(tick: &Record) {
    let used = tick.used();
    let prices: Vec<&str> = used.iter().map(|quote| quote.price.as_deref().unwrap()).collect();
    let price = tick.price.as_deref().unwrap();
    assert_eq!(decimal(price), median(prices.iter().copied().map(decimal).collect()), "{tick:?}");
    if prices.len() % 2 == 1 {
        assert!(prices.contains(&price), "the digits of a quote that was used: {tick:?}");
    }
}

/// Checks the verdict on each quote of a tick: too old by its own time, too far from the others, or used.
///
/// # Panics
///
/// Where a verdict is another.
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

/// What `/averages` must say about the window `(to − span, to]`, of the members that are worked out here.
#[must_use]
pub fn window(points: &[Point], to: i64, span: i64) -> Value {
    let inside: Vec<&Point> =
        points.iter().filter(|point| point.slot > to - span && point.slot <= to).collect();
    let covered: i64 = inside.iter().map(|point| point.interval).sum();
    let coverage = derived(Decimal::from(covered.min(span)) / Decimal::from(span));
    let observed = inside.len();
    let (Some(first), Some(last)) = (inside.first(), inside.last()) else {
        return json!({"mean": null, "twap": null, "min": null, "max": null, "open": null, "close": null,
                      "observed": 0, "coverage": coverage});
    };
    let prices: Vec<Decimal> = inside.iter().map(|point| decimal(&point.price)).collect();
    let sum: Decimal = prices.iter().sum();
    let weights: Vec<Decimal> = standings(&inside).into_iter().map(Decimal::from).collect();
    let weighted: Decimal = prices.iter().zip(&weights).map(|(price, weight)| price * weight).sum();
    let extreme = |wanted: Option<&Decimal>| {
        let found = inside.iter().find(|point| Some(&decimal(&point.price)) == wanted);
        found.map(|point| point.price.clone())
    };
    json!({
        "mean": derived(sum / Decimal::from(observed)),
        "twap": derived(weighted / weights.iter().sum::<Decimal>()),
        "min": extreme(prices.iter().min()),
        "max": extreme(prices.iter().max()),
        "open": first.price,
        "close": last.price,
        "observed": observed,
        "coverage": coverage,
    })
}

/// What `/gaps` must say of a pair's gaps, oldest first.
///
/// # Panics
///
/// Where a gap does not say what it covers.
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
            "sequence": record.sequence,
            "epoch": record.epoch,
            "sources": record.quotes.as_ref().map(Vec::len),
        })
    };
    records.iter().filter(|record| record.kind == Kind::Gap && record.pair == pair).map(gap).collect()
}

/// For how long each tick stands.
fn standings(points: &[&Point]) -> Vec<i64> {
    let next = points.iter().skip(1).map(|point| Some(point.slot)).chain([None]);
    let standing = |(point, next): (&&Point, Option<i64>)| match next.map(|next| next - point.slot) {
        Some(distance) if distance <= LONGEST_STANDING * point.interval => distance,
        _ => point.interval,
    };
    points.iter().zip(next).map(standing).collect()
}

/// A derived value as it is written: rounded half-even to eight places, all of them there.
fn derived(value: Decimal) -> String {
    let mut rounded = value.round_dp_with_strategy(DERIVED_DECIMALS, RoundingStrategy::MidpointNearestEven);
    rounded.rescale(DERIVED_DECIMALS);
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(slot: i64, price: &str) -> Point {
        Point { sequence: 0, slot, interval: 10, price: price.to_owned() }
    }

    /// Worked out by hand.
    #[test]
    fn a_window_with_holes() {
        // The first stands for 10, the second for 30 (three intervals), the third for 10 (four), the last for 10.
        let points = [point(0, "9"), point(10, "1.0"), point(20, "2"), point(50, "4.50"), point(90, "8")];
        assert_eq!(
            window(&points, 90, 90),
            json!({"mean": "3.87500000", "twap": "3.25000000", "min": "1.0", "max": "8", "open": "1.0",
                   "close": "8", "observed": 4, "coverage": "0.44444444"})
        );
        assert_eq!(window(&points, 130, 40)["mean"], Value::Null);
        assert_eq!(median(vec![decimal("1.1"), decimal("1.2")]), decimal("1.15"));
    }
}
