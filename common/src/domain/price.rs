//! Prices, as exact decimals that keep their trailing zeros.

use std::{fmt, str::FromStr};

use rust_decimal::Decimal;

use super::decimal::{Digits, read_plain};

/// An exact, positive price below 10¹², with at most 14 decimal places.
///
/// Trailing zeros are kept: `97012.30` is displayed as `97012.30`. It still compares as equal to `97012.3`.
///
/// With these limits, all computations with prices are exact: in units of 10⁻¹⁴, a price has at most 87 bits, so the
/// sums of any window fit in the integers that `ledger::summary` uses. Prices from sources may have at most
/// [`Price::MAX_QUOTED_DECIMALS`] places, because the midpoint of two prices may need one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(Decimal);

/// Why a number is not a valid price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The text is not made of digits with an optional decimal point.
    #[error("not a plain decimal number")]
    NotDecimal,
    /// The number is zero or negative.
    #[error("a price must be above zero")]
    NotPositive,
    /// The number is 10¹² or larger.
    #[error("a price must be below 1000000000000")]
    TooLarge,
    /// The number has more than [`Price::MAX_DECIMALS`] decimal places, or it is the price of a source and has more
    /// than [`Price::MAX_QUOTED_DECIMALS`].
    #[error(
        "a price can have at most {} decimal places, and at most {} if it comes from a source",
        Price::MAX_DECIMALS,
        Price::MAX_QUOTED_DECIMALS
    )]
    TooPrecise,
}

impl Price {
    /// The largest number of decimal places of a price.
    pub const MAX_DECIMALS: u32 = 14;
    /// The largest number of decimal places of a source's price. Two more places are left: one for the
    /// exact midpoint of bid and ask, and one for the exact midpoint of two of those.
    pub const MAX_QUOTED_DECIMALS: u32 = 12;
    /// 10¹². Every price is below this.
    const BOUND: u64 = 1_000_000_000_000;

    /// Creates a price from a decimal. Trailing zeros are kept.
    pub fn new(value: Decimal) -> Result<Self, PriceError> {
        if value <= Decimal::ZERO {
            Err(PriceError::NotPositive)
        } else if value >= Decimal::from(Self::BOUND) {
            Err(PriceError::TooLarge)
        } else if value.scale() > Self::MAX_DECIMALS {
            Err(PriceError::TooPrecise)
        } else {
            Ok(Self(value))
        }
    }

    /// The price with these digits and decimal places. `None` if it is invalid.
    fn of_digits(digits: u64, places: u32) -> Option<Self> {
        let whole = digits / 10_u64.checked_pow(places)?;
        let value = Decimal::try_from_i128_with_scale(digits.into(), places).ok()?;
        (digits > 0 && whole < Self::BOUND && places <= Self::MAX_DECIMALS).then_some(Self(value))
    }

    /// The exact value, including trailing zeros.
    pub fn decimal(self) -> Decimal {
        self.0
    }

    /// The exact price in units of 10⁻¹⁴, which is below 10²⁶.
    pub fn units(self) -> u128 {
        let places = Self::MAX_DECIMALS.saturating_sub(self.0.scale());
        self.0.mantissa().unsigned_abs() * 10_u128.pow(places)
    }

    /// The midpoint of two prices, with at most one more decimal place than the more precise one has.
    ///
    /// It is exact if both prices have at most [`Price::MAX_QUOTED_DECIMALS`] places, as sources' prices do. Otherwise
    /// it is rounded half to even at the last place.
    #[must_use]
    pub fn midpoint(self, other: Self) -> Self {
        let scale = self.0.scale().max(other.0.scale());
        let sum = self.mantissa_at(scale) + other.mantissa_at(scale);
        let (mantissa, scale) = if sum % 2 == 0 {
            (sum / 2, scale)
        } else if scale < Self::MAX_DECIMALS {
            (sum * 5, scale + 1)
        } else {
            // The midpoint lies between two numbers with `scale` places. Round half to even: take the even one.
            (sum / 2 + (sum / 2) % 2, scale)
        };
        // Cannot fail: a value below 10¹² with 14 places fits in a decimal.
        Self(Decimal::try_from_i128_with_scale(mantissa, scale).unwrap_or(self.0))
    }

    /// The price in units of 10^(−scale). `scale` must be at least the price's own scale.
    fn mantissa_at(self, scale: u32) -> i128 {
        self.0.mantissa() * 10_i128.pow(scale.saturating_sub(self.0.scale()))
    }
}

impl FromStr for Price {
    type Err = PriceError;

    /// Parses digits with an optional decimal point. Signs, exponents and separators are not allowed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(price) = read_plain(text).and_then(|(digits, places)| Self::of_digits(digits, places)) {
            return Ok(price);
        }
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            && text.starts_with(|first: char| first.is_ascii_digit())
            && text.ends_with(|last: char| last.is_ascii_digit());
        if !plain {
            return Err(PriceError::NotDecimal);
        }
        let value = Decimal::from_str_exact(text).map_err(|error| match error {
            rust_decimal::Error::Underflow | rust_decimal::Error::ScaleExceedsMaximumPrecision(_) => {
                PriceError::TooPrecise
            }
            rust_decimal::Error::ExceedsMaximumPossibleValue => PriceError::TooLarge,
            _ => PriceError::NotDecimal,
        })?;
        Self::new(value)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Digits(self.0).fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(text: &str) -> Price {
        text.parse().unwrap()
    }

    #[test]
    fn digits_are_kept() {
        for text in ["97012.30", "97012.3", "1", "0.00000000000001", "999999999999.99999999999999"] {
            assert_eq!(price(text).to_string(), text);
        }
        assert_eq!(price("97012.30"), price("97012.3"));
    }

    #[test]
    fn invalid_prices_are_rejected() {
        for (text, expected) in [
            ("0", PriceError::NotPositive),
            ("0.00", PriceError::NotPositive),
            ("-1", PriceError::NotDecimal),
            ("+1", PriceError::NotDecimal),
            ("1e3", PriceError::NotDecimal),
            ("1_000", PriceError::NotDecimal),
            ("NaN", PriceError::NotDecimal),
            ("", PriceError::NotDecimal),
            (".5", PriceError::NotDecimal),
            ("5.", PriceError::NotDecimal),
            ("1.2.3", PriceError::NotDecimal),
            ("1000000000000", PriceError::TooLarge),
            ("0.000000000000001", PriceError::TooPrecise),
        ] {
            assert_eq!(text.parse::<Price>(), Err(expected), "{text}");
        }
        // Numbers that do not fit in a `Decimal` are rejected too. Which error they cause does not matter.
        for text in ["99999999999999999999999999999999999", "1.00000000000000000000000000000000000001"] {
            assert!(text.parse::<Price>().is_err(), "{text}");
        }
    }

    #[test]
    fn midpoints_keep_digits() {
        assert_eq!(price("1.20").midpoint(price("1.40")).to_string(), "1.30");
        assert_eq!(price("1.2").midpoint(price("1.3")).to_string(), "1.25");
        assert_eq!(price("97012.30").midpoint(price("97012.31")).to_string(), "97012.305");
    }

    prop_compose! {
        fn quoted()(mantissa in 1_i128..10_i128.pow(24), scale in 0_u32..=12) -> Option<Price> {
            Decimal::try_from_i128_with_scale(mantissa, scale).ok().and_then(|value| Price::new(value).ok())
        }
    }

    proptest! {
        #[test]
        fn midpoints_of_quoted_prices_are_exact(a in quoted(), b in quoted()) {
            if let (Some(a), Some(b)) = (a, b) {
                prop_assert_eq!(a.midpoint(b).units() * 2, a.units() + b.units());
            }
        }

        #[test]
        fn text_round_trips(a in quoted()) {
            if let Some(a) = a {
                prop_assert_eq!(price(&a.to_string()).to_string(), a.to_string());
            }
        }

        #[test]
        fn prices_are_read_as_decimals_are(text in "[0-9]{0,14}(\\.[0-9]{0,16})?[.x]?") {
            let plain = !text.starts_with('.') && !text.ends_with('.');
            let decimal = Decimal::from_str_exact(&text).ok().filter(|_| plain);
            let expected = decimal.and_then(|decimal| Price::new(decimal).ok());
            let read = text.parse::<Price>().ok();
            prop_assert_eq!(read, expected);
            prop_assert_eq!(read.map(|price| price.to_string()), expected.map(|price| price.to_string()));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC*") {
            let _ = text.parse::<Price>();
        }
    }
}
