//! Exact fractions of prices and amounts, and rounding them.

use std::{fmt, str::FromStr};

use common::domain::Price;
use num_bigint::BigUint;
use rust_decimal::Decimal;

use super::Leg;
use crate::derived::{LEAST_DECIMALS, LEAST_DIGITS};

/// More zeros than a number can have between its decimal point and its first significant digit. The smallest amount is
/// 10⁻¹⁸ and the smallest price is 10⁻¹⁴, so an amount multiplied by two prices is at least 10⁻⁴⁶.
const MOST_ZEROS: u32 = 64;

/// An amount of an asset: above zero and below 10¹⁵, with at most 18 decimal places and 28 digits in all. Trailing
/// zeros are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount(Decimal);

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// The text is not made of digits with an optional decimal point.
    #[error("not a plain decimal number like 1.5")]
    NotDecimal,
    /// The amount is zero or negative.
    #[error("an amount must be above zero")]
    NotPositive,
    /// The amount is too large.
    #[error("an amount must be below 1000000000000000")]
    TooLarge,
    /// The amount has too many digits.
    #[error("an amount must have at most {} decimal places and 28 digits in all", Amount::MAX_DECIMALS)]
    TooPrecise,
}

impl Amount {
    /// One.
    pub const ONE: Self = Self(Decimal::ONE);
    /// The largest number of decimal places of an amount. No asset in wide use has more.
    const MAX_DECIMALS: u32 = 18;
    /// The largest number of digits before the decimal point.
    const MAX_WHOLE_DIGITS: usize = 15;
    /// 10¹⁵. Every amount is below this.
    const BOUND: Decimal = Decimal::from_parts(0xa4c6_8000, 0x3_8d7e, 0, false, 0);
}

impl FromStr for Amount {
    type Err = AmountError;

    /// Parses digits with an optional decimal point. Signs, exponents and separators are not allowed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        if !is_number(whole) || !is_number(part) {
            return Err(AmountError::NotDecimal);
        }
        if !sign.is_empty() {
            return Err(AmountError::NotPositive);
        }
        // A `Decimal` cannot have this many digits. There are too many either before the decimal point or after it.
        let unheld = |_| match whole.trim_start_matches('0').len() > Self::MAX_WHOLE_DIGITS {
            true => AmountError::TooLarge,
            false => AmountError::TooPrecise,
        };
        let value = Decimal::from_str_exact(text).map_err(unheld)?;
        if value.is_zero() {
            Err(AmountError::NotPositive)
        } else if value >= Self::BOUND {
            Err(AmountError::TooLarge)
        } else if value.scale() > Self::MAX_DECIMALS {
            Err(AmountError::TooPrecise)
        } else {
            Ok(Self(value))
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// An exact, positive number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fraction {
    dividend: BigUint,
    divisor: BigUint,
}

impl Fraction {
    /// The rate along these legs: what one unit of the first asset is worth in the last asset.
    pub fn of(legs: &[Leg]) -> Self {
        let one = Self { dividend: BigUint::from(1_u8), divisor: BigUint::from(1_u8) };
        legs.iter().fold(one, |rate, leg| {
            let (units, unit) = (BigUint::from(leg.price.units()), power(Price::MAX_DECIMALS));
            match leg.step.inverted {
                true => rate.times(unit, units),
                false => rate.times(units, unit),
            }
        })
    }

    /// The rate multiplied by an amount.
    #[must_use]
    pub fn amount(self, amount: Amount) -> Self {
        self.times(BigUint::from(amount.0.mantissa().unsigned_abs()), power(amount.0.scale()))
    }

    fn times(self, dividend: BigUint, divisor: BigUint) -> Self {
        Self { dividend: self.dividend * dividend, divisor: self.divisor * divisor }
    }

    /// The number rounded half-even by the rule of [`crate::derived`]: to eight decimal places, or to as many more as it
    /// takes to show twelve significant digits. Unlike a [`Decimal`], it may have any number of places.
    pub fn rounded(&self) -> Rounded {
        // The number in units of 10⁻⁶⁴. It has enough digits to find the first significant one.
        let long = (&self.dividend * power(MOST_ZEROS) / &self.divisor).to_string();
        let whole_digits = i64::try_from(long.len()).unwrap_or(0) - i64::from(MOST_ZEROS);
        let places = (i64::from(LEAST_DIGITS) - whole_digits).max(i64::from(LEAST_DECIMALS));
        let places = u32::try_from(places).unwrap_or(MOST_ZEROS);
        let scaled = &self.dividend * power(places);
        let (whole, rest) = (&scaled / &self.divisor, &scaled % &self.divisor);
        let twice = rest * 2_u8;
        let up = twice > self.divisor || (twice == self.divisor && whole.bit(0));
        let digits = (whole + u8::from(up)).to_string();
        let places = usize::try_from(places).unwrap_or(0);
        // Pad with zeros, so that there is at least one digit before the decimal point.
        let padded = format!("{digits:0>width$}", width = places + 1);
        let (whole, part) = padded.split_at(padded.len().saturating_sub(places));
        Rounded(format!("{whole}.{part}"))
    }
}

fn power(tens: u32) -> BigUint {
    BigUint::from(10_u8).pow(tens)
}

/// A rounded number in decimal notation. It may have more digits than a [`Decimal`] can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rounded(String);

/// Why a text is not a rounded number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a number with digits on both sides of a decimal point")]
pub struct RoundedError;

impl FromStr for Rounded {
    type Err = RoundedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (whole, part) = text.split_once('.').ok_or(RoundedError)?;
        (is_number(whole) && is_number(part)).then(|| Self(text.to_owned())).ok_or(RoundedError)
    }
}

impl fmt::Display for Rounded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
