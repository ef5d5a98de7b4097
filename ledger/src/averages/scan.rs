//! Median and exponential moving average: one look at each tick of a window.

use super::Scanned;
use crate::summary::{UNITS_PER_PART, decimal_of_parts, half_even, quotient};

/// What the moving average is carried on in: 10⁻¹² of a price unit, which is 10⁻²⁵. A price below 10²⁵
/// units then takes less than 2¹²³ of them, and twice that still fits. Each step is rounded to one of them,
/// so that after 100,000 steps the average is off by less than 10⁻²⁰: far from the eighth place that is told.
const GRAINS_PER_UNIT: u128 = 10_u128.pow(12);

/// Both, over prices in units, oldest first; nothing where there are none. `expected` is how many slots the
/// window has.
pub(super) fn scan(mut units: Vec<u128>, expected: u64) -> Option<Scanned> {
    let parts = ema(&units, expected)?;
    let (middle, even) = (units.len() / 2, units.len().is_multiple_of(2));
    let (below, upper, _) = units.select_nth_unstable(middle);
    let lower = below.iter().max().filter(|_| even).unwrap_or(upper);
    Some(Scanned { median: quotient(lower + *upper, 2), ema: decimal_of_parts(parts) })
}

/// In parts of 10⁻⁸: α = 2 / (expected + 1), seeded by the first price. Missing slots are passed over.
fn ema(units: &[u128], expected: u64) -> Option<u128> {
    let mut prices = units.iter().map(|units| units * GRAINS_PER_UNIT);
    let first = prices.next()?;
    let average = prices.fold(first, |average, price| {
        let step = half_even(2 * price.abs_diff(average), u128::from(expected) + 1);
        if price < average { average - step } else { average + step }
    });
    Some(half_even(average, GRAINS_PER_UNIT * UNITS_PER_PART))
}
