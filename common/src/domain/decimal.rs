//! Decimals are written as text, and read from it.

use std::fmt;

use rust_decimal::Decimal;

/// The length of the longest text that is written here: a sign, 28 decimal places, a point, and a zero before it.
const MAX_BYTES: usize = 31;

/// Displays a decimal with all of its digits, as [`Decimal`] itself does. It takes a fraction of the time, because
/// nearly all numbers fit in 64 bits without their point.
#[derive(Debug, Clone, Copy)]
pub struct Digits(pub Decimal);

impl fmt::Display for Digits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value) = self;
        let is_formatted =
            formatter.width().is_some() || formatter.precision().is_some() || formatter.sign_plus();
        let (Ok(mut rest), false) = (u64::try_from(value.mantissa().unsigned_abs()), is_formatted) else {
            return value.fmt(formatter);
        };
        let (mut text, mut start) = ([0; MAX_BYTES], MAX_BYTES);
        let mut put_before = |byte| {
            start = start.saturating_sub(1);
            if let Some(place) = text.get_mut(start) {
                *place = byte;
            }
        };
        let (places, mut digits) = (value.scale(), 0);
        while rest > 0 || digits <= places {
            if digits == places && places > 0 {
                put_before(b'.');
            }
            put_before(b'0' + u8::try_from(rest % 10).unwrap_or_default());
            (rest, digits) = (rest / 10, digits + 1);
        }
        if value.is_sign_negative() {
            put_before(b'-');
        }
        formatter.write_str(str::from_utf8(text.get(start..).unwrap_or_default()).unwrap_or_default())
    }
}

/// The largest number of digits that always fit into 64 bits with room for a sign.
const MOST_PLAIN_DIGITS: usize = 18;

/// The digits of a decimal number, and how many of them are decimal places. `None` if it has no digits, more than
/// [`MOST_PLAIN_DIGITS`], or anything else than digits and a decimal point between two of them. Reading a [`Decimal`]
/// takes several times as long.
pub(super) fn read_plain(text: &str) -> Option<(u64, u32)> {
    let point = text.bytes().position(|byte| byte == b'.');
    let (whole, decimals) = match point {
        None => (text, ""),
        Some(point) => (text.get(..point)?, text.get(point + 1..)?),
    };
    let is_complete = !whole.is_empty() && point.is_some() != decimals.is_empty();
    if !is_complete || whole.len() + decimals.len() > MOST_PLAIN_DIGITS {
        return None;
    }
    let add = |number: u64, digit: u8| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'));
    let digits = decimals.bytes().try_fold(whole.bytes().try_fold(0, add)?, add)?;
    Some((digits, u32::try_from(decimals.len()).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_shortest_and_longest_decimals_look_as_they_do_without_this() {
        for text in
            ["0", "0.00", "-0.00", "7", "-7", "0.7", "10", "18446744073709551615", "18446744073709551616"]
        {
            let value: Decimal = text.parse().unwrap();
            assert_eq!(Digits(value).to_string(), value.to_string());
        }
        let smallest = Decimal::from_i128_with_scale(-1, 28);
        assert_eq!(Digits(smallest).to_string(), "-0.0000000000000000000000000001");
        assert_eq!(Digits(Decimal::MAX).to_string(), Decimal::MAX.to_string());
        assert_eq!(format!("{:>9.3}|{:+}", Digits(Decimal::TEN), Digits(Decimal::TEN)), "   10.000|+10");
    }

    proptest! {
        #[test]
        fn a_decimal_looks_as_it_does_without_this(
            mantissa in prop_oneof![any::<i64>().prop_map(i128::from), -(1_i128 << 96) + 1..1_i128 << 96],
            scale in 0_u32..=28,
        ) {
            let value = Decimal::from_i128_with_scale(mantissa, scale);
            prop_assert_eq!(Digits(value).to_string(), value.to_string());
        }
    }
}
