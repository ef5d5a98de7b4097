//! Derived values over the whole range of prices, compared with exact big integers that follow the rule of the documentation:
//! at least 8 decimal places, at least 12 significant digits, at most 28 decimal places, rounded half-even.

use num_bigint::{BigInt, BigUint};
use proptest::prelude::*;

use super::*;
use crate::summary::Summary;

/// Prices in units, from 10⁻¹⁴ to just below 10¹².
fn units() -> impl Strategy<Value = u128> {
    (0_u32..26).prop_flat_map(|digits| 10_u128.pow(digits)..10_u128.pow(digits + 1))
}

/// Prices that are far apart, or close to each other.
fn runs() -> impl Strategy<Value = Vec<u128>> {
    let close = (units(), prop::collection::vec(0_u128..100, 1..40));
    let close =
        close.prop_map(|(start, steps)| steps.iter().map(|step| (start + step).min(LARGEST)).collect());
    prop_oneof![prop::collection::vec(units(), 1..40), close]
}

fn price(units: u128) -> Price {
    let value = Decimal::from_i128_with_scale(i128::try_from(units).unwrap(), Price::MAX_DECIMALS);
    Price::new(value.normalize()).unwrap()
}

/// One tick every ten seconds.
fn summary(units: &[u128]) -> Summary {
    let interval: Interval = "10s".parse().unwrap();
    let ticks = units.iter().zip(1..).map(|(units, index)| {
        let slot = interval.slot(Timestamp::from_unix_millis(index * 10_000).unwrap()).unwrap();
        Summary::of(Point { slot, interval, price: price(*units), backfilled: false })
    });
    ticks.reduce(|one, other| one.merge(&other)).unwrap()
}

fn ten(power: u32) -> BigUint {
    BigUint::from(10_u8).pow(power)
}

/// The first number of decimal places, from 8 to 28, with which `floor` of the number has twelve digits.
fn places(floor: impl Fn(u32) -> BigUint) -> u32 {
    (8..28).find(|places| floor(*places) >= ten(11)).unwrap_or(28)
}

fn as_decimal(parts: &BigUint, places: u32) -> Decimal {
    Decimal::from_i128_with_scale(parts.to_string().parse().unwrap(), places)
}

/// An exact quotient, rounded.
fn quotient(dividend: &BigUint, divisor: &BigUint) -> Decimal {
    let places = places(|places| dividend * ten(places) / divisor);
    let scaled = dividend * ten(places);
    let (floor, twice) = (&scaled / divisor, &scaled % divisor * 2_u8);
    let up = twice > *divisor || (twice == *divisor && floor.bit(0));
    as_decimal(&(floor + u8::from(up)), places)
}

/// The square root of an exact quotient, rounded.
fn root(dividend: &BigUint, divisor: &BigUint) -> Decimal {
    let floor = |places: u32| (dividend * ten(2 * places) / divisor).sqrt();
    let places = places(floor);
    let floor = floor(places);
    let middle = (&floor * 2_u8 + 1_u8).pow(2) * divisor;
    let four = dividend * ten(2 * places) * 4_u8;
    let up = middle < four || (middle == four && floor.bit(0));
    as_decimal(&(floor + u8::from(up)), places)
}

/// Whether a number is not an invented zero and shows enough of its digits.
fn shows_digits(value: Decimal) -> bool {
    let digits = value.mantissa().unsigned_abs().to_string().len();
    !value.is_zero() && value.scale() >= 8 && (digits >= 12 || value.scale() == 28)
}

fn total(units: &[u128]) -> BigUint {
    units.iter().map(|units| BigUint::from(*units)).sum()
}

/// The moving average of the documentation, exact until it is rounded.
fn moving_average(units: &[u128], expected: u64) -> Decimal {
    let start = (BigInt::from(units[0]), BigInt::from(1));
    let (dividend, divisor) = units[1..].iter().fold(start, |(dividend, divisor), units| {
        let distance = BigInt::from(*units) * &divisor - &dividend;
        (dividend * (expected + 1) + distance * 2, divisor * (expected + 1))
    });
    quotient(dividend.magnitude(), &(divisor.magnitude() * ten(14)))
}

proptest! {
    #[test]
    fn means_are_exact_and_between_the_extremes(units in runs()) {
        let (low, high) = (price(*units.iter().min().unwrap()).decimal(), price(*units.iter().max().unwrap()).decimal());
        let summary = summary(&units);
        let mean = quotient(&total(&units), &(ten(14) * units.len()));
        // The ticks are equally far apart, so both means are the same.
        for found in [summary.mean(), summary.twap()] {
            prop_assert_eq!(found, mean.clamp(low, high));
            prop_assert!((low..=high).contains(&found) && shows_digits(found), "{found}");
        }
    }

    #[test]
    fn the_median_is_exact_and_between_the_extremes(units in runs()) {
        let mut sorted = units.clone();
        sorted.sort_unstable();
        let (lower, upper) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        let found = scan(&units, 100).median;
        let exact = quotient(&total(&[lower, upper]), &(ten(14) * 2_u8));
        prop_assert_eq!(found, exact.clamp(price(lower).decimal(), price(upper).decimal()));
        prop_assert!(shows_digits(found), "{found}");
    }

    #[test]
    fn the_moving_average_is_between_the_extremes_and_close_to_the_exact_one(units in runs(), expected in 1_u64..1_000) {
        let (low, high) = (price(*units.iter().min().unwrap()).decimal(), price(*units.iter().max().unwrap()).decimal());
        let found = scan(&units, expected).ema;
        prop_assert!((low..=high).contains(&found) && shows_digits(found), "{found}");
        let exact = moving_average(&units, expected).clamp(low, high);
        // Every step is rounded to a grain, 10⁻²⁶, which may change the last place.
        let grains = Decimal::from_i128_with_scale(i128::try_from(units.len()).unwrap(), 26);
        prop_assert!((found - exact).abs() <= Decimal::new(1, exact.scale()) + grains, "{found} and {exact}");
    }

    #[test]
    fn deviations_are_exact_and_zero_only_without_any(units in runs()) {
        let found = summary(&units).stddev();
        let count = BigUint::from(units.len());
        let squares: BigUint = units.iter().map(|units| BigUint::from(*units).pow(2)).sum();
        let variance = squares * &count - total(&units).pow(2);
        if variance == BigUint::from(0_u8) {
            prop_assert_eq!(found.to_string(), "0.00000000");
        } else {
            let exact = root(&variance, &(count.pow(2) * ten(28)));
            prop_assert_eq!(found.to_string(), exact.to_string());
            prop_assert!(shows_digits(found), "{found}");
        }
    }

    #[test]
    fn changes_are_exact_and_zero_only_without_any(from in units(), to in prop_oneof![units(), 0_u128..100], is_near: bool) {
        let to = if is_near { from.saturating_add(to % 100).min(LARGEST) } else { to.max(1) };
        let found = summary(&[from, to]).change_ratio();
        if to.abs_diff(from) / from >= 10_u128.pow(20) {
            prop_assert_eq!(found, None);
        } else if to == from {
            prop_assert_eq!(found.unwrap().to_string(), "0.00000000");
        } else {
            let exact = quotient(&BigUint::from(to.abs_diff(from)), &BigUint::from(from));
            let expected = if to < from { -exact } else { exact };
            prop_assert_eq!(found.unwrap().to_string(), expected.to_string());
            prop_assert!(shows_digits(expected), "{expected}");
        }
    }
}
