//! Tests median and moving average, also with extreme values. The other averages are tested in `api/tests/answers`.

mod precision;

use common::domain::{Epoch, Interval, Price, Sequence};
use proptest::prelude::*;
use rust_decimal::RoundingStrategy;

use super::*;
use crate::{summary::Point, window::Window};

const LARGEST: u128 = 10_u128.pow(Price::MAX_DECIMALS + 12) - 1;

fn scan(units: &[u128], expected: u64) -> Scanned {
    super::scan::scan(units.to_vec(), expected).unwrap()
}

proptest! {
    #[test]
    fn median_and_moving_average_are_between_the_extremes(
        units in prop::collection::vec(prop_oneof![1..=LARGEST, 1_u128..1_000], 1..50),
        expected in prop_oneof![1_u64..100, 1_u64..=3_162_240_000],
    ) {
        let Scanned { median, ema } = scan(&units, expected);
        let price = |units: &u128| Decimal::from_i128_with_scale(i128::try_from(*units).unwrap(), Price::MAX_DECIMALS);
        let (low, high) = (units.iter().min().map(price).unwrap(), units.iter().max().map(price).unwrap());
        prop_assert!((low..=high).contains(&median) && (low..=high).contains(&ema));
        prop_assert!(!median.is_zero() && !ema.is_zero());
    }

    #[test]
    fn the_moving_average_equals_exact_decimals(
        cents in prop::collection::vec(1_i64..20_000_000, 1..300), expected in 1_u64..10_000,
    ) {
        let mut average = Decimal::new(cents[0], 2);
        for cents in &cents[1..] {
            average += (Decimal::new(*cents, 2) - average) * Decimal::TWO / Decimal::from(expected + 1);
        }
        let units: Vec<u128> = cents.iter().map(|cents| u128::from(cents.unsigned_abs()) * 10_u128.pow(12)).collect();
        let ema = scan(&units, expected).ema;
        // Both are rounded at every step, at different places.
        prop_assert!((ema - average.round_dp_with_strategy(ema.scale(), RoundingStrategy::MidpointNearestEven)).abs()
            <= Decimal::new(1, ema.scale().min(18)));
    }
}

#[test]
fn tiny_prices_keep_their_digits() {
    // 4.2e-9 and 4.3e-9.
    let Scanned { median, ema } = scan(&[420_000, 430_000], 3);
    assert_eq!(median.to_string(), "0.00000000425000000000");
    assert_eq!(ema.to_string(), "0.00000000425000000000");
}

#[test]
fn the_longest_scan_of_the_largest_prices_does_not_overflow() {
    let units: Vec<u128> = (0..100_000).map(|index| if index % 2 == 0 { LARGEST } else { 1 }).collect();
    let Scanned { median, ema } = scan(&units, 100_000);
    assert_eq!(median.to_string(), "500000000000.00000000");
    assert!(ema < Decimal::from(10_u64.pow(12)));
}

#[test]
fn a_window_of_too_many_ticks_has_everything_but_median_and_moving_average() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(folder.path()).unwrap();
    let (pair, interval): (Pair, Interval) = ("BTC-USD".parse().unwrap(), "100ms".parse().unwrap());
    let slot = |index: u64| {
        let instant = Timestamp::from_unix_millis(i64::try_from(index).unwrap() * 100).unwrap();
        interval.slot(instant).unwrap()
    };
    let mut view = PairView {
        gap: None,
        slot: slot(0),
        sequence: Sequence(0),
        interval,
        epoch: Epoch(1),
        term: Epoch(1),
        tick: None,
        day_ago: None,
        window: Window::default(),
        kept_from: Timestamp::EPOCH,
    };
    for index in 1..=MAX_SCANNED_TICKS + 1 {
        let point = Point { slot: slot(index), interval, price: "1.5".parse().unwrap(), backfilled: false };
        view = PairView {
            slot: slot(index),
            sequence: Sequence(index),
            window: view.window.clone().push(WindowTick { point, sequence: Sequence(index) }),
            ..view
        };
    }
    let scans = Scans::default();
    let ticks = |count: u64| {
        let span = Span::from_millis(count * 100).unwrap();
        scans.window(&store, pair, &view, span).unwrap()
    };
    let to_visit = |count: u64| scans.ticks_to_visit(pair, &view, Span::from_millis(count * 100).unwrap());
    assert_eq!((to_visit(7), to_visit(MAX_SCANNED_TICKS)), (Some(7), Some(MAX_SCANNED_TICKS)));
    assert_eq!(to_visit(MAX_SCANNED_TICKS + 1), Some(0), "nothing is computed of more");
    let (most, too_many) = (ticks(MAX_SCANNED_TICKS), ticks(MAX_SCANNED_TICKS + 1));
    assert_eq!(
        (to_visit(7), to_visit(MAX_SCANNED_TICKS)),
        (Some(7), Some(0)),
        "only the longer one is cached"
    );
    let later = PairView { kept_from: slot(2).start(), ..view.clone() };
    assert_eq!(scans.ticks_to_visit(pair, &later, Span::from_millis(MAX_SCANNED_TICKS * 100).unwrap()), None);
    assert_eq!(most.scanned.unwrap().median.to_string(), "1.50000000000");
    assert_eq!(too_many.summary.unwrap().count, MAX_SCANNED_TICKS + 1);
    assert_eq!(
        (too_many.summary.unwrap().mean().to_string(), too_many.scanned),
        ("1.50000000000".into(), None)
    );
}

#[test]
fn the_cache_is_bounded_and_keeps_the_newest() {
    let scans = Scans::default();
    let found = Scanned { median: Decimal::ONE, ema: Decimal::ONE };
    let (pair, span) = ("BTC-USD".parse().unwrap(), Span::from_seconds(60));
    let interval: Interval = "10s".parse().unwrap();
    let slot = |number: i64| interval.slot(Timestamp::from_unix_millis(number * 10_000).unwrap()).unwrap();
    for number in 1..=5_000 {
        let key = (slot(number), pair, span);
        assert_eq!(scans.cached_or(key, || Ok(Some(found))).unwrap(), Some(found));
    }
    let cache = lock(&scans.cache);
    assert_eq!(cache.len(), MAX_CACHED);
    assert_eq!(cache.last_key_value().unwrap().0.0, slot(5_000));
}
