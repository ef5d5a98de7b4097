//! Rounding at the limits, compared with long division by hand.

use common::domain::{Interval, Sequence, Timestamp};
use proptest::prelude::*;

use super::{super::Step, *};

fn leg(price: &str, inverted: bool) -> Leg {
    let interval: Interval = "10s".parse().unwrap();
    let (step, slot) =
        (Step { pair: "ETH-USD".parse().unwrap(), inverted }, interval.slot_at(Timestamp::EPOCH));
    Leg { step, price: price.parse().unwrap(), slot, sequence: Sequence(1) }
}

fn converted(legs: &[(&str, bool)], amount: &str) -> String {
    let legs: Vec<Leg> = legs.iter().map(|(price, inverted)| leg(price, *inverted)).collect();
    Fraction::of(&legs).amount(amount.parse().unwrap()).rounded().to_string()
}

#[test]
fn numbers_have_eight_places_or_twelve_digits() {
    for (legs, amount, expected) in [
        ([("97012.30", false)].as_slice(), "1", "97012.30000000"),
        (&[("97012.30", false)], "1.50", "145518.45000000"),
        // 1 / 97012.30 = 0.0000103079712572529462…
        (&[("97012.30", true)], "1", "0.0000103079712573"),
        (&[("3", true)], "1", "0.333333333333"),
        (&[("3", true)], "2", "0.666666666667"),
        (&[("3", true)], "10", "3.33333333333"),
        (&[("3", true)], "100000", "33333.33333333"),
        // Halves are rounded to an even digit.
        (&[("1", false)], "1000.000000005", "1000.00000000"),
        (&[("1", false)], "1000.000000015", "1000.00000002"),
        (&[("1", false)], "1000.000000015000000001", "1000.00000002"),
        // Rounding up nines adds a digit.
        (&[("1", false)], "0.9999999999999", "1.000000000000"),
        (&[("3400.1", false), ("97012.30", true)], "1.5", "0.0525721996077"),
        (
            &[("0.00000000000001", true), ("0.00000000000001", true)],
            "999999999999999",
            "9999999999999990000000000000000000000000000.00000000",
        ),
        (
            &[("999999999999", true), ("999999999999", true)],
            "0.000000000000000001",
            "0.00000000000000000000000000000000000000000100000000000",
        ),
        (
            &[("0.00000000000001", false), ("0.00000000000001", false)],
            "0.000000000000000001",
            "0.000000000000000000000000000000000000000000000100000000000",
        ),
    ] {
        assert_eq!(converted(legs, amount), expected, "{legs:?} × {amount}");
    }
}

#[test]
fn amounts_have_bounds() {
    for text in
        ["1", "1.50", "0.000000000000000001", "999999999999999", "999999999999999.9999999999999", "007"]
    {
        assert!(text.parse::<Amount>().is_ok(), "{text}");
    }
    assert_eq!("1.50".parse::<Amount>().unwrap().to_string(), "1.50");
    for (text, expected) in [
        ("0", AmountError::NotPositive),
        ("0.0", AmountError::NotPositive),
        ("-1", AmountError::NotPositive),
        ("-0.5", AmountError::NotPositive),
        ("-", AmountError::NotDecimal),
        ("--1", AmountError::NotDecimal),
        ("+1", AmountError::NotDecimal),
        ("1e3", AmountError::NotDecimal),
        ("1_000", AmountError::NotDecimal),
        (".5", AmountError::NotDecimal),
        ("5.", AmountError::NotDecimal),
        ("1.2.3", AmountError::NotDecimal),
        ("", AmountError::NotDecimal),
        ("1000000000000000", AmountError::TooLarge),
        ("99999999999999999999999999999999", AmountError::TooLarge),
        ("0.0000000000000000001", AmountError::TooPrecise),
        ("0.00000000000000000000000000000000001", AmountError::TooPrecise),
        ("123456789012.123456789012345678", AmountError::TooPrecise),
    ] {
        assert_eq!(text.parse::<Amount>(), Err(expected), "{text}");
    }
}

proptest! {
    /// The rounded number differs from the fraction by at most half of its last place.
    #[test]
    fn rounding_is_off_by_at_most_half_of_the_last_place(
        one in 1_u64.., other in 1_u64.., scales in (0_u32..=14, 0_u32..=14), inverted: (bool, bool), amount in 1_u64..,
        places in 4_u32..=18,
    ) {
        let price = |mantissa: u64, scale: u32| {
            Price::new(Decimal::from_i128_with_scale((mantissa % 1_000_000_000_000).max(1).into(), scale)).unwrap()
        };
        let legs = [(price(one, scales.0), inverted.0), (price(other, scales.1), inverted.1)];
        let legs = legs.map(|(price, inverted)| leg(&price.to_string(), inverted));
        let amount = Amount(Decimal::from_i128_with_scale((amount % 10_u64.pow(18)).max(1).into(), places));
        let exact = Fraction::of(&legs).amount(amount);
        let text = exact.rounded().to_string();
        let (whole, part) = text.split_once('.').unwrap();
        let digits = format!("{whole}{part}");
        let significant = digits.trim_start_matches('0').len();
        prop_assert!(part.len() == 8 && significant >= 12 || part.len() > 8 && [12, 13].contains(&significant), "{text}");
        let rounded = digits.parse::<BigUint>().unwrap() * &exact.divisor;
        let scaled = &exact.dividend * power(u32::try_from(part.len()).unwrap());
        let apart = if rounded > scaled { rounded - scaled } else { scaled - rounded };
        prop_assert!(apart * 2_u8 <= exact.divisor, "{text}");
        prop_assert_eq!(text.parse::<Rounded>().unwrap().to_string(), text);
    }
}
