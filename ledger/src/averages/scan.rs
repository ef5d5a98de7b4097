//! Median and exponential moving average, in one pass over the ticks of a window.

use common::domain::Price;
use rust_decimal::Decimal;

use super::Scanned;
use crate::derived::{decimal, half_even, mean_of_units, quotient};

/// Decimal places of a grain, which is the precision of the moving average: 10⁻¹² of a price unit, or 10⁻²⁶. A price is
/// below 10²⁶ units and thus below 10³⁸ grains, so twice a price fits in a `u128`. Each step is rounded to whole grains.
/// So after 100,000 steps, the error is below 10⁻²¹.
const GRAIN_DECIMALS: u32 = Price::MAX_DECIMALS + 12;
const GRAINS_PER_UNIT: u128 = 10_u128.pow(12);

/// Computes both averages of prices in units of 10⁻¹⁴, oldest first. `expected` is the number of slots in the window.
/// Returns `None` if there are no prices.
pub(super) fn scan(mut units: Vec<u128>, expected: u64) -> Option<Scanned> {
    let ema = ema(&units, expected)?;
    let (low, high) = (price_of(*units.iter().min()?), price_of(*units.iter().max()?));
    let (middle, even) = (units.len() / 2, units.len().is_multiple_of(2));
    let (below, upper, _) = units.select_nth_unstable(middle);
    let lower = below.iter().max().filter(|_| even).unwrap_or(upper);
    let median = mean_of_units(lower + *upper, 2);
    // Rounding could move either past a price that has more digits.
    Some(Scanned { median: median.clamp(price_of(*lower), price_of(*upper)), ema: ema.clamp(low, high) })
}

fn price_of(units: u128) -> Decimal {
    decimal(units, Price::MAX_DECIMALS).normalize()
}

/// The moving average, with α = 2 / (expected + 1), starting with the first price. Missing slots are
/// skipped.
fn ema(units: &[u128], expected: u64) -> Option<Decimal> {
    let mut prices = units.iter().map(|units| units * GRAINS_PER_UNIT);
    let first = prices.next()?;
    let average = prices.fold(first, |average, price| {
        let step = half_even(2 * price.abs_diff(average), u128::from(expected) + 1);
        if price < average { average - step } else { average + step }
    });
    Some(quotient(average, 1, GRAIN_DECIMALS))
}
