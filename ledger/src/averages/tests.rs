//! Tests median and moving average, also with extreme values. The other averages are tested in `api/tests/answers`.

use common::domain::{Epoch, Interval};
use proptest::prelude::*;
use rust_decimal::RoundingStrategy;

use super::*;
use crate::window::Window;

const LARGEST: u128 = 10_u128.pow(25) - 1;

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
        let in_parts = |units: &u128| crate::summary::quotient(*units, 1);
        let (low, high) = (units.iter().min().map(in_parts).unwrap(), units.iter().max().map(in_parts).unwrap());
        prop_assert!((low..=high).contains(&median) && (low..=high).contains(&ema));
        let below = units.iter().filter(|one| in_parts(one) < median).count();
        let above = units.iter().filter(|one| in_parts(one) > median).count();
        prop_assert!(below <= units.len() / 2 && above <= units.len() / 2);
    }

    #[test]
    fn the_moving_average_equals_exact_decimals(
        cents in prop::collection::vec(1_i64..20_000_000, 1..300), expected in 1_u64..10_000,
    ) {
        let mut average = Decimal::new(cents[0], 2);
        for cents in &cents[1..] {
            average += (Decimal::new(*cents, 2) - average) * Decimal::TWO / Decimal::from(expected + 1);
        }
        let units: Vec<u128> = cents.iter().map(|cents| u128::from(cents.unsigned_abs()) * 10_u128.pow(11)).collect();
        let rounded = average.round_dp_with_strategy(8, RoundingStrategy::MidpointNearestEven);
        prop_assert_eq!(scan(&units, expected).ema, rounded);
    }
}

#[test]
fn halves_are_rounded_to_even() {
    let part = 10_u128.pow(5);
    for (units, median) in [([part, 2 * part], "0.00000002"), ([2 * part, 3 * part], "0.00000002")] {
        assert_eq!(scan(&units, 9).median.to_string(), median);
    }
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
        let point = Point { slot: slot(index), interval, price: "1.5".parse().unwrap() };
        view = PairView {
            slot: slot(index),
            sequence: Sequence(index),
            window: view.window.push(point),
            ..view
        };
    }
    let scans = Scans::default();
    let ticks = |count: u64| {
        let span = Span::from_millis(count * 100).unwrap();
        scans.window(&store, pair, &view, span).unwrap()
    };
    let (most, too_many) = (ticks(MAX_SCANNED_TICKS), ticks(MAX_SCANNED_TICKS + 1));
    assert_eq!(most.scanned.unwrap().median.to_string(), "1.50000000");
    assert_eq!(too_many.summary.unwrap().count, MAX_SCANNED_TICKS + 1);
    assert_eq!((too_many.summary.unwrap().mean().to_string(), too_many.scanned), ("1.50000000".into(), None));
}

#[test]
fn the_cache_is_bounded_and_keeps_the_newest() {
    let scans = Scans::default();
    let found = Scanned { median: Decimal::ONE, ema: Decimal::ONE };
    let (pair, span) = ("BTC-USD".parse().unwrap(), Span::from_seconds(60));
    for sequence in 1..=5_000 {
        let key = (Sequence(sequence), pair, span);
        assert_eq!(scans.cached_or(key, || Ok(Some(found))).unwrap(), Some(found));
    }
    let cache = lock(&scans.cache);
    assert_eq!(cache.len(), MAX_CACHED);
    assert_eq!(cache.last_key_value().unwrap().0.0, Sequence(5_000));
}
