//! Summaries: the mergeable sums and extremes that windows, roll-ups and candles are made of.
//!
//! A [`Summary`] holds the sums and extremes of a run of ticks. The summaries of two adjacent runs merge into the
//! summary of both, in any grouping, so that a window is merged from a few stored parts. Everything is exact: prices
//! are counted in units of 10⁻¹³, and derived values are rounded once, at the end.
//!
//! Bounds: a price is below 10²⁵ units (84 bits; [`Price`] rejects larger ones from sources and from the log), a span
//! is at most ten years in milliseconds (39 bits), and no two ticks have the same millisecond. So sums of prices and of
//! price × milliseconds are below 2¹²³. Sums of squares are below 2²⁰⁶, and 4 n² times the variance is below 2²⁴⁸, so
//! these numbers have 256 bits.

mod encoding;
mod wide;

use std::time::Duration;

use common::domain::{Interval, Price, Slot, Timestamp};
use rust_decimal::Decimal;

use self::wide::Wide;

/// Decimal places of derived values such as means and ratios. Prices themselves are never rounded.
pub const DERIVED_DECIMALS: u32 = 8;

/// The number of price units in 10⁻⁸.
pub(crate) const UNITS_PER_PART: u128 = 10_u128.pow(Price::MAX_DECIMALS - DERIVED_DECIMALS);

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
}

/// The sums and extremes of one or more ticks in slot order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The number of ticks.
    pub count: u64,
    /// The first tick.
    pub first: Point,
    /// The last tick.
    pub last: Point,
    /// The first tick with the lowest price.
    pub min: Point,
    /// The first tick with the highest price.
    pub max: Point,
    /// The sum of the prices, in units of 10⁻¹³.
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
        quotient(self.sum, u128::from(self.count))
    }

    /// The time-weighted mean of the prices. The weight of a tick is the time for which its price holds (see
    /// [`MAX_CARRIED_INTERVALS`]). The weight of the newest tick is one interval.
    pub fn twap(&self) -> Decimal {
        let interval = self.last.interval.millis();
        let weighted = self.weighted + self.last.price.units() * u128::from(interval);
        quotient(weighted, u128::from(self.weight + interval))
    }

    /// The population standard deviation of the prices. The variance is the exact fraction (n Σp² − (Σp)²) / n², and
    /// only its root is rounded.
    pub fn stddev(&self) -> Decimal {
        let count = u128::from(self.count);
        let variance = self.squares.times(count).and_then(|squares| squares.minus(Wide::square(self.sum)));
        let doubled = variance.and_then(|variance| variance.times(4)).unwrap_or(Wide::ZERO);
        // Find q, the root in parts of 10⁻⁸, by bisection. With d = n × units per part, the root is above the middle
        // between q − 1 and q if (2q − 1)² d² < 4 n² × variance.
        let divisor = count * UNITS_PER_PART;
        let middle = |parts: u128| Wide::square((2 * parts - 1) * divisor);
        // The deviation is at most half the distance between the lowest and the highest price.
        let most = self.max.price.units().abs_diff(self.min.price.units()) / 2 / UNITS_PER_PART + 1;
        let (mut parts, mut beyond) = (0, most + 1);
        while beyond - parts > 1 {
            let tried = parts.midpoint(beyond);
            if middle(tried) < doubled || (middle(tried) == doubled && tried.is_multiple_of(2)) {
                parts = tried;
            } else {
                beyond = tried;
            }
        }
        decimal_of_parts(parts)
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
        rounded(u128::from(self.covered.min(span)) * 10_u128.pow(DERIVED_DECIMALS), u128::from(span))
    }

    /// The longest time without ticks in the window `(from, to]`, including the times before the first and after the
    /// last tick.
    pub fn largest_gap(&self, from: Timestamp, to: Timestamp) -> Duration {
        let before = self.first.slot.start().millis_since(from).saturating_sub(self.first.interval.millis());
        let after = to.millis_since(self.last.slot.start());
        Duration::from_millis(self.largest_gap.max(before).max(after))
    }
}

/// The change from one price to another, relative to the first. `None` if the change is too large for a `Decimal`,
/// which is the case above about 7.9 · 10²⁰.
pub fn change_ratio(from: Price, to: Price) -> Option<Decimal> {
    let (from, to) = (from.units(), to.units());
    let parts = half_even(to.abs_diff(from) * 10_u128.pow(DERIVED_DECIMALS), from);
    let mut ratio = Decimal::try_from_i128_with_scale(i128::try_from(parts).ok()?, DERIVED_DECIMALS).ok()?;
    ratio.set_sign_negative(to < from && !ratio.is_zero());
    Some(ratio)
}

/// Price units divided by a count or weight, rounded to eight decimal places.
pub(crate) fn quotient(units: u128, divisor: u128) -> Decimal {
    rounded(units, divisor * UNITS_PER_PART)
}

/// Rounds a quotient half-even to whole parts of 10⁻⁸. The quotient must be below 10²⁰ parts, as every mean of prices
/// is.
fn rounded(dividend: u128, divisor: u128) -> Decimal {
    decimal_of_parts(half_even(dividend, divisor))
}

/// A quotient, rounded half-even.
pub(crate) fn half_even(dividend: u128, divisor: u128) -> u128 {
    let (whole, rest) = (dividend / divisor, dividend % divisor);
    let up = rest * 2 > divisor || (rest * 2 == divisor && whole % 2 == 1);
    whole + u128::from(up)
}

/// Converts parts of 10⁻⁸ to a `Decimal`, which can hold far more than 10²⁰ parts.
pub(crate) fn decimal_of_parts(parts: u128) -> Decimal {
    let parts = i128::try_from(parts).unwrap_or(i128::MAX);
    Decimal::try_from_i128_with_scale(parts, DERIVED_DECIMALS).unwrap_or(Decimal::MAX)
}

#[cfg(test)]
mod tests;
