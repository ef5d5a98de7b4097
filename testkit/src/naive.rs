//! An independent computation of averages and candles from ticks, as simple as possible: decimals, one pass per number, no
//! merging and no caching.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first tick that is not as documented"
)]

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};

/// The least number of decimal places of derived values.
const LEAST_DECIMALS: u32 = 8;

/// The least number of significant digits of derived values.
const LEAST_DIGITS: u32 = 12;

/// A tick's price holds until the next tick if that tick is at most this many intervals later. Otherwise it holds for
/// one interval.
const LONGEST_STANDING: i64 = 3;

/// A window with more ticks than this has neither a median nor an EMA.
const MAX_SCANNED: usize = 100_000;

/// A tick: its slot and interval in milliseconds, and its price as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// The slot, in unix milliseconds.
    pub slot: i64,
    /// The interval between slots when it was published.
    pub interval: i64,
    /// The price, with its exact digits.
    pub price: String,
    /// Whether it was backfilled.
    pub backfilled: bool,
}

/// What `/averages` must return for the window `(to − span, to]` of a pair whose slots are now `interval`
/// apart. `ticks` are in the order of their slots.
#[must_use]
pub fn window(ticks: &[Tick], to: i64, span: i64, interval: i64) -> Value {
    let from = to - span;
    let inside: Vec<&Tick> = ticks.iter().filter(|tick| tick.slot > from && tick.slot <= to).collect();
    let covered: i64 = inside.iter().map(|tick| tick.interval).sum();
    let coverage = Decimal::from(covered.min(span)) / Decimal::from(span);
    let expected = (span + interval - 1) / interval;
    let (Some(first), Some(last)) = (inside.first(), inside.last()) else {
        return json!({
            "mean": null, "twap": null, "median": null, "ema": null, "min": null, "max": null, "open": null,
            "close": null, "change": null, "change_ratio": null, "stddev": null, "expected": expected,
            "observed": 0, "backfilled": 0, "coverage": derived(Decimal::ZERO), "largest_gap": span_text(span), "complete": false,
        });
    };
    let prices: Vec<Decimal> = inside.iter().map(|tick| decimal(&tick.price)).collect();
    let count = Decimal::from(prices.len());
    let mean = prices.iter().sum::<Decimal>() / count;
    let variance = prices.iter().map(|price| (price - mean) * (price - mean)).sum::<Decimal>() / count;
    let weights: Vec<Decimal> = standings(&inside).into_iter().map(Decimal::from).collect();
    let weighted: Decimal = prices.iter().zip(&weights).map(|(price, weight)| price * weight).sum();
    let few = prices.len() <= MAX_SCANNED;
    let change = decimal(&last.price) - decimal(&first.price);
    let gap = largest_gap(&inside, from, to);
    json!({
        "mean": derived(mean),
        "twap": derived(weighted / weights.iter().sum::<Decimal>()),
        "median": few.then(|| derived(median(prices.clone()))),
        "ema": few.then(|| derived(ema(&prices, expected))),
        "min": extreme(&inside, prices.iter().min()),
        "max": extreme(&inside, prices.iter().max()),
        "open": first.price,
        "close": last.price,
        "change": change.to_string(),
        "change_ratio": derived(change / decimal(&first.price)),
        "stddev": derived(root(variance)),
        "expected": expected,
        "observed": prices.len(),
        "backfilled": backfilled(&inside),
        "coverage": derived(coverage),
        "largest_gap": (gap > 0).then(|| span_text(gap)),
        "complete": gap == 0,
    })
}

/// What `/candles` must return, oldest first. Each candle is `length` milliseconds long and begins at a multiple of
/// `length`. `next` is the slot that is due next.
///
/// # Panics
///
/// Panics if a tick's slot is not a valid time.
#[must_use]
pub fn candles(ticks: &[Tick], length: i64, next: i64) -> Vec<Value> {
    let mut starts: Vec<i64> = ticks.iter().map(|tick| tick.slot - tick.slot.rem_euclid(length)).collect();
    starts.dedup();
    let candle = |start: i64| {
        let end = start + length;
        let inside: Vec<&Tick> = ticks.iter().filter(|tick| tick.slot >= start && tick.slot < end).collect();
        let prices: Vec<Decimal> = inside.iter().map(|tick| decimal(&tick.price)).collect();
        let last = inside[inside.len() - 1];
        let filled = largest_gap(&inside, start - 1, last.slot) == 0 && last.slot + last.interval >= end;
        json!({
            "start": time_text(start),
            "open": inside[0].price,
            "high": extreme(&inside, prices.iter().max()),
            "low": extreme(&inside, prices.iter().min()),
            "close": last.price,
            "samples": inside.len(),
            "backfilled": backfilled(&inside),
            "complete": filled && next >= end,
        })
    };
    starts.into_iter().map(candle).collect()
}

fn backfilled(ticks: &[&Tick]) -> usize {
    ticks.iter().filter(|tick| tick.backfilled).count()
}

/// The median of some prices.
///
/// # Panics
///
/// Panics if there are no prices.
#[must_use]
pub fn median(mut prices: Vec<Decimal>) -> Decimal {
    prices.sort_unstable();
    let (lower, upper) = (prices[(prices.len() - 1) / 2], prices[prices.len() / 2]);
    (lower + upper) / Decimal::TWO
}

fn ema(prices: &[Decimal], expected: i64) -> Decimal {
    let mut average = prices[0];
    for price in &prices[1..] {
        average += (price - average) * Decimal::TWO / Decimal::from(expected + 1);
    }
    average
}

/// The price of the first tick that has this value, with its exact digits.
fn extreme(ticks: &[&Tick], wanted: Option<&Decimal>) -> Option<String> {
    ticks.iter().find(|tick| Some(&decimal(&tick.price)) == wanted).map(|tick| tick.price.clone())
}

/// How long each tick's price holds, in milliseconds.
fn standings(ticks: &[&Tick]) -> Vec<i64> {
    let next = ticks.iter().skip(1).map(|tick| Some(tick.slot)).chain([None]);
    let standing = |(tick, next): (&&Tick, Option<i64>)| match next.map(|next| next - tick.slot) {
        Some(distance) if distance <= LONGEST_STANDING * tick.interval => distance,
        _ => tick.interval,
    };
    ticks.iter().zip(next).map(standing).collect()
}

/// The longest part of `(from, to]` that no tick covers. Each tick covers one interval, which ends at its slot.
fn largest_gap(ticks: &[&Tick], from: i64, to: i64) -> i64 {
    let before = ticks[0].slot - from - ticks[0].interval;
    let after = to - ticks[ticks.len() - 1].slot;
    let between =
        ticks.windows(2).map(|two| two[1].slot - two[0].slot - two[0].interval.min(two[1].interval));
    between.chain([before, after, 0]).max().unwrap_or(0)
}

/// The square root, by Newton's method.
fn root(of: Decimal) -> Decimal {
    let mut root = of.max(Decimal::ONE);
    for _ in 0..100 {
        if !root.is_zero() {
            root = (root + of / root) / Decimal::TWO;
        }
    }
    root
}

/// Formats a derived value: rounded half-even to eight decimal places, or to as many more as show twelve significant
/// digits.
///
/// # Panics
///
/// Panics if the value is too large for so many places.
#[must_use]
pub fn derived(value: Decimal) -> String {
    let places = places(value);
    let mut rounded = value.round_dp_with_strategy(places, RoundingStrategy::MidpointNearestEven);
    rounded.rescale(places);
    assert_eq!(rounded.scale(), places, "{value} is too large for {places} decimal places");
    if rounded.is_zero() {
        rounded.set_sign_positive(true);
    }
    rounded.to_string()
}

fn places(value: Decimal) -> u32 {
    // 1,000, 100, 10 and so on, each of which takes one more place.
    let bounds =
        (LEAST_DECIMALS..Decimal::MAX_SCALE).map(|places| (places, power_of_ten(LEAST_DIGITS - 1, places)));
    let is_enough = |(_, bound): &(u32, Decimal)| value.is_zero() || value.abs() >= *bound;
    bounds.into_iter().find(is_enough).map_or(Decimal::MAX_SCALE, |(places, _)| places)
}

/// 10 to the power of `up − down`.
fn power_of_ten(up: u32, down: u32) -> Decimal {
    Decimal::from_i128_with_scale(10_i128.pow(up), down)
}

fn decimal(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

fn span_text(millis: i64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let (unit, length) = units.into_iter().find(|(_, length)| millis % length == 0).unwrap_or(("ms", 1));
    format!("{}{unit}", millis / length)
}

fn time_text(millis: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(millis).expect("an instant");
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(slot: i64, price: &str) -> Tick {
        Tick { slot, interval: 10_000, price: price.to_owned(), backfilled: false }
    }

    /// The expected values were computed by hand.
    #[test]
    fn a_window_with_holes() {
        // In the window, the first price holds for 10 s and the second for 30 s, each until the next tick. The third
        // price holds for only 10 s, because the next tick is four intervals later. The last price holds for 10 s.
        let ticks =
            [tick(0, "9"), tick(10_000, "1.0"), tick(20_000, "2"), tick(50_000, "4.50"), tick(90_000, "8")];
        assert_eq!(
            window(&ticks, 90_000, 90_000, 10_000),
            json!({
                "mean": "3.87500000000", "twap": "3.25000000000", "median": "3.25000000000",
                // The EMA starts at 1, and moves a fifth of the way to 2, then to 4.5, then to 8.
                "ema": "3.08800000000", "min": "1.0", "max": "8", "open": "1.0", "close": "8", "change": "7.0",
                "change_ratio": "7.00000000000",
                // The root of (8.265625 + 3.515625 + 0.390625 + 17.015625) / 4 = 7.296875.
                "stddev": "2.70127284812", "expected": 9, "observed": 4, "backfilled": 0, "coverage": "0.444444444444",
                "largest_gap": "30s", "complete": false,
            })
        );
        assert_eq!(window(&ticks, 130_000, 40_000, 10_000)["mean"], Value::Null);
        let empty = window(&ticks, 130_000, 40_000, 10_000);
        assert_eq!((&empty["expected"], &empty["largest_gap"]), (&json!(4), &json!("40s")));
        assert_eq!(median(vec![decimal("1.1"), decimal("1.2")]), decimal("1.15"));
    }

    #[test]
    fn candles_by_hand() {
        let ticks: Vec<Tick> =
            [(0, "2"), (10, "3.0"), (20, "1"), (30, "3"), (40, "2"), (50, "2.5"), (70, "7")]
                .into_iter()
                .map(|(second, price)| tick(second * 1_000, price))
                .collect();
        let candle = |start: &str, prices: [&str; 4], samples: u64, complete: bool| {
            json!({"start": start, "open": prices[0], "high": prices[1], "low": prices[2], "close": prices[3],
                   "samples": samples, "backfilled": 0, "complete": complete})
        };
        assert_eq!(
            candles(&ticks, 60_000, 80_000),
            [
                candle("1970-01-01T00:00:00.000Z", ["2", "3.0", "1", "2.5"], 6, true),
                candle("1970-01-01T00:01:00.000Z", ["7", "7", "7", "7"], 1, false),
            ]
        );
        assert_eq!(candles(&ticks[..6], 60_000, 50_000)[0]["complete"], json!(false));
    }
}
