//! Prices and times from the text of JSON values.

use common::domain::{Failure, Price, Timestamp};
use serde_json::value::RawValue;

/// Prices lie between 10⁻¹² and 10¹², so a price never needs a larger exponent. The limit bounds how many zeros are
/// written out.
const MAX_EXPONENT: i32 = 40;

/// Parses a price. A price with more than [`Price::MAX_QUOTED_DECIMALS`] decimal places is invalid, because the midpoint
/// of two such prices might not be exact.
fn price(text: &str) -> Result<Price, Failure> {
    // No exchange writes leading zeros. A price that has them is damaged.
    if text.starts_with('0') && text.as_bytes().get(1).is_some_and(u8::is_ascii_digit) {
        return Err(Failure::Invalid);
    }
    let price: Price = text.parse().map_err(|_| Failure::Invalid)?;
    if price.decimal().scale() > Price::MAX_QUOTED_DECIMALS { Err(Failure::Invalid) } else { Ok(price) }
}

/// The text of a JSON string or number, unchanged.
fn text_of(value: &RawValue) -> Result<String, Failure> {
    let raw = value.get();
    if raw.starts_with('"') {
        serde_json::from_str(raw).map_err(|_| Failure::Malformed)
    } else if is_number(raw) {
        Ok(raw.to_owned())
    } else {
        Err(Failure::Invalid)
    }
}

fn is_number(raw: &str) -> bool {
    raw.starts_with(|first: char| first.is_ascii_digit() || first == '-')
}

/// The price in a JSON string, or in a JSON number without an exponent.
pub fn price_of(value: Option<&RawValue>) -> Result<Price, Failure> {
    price(&text_of(value.ok_or(Failure::Malformed)?)?)
}

/// A price of the last trade, read by [`price_of`] or [`price_of_number`]. Null and zero mean that there was no trade yet.
pub fn if_traded<'a>(
    value: Option<&'a RawValue>,
    read: impl FnOnce(Option<&'a RawValue>) -> Result<Price, Failure>,
) -> Result<Option<Price>, Failure> {
    if value.is_some_and(is_nothing) { Ok(None) } else { read(value).map(Some) }
}

/// Whether a value is null or zero, as a string or as a number.
fn is_nothing(value: &RawValue) -> bool {
    let text = value.get().trim_matches('"');
    text == "null" || (text.contains('0') && text.bytes().all(|byte| matches!(byte, b'0' | b'.')))
}

/// The price in a JSON number, which may have an exponent. Strings are refused. A price with more digits than
/// [`Price`] can hold is refused rather than rounded.
pub fn price_of_number(value: Option<&RawValue>) -> Result<Price, Failure> {
    let raw = value.ok_or(Failure::Malformed)?.get();
    if !is_number(raw) {
        return Err(Failure::Invalid);
    }
    price(&plain(raw).ok_or(Failure::Invalid)?)
}

/// A number written without its exponent, exactly: `1e-08` becomes `0.00000001`. None if the exponent is too
/// large.
fn plain(number: &str) -> Option<String> {
    let Some((mantissa, exponent)) = number.split_once(['e', 'E']) else { return Some(number.to_owned()) };
    let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.abs() <= MAX_EXPONENT)?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    // The number of digits before the decimal point.
    let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let Ok(point) = usize::try_from(point) else {
        let zeros = usize::try_from(point.unsigned_abs()).ok()?;
        return Some(format!("0.{}{digits}", "0".repeat(zeros)));
    };
    if point >= digits.len() {
        let text = format!("{digits}{}", "0".repeat(point - digits.len()));
        return Some(without_leading_zeros(&text).to_owned());
    }
    let (whole, fraction) = digits.split_at_checked(point)?;
    Some(format!("{}.{fraction}", without_leading_zeros(whole)))
}

fn without_leading_zeros(digits: &str) -> &str {
    match digits.trim_start_matches('0') {
        "" => "0",
        trimmed => trimmed,
    }
}

/// The time in a JSON string or number of whole Unix seconds.
pub fn seconds_of(value: Option<&RawValue>) -> Result<Timestamp, Failure> {
    let text = text_of(value.ok_or(Failure::Malformed)?)?;
    let seconds: i64 = text.parse().map_err(|_| Failure::Invalid)?;
    let millis = seconds.checked_mul(1_000).ok_or(Failure::Invalid)?;
    Timestamp::from_unix_millis(millis).map_err(|_| Failure::Invalid)
}

/// The time in a JSON number of Unix milliseconds.
pub fn millis_of(value: Option<&RawValue>) -> Result<Timestamp, Failure> {
    let millis: i64 = value.ok_or(Failure::Malformed)?.get().parse().map_err(|_| Failure::Invalid)?;
    Timestamp::from_unix_millis(millis).map_err(|_| Failure::Invalid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(raw: &str) -> Result<String, Failure> {
        let value: Box<RawValue> = serde_json::from_str(raw).unwrap();
        price_of_number(Some(&value)).map(|price| price.to_string())
    }

    #[test]
    fn exponents_become_plain_digits() {
        for (raw, expected) in [
            ("7381.2", "7381.2"),
            ("182.54699277", "182.54699277"),
            ("1e-08", "0.00000001"),
            ("1.5E-7", "0.00000015"),
            ("12.34e-1", "1.234"),
            ("0.0012e2", "0.12"),
            ("0.5e1", "5"),
            ("7.3812e3", "7381.2"),
            ("7.3812e+5", "738120"),
            ("1e0", "1"),
            ("12.50e1", "125.0"),
        ] {
            assert_eq!(number(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn numbers_that_a_price_cannot_hold_are_invalid_and_not_rounded() {
        for raw in [
            "0",
            "0e5",
            "-1",
            "-1e-8",
            "1e-13",
            "1.0000000000001",
            "1e12",
            "1e400",
            "1e-400",
            "1e99999999999",
            "9e2147483647",
            "\"1.5\"",
            "null",
            "[]",
            "true",
        ] {
            assert_eq!(number(raw), Err(Failure::Invalid), "{raw}");
        }
    }

    #[test]
    fn leading_zeros_are_refused() {
        for (text, is_price) in [("012.30", false), ("00.5", false), ("0.5", true), ("12.30", true)] {
            let value: Box<RawValue> = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(price_of(Some(&value)).is_ok(), is_price, "{text}");
        }
    }

    #[test]
    fn null_and_zero_mean_that_there_was_no_trade() {
        let traded = |raw: &str| {
            let value: Box<RawValue> = serde_json::from_str(raw).unwrap();
            if_traded(Some(&value), price_of).map(|price| price.map(|price| price.to_string()))
        };
        for raw in ["null", "0", "0.00", r#""0""#, r#""0.00000000""#] {
            assert_eq!(traded(raw), Ok(None), "{raw}");
        }
        for raw in [r#""""#, r#"".""#, r#""-0""#, "-1", "[]", "[[0]]", "{}", "true", "1e5", r#""nothing""#] {
            assert_eq!(traded(raw), Err(Failure::Invalid), "{raw}");
        }
        assert_eq!(traded(r#""97012.30""#), Ok(Some("97012.30".to_owned())));
        assert_eq!(traded("10"), Ok(Some("10".to_owned())));
        assert_eq!(if_traded(None, price_of), Err(Failure::Malformed));
    }

    proptest! {
        #[test]
        fn an_exponent_moves_the_point_and_nothing_else(mantissa in 1_u64..1_000_000_000, exponent in -12_i32..=2) {
            let expected = rust_decimal::Decimal::from(mantissa) * if exponent < 0 {
                rust_decimal::Decimal::new(1, exponent.unsigned_abs())
            } else {
                rust_decimal::Decimal::from(10_u64.pow(exponent.unsigned_abs()))
            };
            let read: rust_decimal::Decimal = number(&format!("{mantissa}e{exponent}")).unwrap().parse().unwrap();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn numbers_never_panic(raw in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][-+]?[0-9]{1,12})?") {
            let _ = number(&raw);
        }
    }
}
