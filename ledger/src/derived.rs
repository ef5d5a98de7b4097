//! Derived numbers: exact quotients, rounded once.
//!
//! A derived number has at least eight decimal places, and as many more as it takes to show twelve significant digits.
//! With a fixed number of places, the mean of prices such as 0.0000000042 would be zero, which is an invented number.

use common::domain::Price;
use rust_decimal::Decimal;

/// The least number of decimal places of a derived number.
pub const LEAST_DECIMALS: u32 = 8;

/// The least number of significant digits of a derived number.
pub(crate) const LEAST_DIGITS: u32 = 12;

/// The most decimal places that a [`Decimal`] can hold.
pub(crate) const MOST_DECIMALS: u32 = Decimal::MAX_SCALE;

/// `dividend / divisor` in units of 10⁻ˢᶜᵃˡᵉ, rounded half to even. The quotient must be below 10²⁰, and the divisor above
/// zero.
pub(crate) fn quotient(dividend: u128, divisor: u128, scale: u32) -> Decimal {
    let mut places = places(dividend, divisor, scale);
    loop {
        if let Some(parts) = parts(dividend, divisor, scale, places) {
            return decimal(parts, places);
        }
        // The last digits of an extreme number are given up before the computation overflows.
        places = places.saturating_sub(1);
        if places < LEAST_DECIMALS {
            return Decimal::MAX;
        }
    }
}

/// A sum of price units divided by a count or a weight.
pub(crate) fn mean_of_units(units: u128, divisor: u128) -> Decimal {
    quotient(units, divisor, Price::MAX_DECIMALS)
}

/// A whole number of parts of 10⁻ᵖˡᵃᶜᵉˢ.
pub(crate) fn decimal(parts: u128, places: u32) -> Decimal {
    let parts = i128::try_from(parts).unwrap_or(i128::MAX);
    Decimal::try_from_i128_with_scale(parts, places).unwrap_or(Decimal::MAX)
}

/// How many decimal places a quotient is rounded to.
fn places(dividend: u128, divisor: u128, scale: u32) -> u32 {
    if dividend == 0 {
        return LEAST_DECIMALS;
    }
    // The number of digits before the point of the quotient: 3 for 123.4, 0 for 0.5, and −1 for 0.05.
    let digits_before_point = match dividend / divisor {
        // The divisor is the larger one, so the quotient is 10⁻ᵏ or more if `divisor` is at most `dividend` × 10ᵏ.
        0 => 1 - i64::from(digits((divisor - 1) / dividend)),
        whole => i64::from(digits(whole)),
    };
    places_of(digits_before_point - i64::from(scale))
}

/// How many decimal places a number is rounded to: at least eight, and as many more as it takes to show twelve significant
/// digits. `digits_before_point` is 3 for 123.4, 0 for 0.5, and −1 for 0.05.
pub(crate) fn places_of(digits_before_point: i64) -> u32 {
    let places = i64::from(LEAST_DIGITS).saturating_sub(digits_before_point);
    u32::try_from(places).unwrap_or(0).clamp(LEAST_DECIMALS, MOST_DECIMALS)
}

/// How many decimal digits a number above zero has.
pub(crate) fn digits(number: u128) -> u32 {
    number.checked_ilog10().map_or(1, |power| power + 1)
}

/// The quotient in parts of 10⁻ᵖˡᵃᶜᵉˢ. `None` if the computation does not fit.
fn parts(dividend: u128, divisor: u128, scale: u32, places: u32) -> Option<u128> {
    let power = 10_u128.checked_pow(places.abs_diff(scale))?;
    match places >= scale {
        true => Some(half_even(dividend.checked_mul(power)?, divisor)),
        false => Some(half_even(dividend, divisor.checked_mul(power)?)),
    }
}

/// A quotient, rounded half to even.
pub(crate) fn half_even(dividend: u128, divisor: u128) -> u128 {
    let (whole, rest) = (dividend / divisor, dividend % divisor);
    // Compares without doubling, which could overflow.
    let up = match rest.cmp(&(divisor - rest)) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => whole % 2 == 1,
        std::cmp::Ordering::Greater => true,
    };
    whole + u128::from(up)
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use proptest::prelude::*;

    use super::*;

    fn ten(power: u32) -> BigInt {
        BigInt::from(10).pow(power)
    }

    #[test]
    fn small_numbers_have_twelve_significant_digits_and_large_ones_eight_places() {
        for (dividend, divisor, scale, expected) in [
            (0, 7, 14, "0.00000000"),
            (1, 3, 0, "0.333333333333"),
            (1, 30, 0, "0.0333333333333"),
            (2, 3, 14, "0.00000000000000666666666667"),
            (420_000, 1, 14, "0.00000000420000000000"),
            // At and next to powers of ten.
            (1, 10, 0, "0.100000000000"),
            (1, 1, 0, "1.00000000000"),
            (99, 1_000, 0, "0.0990000000000"),
            (101, 1_000, 0, "0.101000000000"),
            (9_999, 1, 0, "9999.00000000"),
            (999_999, 100, 0, "9999.99000000"),
            // Rounding up nines adds a digit.
            (10_u128.pow(13) - 1, 10_u128.pow(13), 0, "1.000000000000"),
            // The last digits of extremely small numbers are lost.
            (123_456, 10_u128.pow(26), 0, "0.0000000000000000000012345600"),
            (1, 10_u128.pow(26), 0, "0.0000000000000000000000000100"),
            (97_012_305, 10, 2, "97012.30500000"),
            (10_u128.pow(26) - 1, 1, 14, "1000000000000.00000000"),
            (1, 2 * 10_u128.pow(8), 0, "0.00000000500000000000"),
        ] {
            assert_eq!(quotient(dividend, divisor, scale).to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_quotient_is_within_half_of_its_last_place(
            dividend in prop_oneof![1_u128..1_000, 1..=10_u128.pow(26)],
            divisor in prop_oneof![1_u128..10, 1..=10_u128.pow(11)],
            scale in prop_oneof![Just(0_u32), Just(8), Just(Price::MAX_DECIMALS)],
        ) {
            prop_assume!(dividend / divisor / 10_u128.pow(scale) < 10_u128.pow(18));
            let rounded = quotient(dividend, divisor, scale);
            let divisor = BigInt::from(divisor) * ten(scale);
            let error = BigInt::from(rounded.mantissa()) * &divisor - BigInt::from(dividend) * ten(rounded.scale());
            prop_assert!(BigInt::from(error.magnitude() * 2_u8) <= divisor);
            prop_assert!(rounded.scale() >= LEAST_DECIMALS);
            let significant = rounded.mantissa().to_string().len();
            // Rounding up nines adds a digit.
            let exact = significant == 12 || rounded.mantissa() == 10_i128.pow(12);
            let (least, most) = (rounded.scale() == 8 && significant > 12, rounded.scale() == 28 && significant < 12);
            prop_assert!(exact || least || most, "{rounded}");
        }
    }
}
