//! Tests of single cases, and a comparison with a naive computation.

use std::cmp::Ordering;

use common::domain::{AgeRule, Failure, PriceRule, Span, Timestamp};
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;

const NOW: &str = "2026-11-21T00:00:10.200Z";

fn policy(min_sources: u32) -> Policy {
    Policy {
        rules: Policy::RULES,
        price: PriceRule::Mid,
        min_sources,
        max_deviation: "2%".parse().unwrap(),
        max_quote_age: Span::from_seconds(30),
        max_clock_skew: Span::from_seconds(5),
        frozen_after: Span::from_seconds(600),
        aged_at: AgeRule::Arrival,
    }
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn seconds(count: u64) -> std::time::Duration {
    std::time::Duration::from_secs(count)
}

fn observed(price: &str) -> Observation {
    Observation::traded(price.parse().unwrap(), now())
}

fn quotes(results: &[Result<Observation, Failure>]) -> Vec<Quote> {
    let quote = |(index, result): (usize, &Result<Observation, Failure>)| Quote {
        source: format!("source_{index}").parse().unwrap(),
        shadow: false,
        result: *result,
    };
    results.iter().enumerate().map(quote).collect()
}

fn judge(quotes: &[Quote], min_sources: u32) -> (Result<String, GapCause>, Vec<&'static str>) {
    let interval: Interval = "10s".parse().unwrap();
    let body = aggregate(quotes, &policy(min_sources), interval.slot_at(now()), interval);
    let verdicts =
        |evidence: &Evidence| evidence.quotes.iter().map(|judged| judged.verdict.as_str()).collect();
    match &body {
        Body::Tick(tick) => (Ok(tick.price.to_string()), verdicts(&tick.evidence)),
        Body::Gap(gap) => (Err(gap.cause), verdicts(gap.evidence.as_ref().unwrap())),
        Body::Lead(_) => unreachable!(),
    }
}

#[test]
fn the_median_of_three_keeps_its_digits() {
    let quotes = quotes(&[Ok(observed("100.20")), Ok(observed("100.1")), Ok(observed("100.3"))]);
    assert_eq!(judge(&quotes, 2), (Ok("100.20".into()), vec!["used", "used", "used"]));
}

#[test]
fn the_price_of_two_quotes_is_their_exact_midpoint() {
    let quotes = quotes(&[Ok(observed("100.20")), Err(Failure::Timeout), Ok(observed("100.21"))]);
    assert_eq!(judge(&quotes, 2), (Ok("100.205".into()), vec!["used", "timeout", "used"]));
}

#[test]
fn a_quote_far_off_is_an_outlier() {
    let quotes = quotes(&[Ok(observed("100")), Ok(observed("10000")), Ok(observed("101"))]);
    assert_eq!(judge(&quotes, 2), (Ok("100.5".into()), vec!["used", "outlier", "used"]));
}

#[test]
fn two_quotes_that_disagree_make_a_gap() {
    let quotes = quotes(&[Ok(observed("100")), Ok(observed("110"))]);
    assert_eq!(judge(&quotes, 2), (Err(GapCause::Disagreement), vec!["outlier", "outlier"]));
}

#[test]
fn a_spread_beyond_the_limit_makes_a_gap_even_if_all_quotes_are_near_the_median() {
    let quotes = quotes(&[Ok(observed("98.5")), Ok(observed("100")), Ok(observed("101.5"))]);
    assert_eq!(judge(&quotes, 2), (Err(GapCause::Disagreement), vec!["unused", "unused", "unused"]));
}

#[test]
fn a_quote_near_the_median_but_too_far_from_its_peers_does_not_prevent_agreement() {
    // The lowest price is 1.9% below the median and 2.2% below the highest price.
    let near =
        quotes(&[Ok(observed("98.1")), Ok(observed("99.9")), Ok(observed("100.1")), Ok(observed("100.3"))]);
    assert_eq!(judge(&near, 2), (Ok("100.1".into()), vec!["outlier", "used", "used", "used"]));
    // Two against two: nothing shows which two are right.
    let even =
        quotes(&[Ok(observed("98")), Ok(observed("98")), Ok(observed("100.2")), Ok(observed("100.2"))]);
    assert_eq!(judge(&even, 2), (Err(GapCause::Disagreement), vec!["unused"; 4]));
    // A majority must remain even if min_sources is lower.
    let spread = quotes(&[Ok(observed("100")), Ok(observed("102.3"))]);
    assert_eq!(judge(&spread, 1), (Err(GapCause::Disagreement), vec!["unused"; 2]));
}

#[test]
fn a_deviation_of_exactly_the_limit_is_accepted() {
    let quotes = quotes(&[Ok(observed("99")), Ok(observed("100")), Ok(observed("101"))]);
    assert_eq!(judge(&quotes, 3).0, Ok("100".into()));
}

#[test]
fn too_few_quotes_make_a_gap_that_contains_them() {
    let alone = quotes(&[Ok(observed("100")), Err(Failure::Http5xx)]);
    assert_eq!(judge(&alone, 2), (Err(GapCause::TooFewSources), vec!["unused", "http_5xx"]));
    assert_eq!(judge(&[], 2), (Err(GapCause::TooFewSources), vec![]));
    assert_eq!(judge(&[], 0), (Err(GapCause::TooFewSources), vec![]));
}

#[test]
fn old_and_future_times_are_told_apart_at_their_exact_limits() {
    let timed = |time: Timestamp| Ok(Observation { source_time: Some(time), ..observed("100") });
    let late = |millis| now().minus(seconds(30)).minus(std::time::Duration::from_millis(millis));
    let early = |millis| now().plus(seconds(5)).plus(std::time::Duration::from_millis(millis));
    let quotes = quotes(&[timed(late(0)), timed(late(1)), timed(early(0)), timed(early(1))]);
    assert_eq!(judge(&quotes, 2).1, vec!["used", "stale", "used", "future"]);
}

#[test]
fn a_source_may_have_an_age_limit_of_its_own() {
    let aged = |age, max_age| {
        let source_time = Some(now().minus(seconds(age)));
        Ok(Observation { source_time, max_age: Some(Span::from_seconds(max_age)), ..observed("100") })
    };
    let quotes = quotes(&[aged(180, 180), aged(181, 180), aged(10, 10), aged(11, 10)]);
    assert_eq!(judge(&quotes, 2).1, vec!["used", "stale", "used", "stale"]);
}

/// A quote that has not changed for longer than `frozen_after`.
fn still(price: &str) -> Observation {
    Observation { unchanged_since: now().minus(seconds(601)), ..observed(price) }
}

#[test]
fn unchanged_is_frozen_only_if_the_median_of_the_peers_moved_away() {
    // A tenth of the maximum deviation of 2 % is 0.2 %.
    for (peers, verdict) in [
        (["100.2", "100.3"].as_slice(), "frozen"),
        (&["99.8", "99.7"], "frozen"),
        (&["100.2"], "used"),
        (&["99.81"], "used"),
        // One peer alone does not decide.
        (&["100", "100.05", "101.5"], "used"),
        // Without a live peer, nothing contradicts it.
        (&[], "used"),
    ] {
        let peers = peers.iter().map(|price| Ok(observed(price)));
        let results: Vec<_> = [Ok(still("100"))].into_iter().chain(peers).collect();
        assert_eq!(judge(&quotes(&results), 1).1[0], verdict, "{results:?}");
    }
}

#[test]
fn only_live_peers_show_that_the_market_moved() {
    let moved = observed("101");
    let stale = Observation { source_time: Some(now().minus(seconds(31))), ..moved };
    for peer in [Ok(still("101")), Ok(stale), Err(Failure::Timeout)] {
        assert_eq!(judge(&quotes(&[Ok(still("100")), peer]), 1).1[0], "used", "{peer:?}");
    }
    let mut with_shadow = quotes(&[Ok(still("100")), Ok(moved)]);
    with_shadow[1].shadow = true;
    assert_eq!(judge(&with_shadow, 1).1, ["used", "shadow"]);
    assert_eq!(judge(&quotes(&[Ok(still("100")), Ok(moved)]), 1).1, ["frozen", "used"]);
}

/// Two venues of a stablecoin have shown the same price for ten minutes, because nothing happens. The third moves by a
/// hundredth of a percent.
#[test]
fn a_quiet_market_keeps_its_price() {
    let quiet = quotes(&[Ok(still("1.0000")), Ok(still("1.0001")), Ok(observed("1.0001"))]);
    assert_eq!(judge(&quiet, 2), (Ok("1.0001".into()), vec!["used"; 3]));
}

#[test]
fn a_feed_that_died_is_left_out_once_the_market_has_moved() {
    let died = quotes(&[Ok(still("97000")), Ok(observed("97400")), Ok(observed("97410"))]);
    assert_eq!(judge(&died, 2), (Ok("97405".into()), vec!["frozen", "used", "used"]));
    // Two dead feeds do not outvote the live one.
    let died = quotes(&[Ok(still("97000")), Ok(still("97000")), Ok(observed("97400"))]);
    assert_eq!(judge(&died, 1), (Ok("97400".into()), vec!["frozen", "frozen", "used"]));
}

#[test]
fn shadows_are_recorded_but_never_used() {
    let mut quotes = quotes(&[Ok(observed("100")), Ok(observed("101")), Ok(observed("100.9"))]);
    quotes[0].shadow = true;
    assert_eq!(judge(&quotes, 2), (Ok("100.95".into()), vec!["shadow", "used", "used"]));
    assert_eq!(judge(&quotes, 3).0, Err(GapCause::TooFewSources));
}

/// An independent implementation of the rules, with Decimal instead of integer units.
fn naive(prices: &[Decimal], min_sources: usize) -> Option<Decimal> {
    let median = |mut prices: Vec<Decimal>| {
        prices.sort();
        let middle = prices.len() / 2;
        match prices.len() {
            0 => None,
            count if count % 2 == 1 => Some(prices[middle]),
            _ => Some((prices[middle - 1] + prices[middle]) / Decimal::TWO),
        }
    };
    let limit = Decimal::new(2, 2);
    let center = median(prices.to_vec())?;
    let mut left: Vec<Decimal> =
        prices.iter().copied().filter(|price| (price - center).abs() <= limit * center).collect();
    loop {
        let price = median(left.clone())?;
        let (low, high) = (*left.iter().min()?, *left.iter().max()?);
        if high - low <= limit * price {
            return (left.len() >= min_sources).then_some(price);
        }
        // Remove the farther end, if a majority of the original prices remains.
        let out = match (price - low).cmp(&(high - price)) {
            Ordering::Less => high,
            Ordering::Greater => low,
            Ordering::Equal => return None,
        };
        left.retain(|price| *price != out);
        if left.len() < min_sources || left.len() * 2 <= prices.len() {
            return None;
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_a_naive_computation(cents in prop::collection::vec(9_500_000_i64..10_500_000, 0..8), min_sources in 1_u32..4) {
        let prices: Vec<Decimal> = cents.iter().map(|cents| Decimal::new(*cents, 2)).collect();
        let results: Vec<_> = prices.iter().map(|price| Ok(observed(&price.to_string()))).collect();
        let expected = naive(&prices, min_sources as usize);
        let (found, _) = judge(&quotes(&results), min_sources);
        prop_assert_eq!(found.ok().map(|price| price.parse::<Decimal>().unwrap()), expected);
    }

    #[test]
    fn the_order_of_sources_does_not_matter(cents in prop::collection::vec(9_800_000_i64..10_200_000, 1..8)) {
        let result = |cents: &i64| Ok(observed(&Decimal::new(*cents, 2).to_string()));
        let forward: Vec<_> = cents.iter().map(result).collect();
        let backward: Vec<_> = cents.iter().rev().map(result).collect();
        prop_assert_eq!(judge(&quotes(&forward), 2).0, judge(&quotes(&backward), 2).0);
    }
}
