//! Summaries: the mergeable sums and extremes that windows, roll-ups and candles are made of.
//!
//! A [`Summary`] holds the sums and extremes of a run of ticks. The summaries of two adjacent runs merge into the
//! summary of both, in any grouping, so that a window is merged from a few stored parts. Everything is exact: prices
//! are counted in units of 10⁻¹⁴, and derived values are rounded once, at the end.
//!
//! Bounds: a price is below 10²⁶ units (87 bits; [`Price`] rejects larger ones from sources and from the log), a span
//! is at most ten years in milliseconds (39 bits), and no two ticks have the same millisecond. So sums of prices and of
//! price × milliseconds are below 2¹²⁶. Sums of squares are below 2²¹³, and 4 n² times the variance is below 2²⁵⁴, so
//! these numbers have 256 bits.

mod encoding;
mod wide;

use std::{cmp::Ordering, time::Duration};

use common::domain::{Interval, Price, Slot, Timestamp};
use rust_decimal::Decimal;

use self::wide::Wide;
use crate::derived::{LEAST_DECIMALS, MOST_DECIMALS, decimal, digits, mean_of_units, places_of, quotient};

/// A tick's price holds until the next tick if that tick is at most this many intervals later. Otherwise, the price
/// holds for one interval.
///
/// This is a constant and not a setting, because all pods must return the same results.
pub const MAX_CARRIED_INTERVALS: u32 = 3;

/// The parts of a tick that averages need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The tick's slot.
    pub slot: Slot,
    /// The interval between slots when the tick was written.
    pub interval: Interval,
    /// The tick's price.
    pub price: Price,
    /// Whether the tick was backfilled.
    pub backfilled: bool,
}

/// The sums and extremes of one or more ticks in slot order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The number of ticks.
    pub count: u64,
    /// How many of them were backfilled.
    pub backfilled: u64,
    /// The first tick.
    pub first: Point,
    /// The last tick.
    pub last: Point,
    /// The first tick with the lowest price.
    pub min: Point,
    /// The first tick with the highest price.
    pub max: Point,
    /// The sum of the prices, in units of 10⁻¹⁴.
    sum: u128,
    /// The sum of the squared prices, in units of 10⁻²⁶.
    squares: Wide,
    /// The sum of price × milliseconds over all ticks but the last. How long the price of the last tick holds is not
    /// known yet.
    weighted: u128,
    /// The sum of the milliseconds in `weighted`.
    weight: u64,
    /// The milliseconds that the ticks cover: the sum of their intervals.
    covered: u64,
    /// The longest time without ticks between two ticks, in milliseconds. Zero if no slot between them is missing.
    largest_gap: u64,
}

impl Summary {
    /// The summary of one tick.
    pub fn of(point: Point) -> Self {
        Self {
            count: 1,
            backfilled: u64::from(point.backfilled),
            first: point,
            last: point,
            min: point,
            max: point,
            sum: point.price.units(),
            squares: Wide::square(point.price.units()),
            weighted: 0,
            weight: 0,
            covered: point.interval.millis(),
            largest_gap: 0,
        }
    }

    /// Merges this summary with the summary of later ticks.
    #[must_use]
    pub fn merge(&self, later: &Self) -> Self {
        let distance = later.first.slot.start().millis_since(self.last.slot.start());
        let interval = self.last.interval.millis();
        let duration =
            if distance <= interval * u64::from(MAX_CARRIED_INTERVALS) { distance } else { interval };
        // If the interval changes here, the missing slots may be of either interval. The shorter one determines the
        // gap.
        let shorter = interval.min(later.first.interval.millis());
        // Within the bounds of this module, nothing saturates. Sums that exceed the bounds must not cause a panic.
        Self {
            count: self.count.saturating_add(later.count),
            backfilled: self.backfilled.saturating_add(later.backfilled),
            first: self.first,
            last: later.last,
            // If prices are equal, keep the earlier tick, because the digits may differ (1.0 and 1.00).
            min: if later.min.price < self.min.price { later.min } else { self.min },
            max: if later.max.price > self.max.price { later.max } else { self.max },
            sum: self.sum.saturating_add(later.sum),
            squares: self.squares.plus(later.squares).unwrap_or(Wide::MAX),
            weighted: self
                .weighted
                .saturating_add(self.last.price.units() * u128::from(duration))
                .saturating_add(later.weighted),
            weight: self.weight.saturating_add(duration).saturating_add(later.weight),
            covered: self.covered.saturating_add(later.covered),
            largest_gap: self.largest_gap.max(later.largest_gap).max(distance.saturating_sub(shorter)),
        }
    }

    /// The mean of the prices.
    pub fn mean(&self) -> Decimal {
        self.within_extremes(mean_of_units(self.sum, u128::from(self.count)))
    }

    /// The time-weighted mean of the prices. The weight of a tick is the time for which its price holds (see
    /// [`MAX_CARRIED_INTERVALS`]). The weight of the newest tick is one interval.
    pub fn twap(&self) -> Decimal {
        let interval = self.last.interval.millis();
        let weighted = self.weighted + self.last.price.units() * u128::from(interval);
        self.within_extremes(mean_of_units(weighted, u128::from(self.weight + interval)))
    }

    /// Rounding could move a mean past a price that has more digits than the mean.
    fn within_extremes(&self, mean: Decimal) -> Decimal {
        mean.clamp(self.min.price.decimal(), self.max.price.decimal())
    }

    /// The population standard deviation of the prices. The variance is the exact fraction (n Σp² − (Σp)²) / n², and
    /// only its root is rounded.
    pub fn stddev(&self) -> Decimal {
        let count = u128::from(self.count);
        let variance = self.squares.times(count).and_then(|squares| squares.minus(Wide::square(self.sum)));
        let rounded = variance.filter(|variance| *variance != Wide::ZERO).and_then(|variance| {
            let places = self.places_of_root(variance)?;
            Some(decimal(self.root(variance, places)?.nearest, places))
        });
        // Within the module's bounds, everything fits, so this is only for prices that are all equal.
        rounded.unwrap_or_else(|| decimal(0, LEAST_DECIMALS))
    }

    /// How many decimal places the deviation is rounded to. The variance must not be zero.
    fn places_of_root(&self, variance: Wide) -> Option<u32> {
        // The most decimal places show the digits of any deviation, but only those of a small one fit.
        let shown = [LEAST_DECIMALS, MOST_DECIMALS].into_iter().find_map(|places| {
            Some((places, self.root(variance, places)?.floor)).filter(|(_, root)| *root > 0)
        });
        shown.map(|(places, root)| places_of(i64::from(digits(root)) - i64::from(places)))
    }

    /// √variance / n in parts of 10⁻ᵖˡᵃᶜᵉˢ, where the variance is in square units and multiplied by n². `None` if the
    /// computation does not fit.
    fn root(&self, variance: Wide, places: u32) -> Option<Root> {
        let count = u128::from(self.count);
        let power = 10_u128.checked_pow(places.abs_diff(Price::MAX_DECIMALS))?;
        // A part times the divisor is n times the deviation.
        let (square, divisor) = match places <= Price::MAX_DECIMALS {
            true => (variance, count.checked_mul(power)?),
            false => (variance.times(power)?.times(power)?, count),
        };
        // The deviation is at most half the distance between the extremes.
        let half = self.max.price.units().abs_diff(self.min.price.units()) / 2 + 1;
        let most = if places <= Price::MAX_DECIMALS { half / power + 1 } else { half.checked_mul(power)? };
        let (mut floor, mut beyond) = (0, most + 1);
        while beyond - floor > 1 {
            let tried = u128::midpoint(floor, beyond);
            match Wide::square(tried.checked_mul(divisor)?) <= square {
                true => floor = tried,
                false => beyond = tried,
            }
        }
        let middle = Wide::square((2 * floor + 1).checked_mul(divisor)?);
        let up = match middle.cmp(&square.times(4)?) {
            Ordering::Less => 1,
            Ordering::Equal => floor % 2,
            Ordering::Greater => 0,
        };
        Some(Root { floor, nearest: floor + up })
    }

    /// The exact difference between the last and the first price.
    pub fn change(&self) -> Decimal {
        self.last.price.decimal() - self.first.price.decimal()
    }

    /// The change relative to the first price. `None` if it is too large for a decimal.
    pub fn change_ratio(&self) -> Option<Decimal> {
        change_ratio(self.first.price, self.last.price)
    }

    /// The share of a span that the ticks cover, from 0 to 1. Each tick covers one interval.
    pub fn coverage(&self, span: Duration) -> Decimal {
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        quotient(u128::from(self.covered.min(span)), u128::from(span), 0)
    }

    /// The longest time without ticks in the window `(from, to]`, including the times before the first and after the
    /// last tick.
    pub fn largest_gap(&self, from: Timestamp, to: Timestamp) -> Duration {
        let before = self.first.slot.start().millis_since(from).saturating_sub(self.first.interval.millis());
        let after = to.millis_since(self.last.slot.start());
        Duration::from_millis(self.largest_gap.max(before).max(after))
    }
}

/// A square root in whole parts.
struct Root {
    /// Rounded down.
    floor: u128,
    /// Rounded half to even.
    nearest: u128,
}

/// The change from one price to another, relative to the first. `None` from 10²⁰ on, which is too large for a `Decimal`
/// with eight decimal places.
pub fn change_ratio(from: Price, to: Price) -> Option<Decimal> {
    let (from, to) = (from.units(), to.units());
    let distance = to.abs_diff(from);
    (distance / from < 10_u128.pow(20)).then(|| {
        let mut ratio = quotient(distance, from, 0);
        ratio.set_sign_negative(to < from && !ratio.is_zero());
        ratio
    })
}

#[cfg(test)]
mod tests;
