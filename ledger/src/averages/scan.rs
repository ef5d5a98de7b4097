//! Median and exponential moving average, in one pass over the ticks of a window.

use super::Scanned;
use crate::summary::{UNITS_PER_PART, decimal_of_parts, half_even, quotient};

/// The number of grains in a price unit. A grain is the precision of the moving average: 10⁻¹² of a price unit, which
/// is 10⁻²⁵. A price is below 10²⁵ units and thus below 2¹²³ grains, so twice a price fits in a `u128`. Each step is
/// rounded to whole grains. So after 100,000 steps, the error is below 10⁻²⁰, and only eight decimal places are
/// reported.
const GRAINS_PER_UNIT: u128 = 10_u128.pow(12);

/// Computes both averages of prices in units of 10⁻¹³, oldest first. `expected` is the number of slots in the window.
/// Returns `None` if there are no prices.
pub(super) fn scan(mut units: Vec<u128>, expected: u64) -> Option<Scanned> {
    let parts = ema(&units, expected)?;
    let (middle, even) = (units.len() / 2, units.len().is_multiple_of(2));
    let (below, upper, _) = units.select_nth_unstable(middle);
    let lower = below.iter().max().filter(|_| even).unwrap_or(upper);
    Some(Scanned { median: quotient(lower + *upper, 2), ema: decimal_of_parts(parts) })
}

/// The moving average in parts of 10⁻⁸, with α = 2 / (expected + 1), starting with the first price. Missing slots are
/// skipped.
fn ema(units: &[u128], expected: u64) -> Option<u128> {
    let mut prices = units.iter().map(|units| units * GRAINS_PER_UNIT);
    let first = prices.next()?;
    let average = prices.fold(first, |average, price| {
        let step = half_even(2 * price.abs_diff(average), u128::from(expected) + 1);
        if price < average { average - step } else { average + step }
    });
    Some(half_even(average, GRAINS_PER_UNIT * UNITS_PER_PART))
}
