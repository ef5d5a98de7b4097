//! Ratios, which say how far two prices are apart.

use std::{fmt, str::FromStr};

use rust_decimal::Decimal;

use super::{Price, decimal::read_plain};

/// How far two prices are apart, relative to a price: never negative, stored in units of 10⁻⁸.
///
/// It is written as a fraction (`0.02`). Settings also accept a percentage (`2%`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio {
    parts: u64,
}

/// The text is not a valid ratio.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid ratio; use a fraction like 0.02 with at most 8 decimal places, or a percentage like 2% with \
     at most 6"
)]
pub struct RatioError(String);

impl Ratio {
    /// The number of decimal places of a ratio.
    pub const DECIMALS: u32 = 8;
    /// The ratio 1 in units of 10⁻⁸.
    const ONE: u64 = 100_000_000;

    /// The distance between two prices divided by `base`, rounded half to even at the 8th decimal place.
    pub fn distance(low: Price, high: Price, base: Price) -> Self {
        let (distance, base) = (high.units().abs_diff(low.units()), base.units());
        // `distance` is below 2⁸⁷ and `ONE` is below 2²⁷, so the product fits in a `u128`.
        let scaled = distance * u128::from(Self::ONE);
        let (quotient, remainder) = (scaled / base, scaled % base);
        let round_up = remainder * 2 > base || (remainder * 2 == base && quotient % 2 == 1);
        Self { parts: u64::try_from(quotient + u128::from(round_up)).unwrap_or(u64::MAX) }
    }

    /// Whether two prices are at most this ratio times `base` apart. The comparison is exact.
    pub fn admits(self, one: Price, other: Price, base: Price) -> bool {
        let apart = one.units().abs_diff(other.units()) * u128::from(Self::ONE);
        apart <= base.units().saturating_mul(u128::from(self.parts))
    }

    /// The exact value, without trailing zeros.
    pub fn decimal(self) -> Decimal {
        Decimal::from_i128_with_scale(i128::from(self.parts), Self::DECIMALS).normalize()
    }

    /// A tenth of the ratio, rounded down.
    #[must_use]
    pub fn tenth(self) -> Self {
        Self { parts: self.parts / 10 }
    }

    /// Whether the ratio is zero.
    pub fn is_zero(self) -> bool {
        self.parts == 0
    }
}

impl FromStr for Ratio {
    type Err = RatioError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(parts) = read_fraction(text) {
            return Ok(Self { parts });
        }
        let error = || RatioError(text.chars().take(40).collect());
        let (number, divisor) = match text.strip_suffix('%') {
            Some(number) => (number.trim_end(), Decimal::ONE_HUNDRED),
            None => (text, Decimal::ONE),
        };
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let value = Decimal::from_str_exact(number).ok().filter(|_| plain).ok_or_else(error)?;
        let parts = (value / divisor).checked_mul(Decimal::from(Self::ONE)).ok_or_else(error)?;
        let whole = parts.normalize();
        if whole.scale() > 0 {
            return Err(error());
        }
        Ok(Self { parts: u64::try_from(whole.mantissa()).map_err(|_| error())? })
    }
}

/// Reads a fraction with at most eight decimal places, as it is written in records. `None` if it is written in another
/// way.
fn read_fraction(text: &str) -> Option<u64> {
    let (digits, places) = read_plain(text)?;
    digits.checked_mul(10_u64.pow(Ratio::DECIMALS.checked_sub(places)?))
}

impl fmt::Display for Ratio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decimal().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ratio(text: &str) -> Ratio {
        text.parse().unwrap()
    }

    #[test]
    fn percentages_and_fractions_are_the_same() {
        assert_eq!(ratio("2%"), ratio("0.02"));
        assert_eq!(ratio("0.5%").to_string(), "0.005");
        assert_eq!(ratio("0").to_string(), "0");
        for text in ["", "%", "-1%", "1e2", "two", "0.000000001", "+1"] {
            assert!(text.parse::<Ratio>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn fractions_are_read_as_decimals_are(text in "[0-9]{0,12}(\\.[0-9]{0,10})?%?") {
            let naive = || {
                let (number, divisor) = text.strip_suffix('%').map_or((text.as_str(), 1), |number| (number, 100));
                let parts = Decimal::from_str_exact(number).ok()? * Decimal::from(Ratio::ONE) / Decimal::from(divisor);
                u64::try_from(parts.normalize().mantissa()).ok().filter(|_| parts.fract().is_zero())
            };
            let read = text.parse::<Ratio>().ok().map(|ratio| ratio.parts);
            prop_assert_eq!(read, naive());
        }

        #[test]
        fn distance_and_admits_agree(a in 1_u64..1_000_000_000, b in 1_u64..1_000_000_000, parts in 0_u64..100_000_000) {
            let (a, b) = (Price::new(a.into()).unwrap(), Price::new(b.into()).unwrap());
            let limit = Ratio { parts };
            // Compute the ratio independently with `Decimal`, whose 28 digits are enough for these numbers.
            let naive = (a.decimal() - b.decimal()).abs() / b.decimal();
            prop_assert_eq!(limit.admits(a, b, b), naive <= limit.decimal());
            let distance = Ratio::distance(a, b, b);
            prop_assert_eq!(distance.decimal(), naive.round_dp(8).normalize());
        }
    }
}
