//! The algebra of averages: what windows, roll-ups and candles are made of.
//!
//! A [`Summary`] says everything about a run of ticks that sums and extremes can say. Two summaries of
//! neighbouring runs merge into the summary of both, in any grouping, so that a window is the merge of a
//! few ready-made parts. All of it is exact: prices count in whole 10⁻¹³ units, and what is derived is
//! rounded once, at the end.
//!
//! Bounds: a price is below 10²⁵ units (84 bits; [`Price`] refuses others where they come in, at the sources
//! and at the log), a span at most ten years of milliseconds (39 bits), and no two ticks share a millisecond.
//! So a sum of prices, and one of price × milliseconds, stays below 2¹²³; a sum of squares below 2²⁰⁶, which
//! is why it has 256 bits, and four times n² of the variance below 2²⁴⁸.

mod encoding;
mod wide;

use std::time::Duration;

use common::domain::{Interval, Price, Slot, Timestamp};
use rust_decimal::Decimal;

use self::wide::Wide;

/// Decimal places of derived values: means, ratios. Prices themselves are never rounded.
pub const DERIVED_DECIMALS: u32 = 8;

/// Price units in one part of 10⁻⁸.
pub(crate) const UNITS_PER_PART: u128 = 10_u128.pow(Price::MAX_DECIMALS - DERIVED_DECIMALS);

/// A tick stands until the next one if that is at most this many intervals away; else for one interval.
///
/// Part of the contract and not a setting: two pods must answer alike.
pub const LONGEST_STANDING: u32 = 3;

/// A tick, as far as averages need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Its slot.
    pub slot: Slot,
    /// The distance to the next slot at the time.
    pub interval: Interval,
    /// Its price.
    pub price: Price,
}

/// Everything that sums and extremes say about one or more ticks in slot order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many ticks.
    pub count: u64,
    /// The first tick.
    pub first: Point,
    /// The last tick.
    pub last: Point,
    /// The first tick with the lowest price.
    pub min: Point,
    /// The first tick with the highest price.
    pub max: Point,
    /// The sum of prices, in units.
    sum: u128,
    /// The sum of their squares, in square units.
    squares: Wide,
    /// The sum of price × milliseconds for all ticks but the last, whose standing is not known yet.
    weighted: u128,
    /// The milliseconds in `weighted`.
    weight: u64,
    /// The milliseconds that ticks cover, one interval each.
    covered: u64,
    /// The longest stretch between two ticks that lacks slots, in milliseconds; zero if none does.
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

    /// The summary of this run and a later one.
    #[must_use]
    pub fn merge(&self, later: &Self) -> Self {
        let distance = later.first.slot.start().millis_since(self.last.slot.start());
        let interval = self.last.interval.millis();
        let standing = if distance <= interval * u64::from(LONGEST_STANDING) { distance } else { interval };
        // Where the interval changes, a slot of either kind may be missing.
        let shorter = interval.min(later.first.interval.millis());
        // Nothing saturates within the bounds above; beyond them, nothing may panic.
        Self {
            count: self.count.saturating_add(later.count),
            first: self.first,
            last: later.last,
            // On a tie the earlier one stays: equal prices may have different digits.
            min: if later.min.price < self.min.price { later.min } else { self.min },
            max: if later.max.price > self.max.price { later.max } else { self.max },
            sum: self.sum.saturating_add(later.sum),
            squares: self.squares.plus(later.squares).unwrap_or(Wide::MAX),
            weighted: self
                .weighted
                .saturating_add(self.last.price.units() * u128::from(standing))
                .saturating_add(later.weighted),
            weight: self.weight.saturating_add(standing).saturating_add(later.weight),
            covered: self.covered.saturating_add(later.covered),
            largest_gap: self.largest_gap.max(later.largest_gap).max(distance.saturating_sub(shorter)),
        }
    }

    /// The mean of the prices.
    pub fn mean(&self) -> Decimal {
        quotient(self.sum, u128::from(self.count))
    }

    /// The time-weighted mean: each tick weighs the time until the next one, at most
    /// [`LONGEST_STANDING`] intervals, else one interval; the newest weighs one interval.
    pub fn twap(&self) -> Decimal {
        let interval = self.last.interval.millis();
        let weighted = self.weighted + self.last.price.units() * u128::from(interval);
        quotient(weighted, u128::from(self.weight + interval))
    }

    /// The standard deviation of the prices from their mean, as of a whole population. Its square is the
    /// exact rational (n Σp² − (Σp)²) / n²; the root is rounded once.
    pub fn stddev(&self) -> Decimal {
        let count = u128::from(self.count);
        let variance = self.squares.times(count).and_then(|squares| squares.minus(Wide::square(self.sum)));
        let doubled = variance.and_then(|variance| variance.times(4)).unwrap_or(Wide::ZERO);
        // With q parts of 10⁻⁸ and d = n × units per part: (2q − 1)² d² < 4 n² variance tells that the root
        // lies above the middle between q − 1 and q.
        let divisor = count * UNITS_PER_PART;
        let middle = |parts: u128| Wide::square((2 * parts - 1) * divisor);
        // No deviation is larger than half the distance between the extremes.
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

    /// The exact difference between last and first price.
    pub fn change(&self) -> Decimal {
        self.last.price.decimal() - self.first.price.decimal()
    }

    /// The difference in relation to the first price; nothing where no decimal holds it.
    pub fn change_ratio(&self) -> Option<Decimal> {
        change_ratio(self.first.price, self.last.price)
    }

    /// How much of a span the ticks cover, from 0 to 1.
    pub fn coverage(&self, span: Duration) -> Decimal {
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        rounded(u128::from(self.covered.min(span)) * 10_u128.pow(DERIVED_DECIMALS), u128::from(span))
    }

    /// The longest stretch without ticks in the window `(from, to]`, its edges included.
    pub fn largest_gap(&self, from: Timestamp, to: Timestamp) -> Duration {
        let before = self.first.slot.start().millis_since(from).saturating_sub(self.first.interval.millis());
        let after = to.millis_since(self.last.slot.start());
        Duration::from_millis(self.largest_gap.max(before).max(after))
    }
}

/// How far `to` is from `from`, in relation to `from`. Nothing where no decimal holds it: above 10²⁰.
pub fn change_ratio(from: Price, to: Price) -> Option<Decimal> {
    let (from, to) = (from.units(), to.units());
    let parts = half_even(to.abs_diff(from) * 10_u128.pow(DERIVED_DECIMALS), from);
    let mut ratio = Decimal::try_from_i128_with_scale(i128::try_from(parts).ok()?, DERIVED_DECIMALS).ok()?;
    ratio.set_sign_negative(to < from && !ratio.is_zero());
    Some(ratio)
}

/// Price units divided by a count or weight, as a decimal of eight places.
pub(crate) fn quotient(units: u128, divisor: u128) -> Decimal {
    rounded(units, divisor * UNITS_PER_PART)
}

/// A quotient of 10⁻⁸ parts, rounded half-even. It must be below 10²⁰, as means of prices are.
fn rounded(dividend: u128, divisor: u128) -> Decimal {
    decimal_of_parts(half_even(dividend, divisor))
}

/// A quotient, rounded half-even.
pub(crate) fn half_even(dividend: u128, divisor: u128) -> u128 {
    let (whole, rest) = (dividend / divisor, dividend % divisor);
    let up = rest * 2 > divisor || (rest * 2 == divisor && whole % 2 == 1);
    whole + u128::from(up)
}

/// Parts of 10⁻⁸ as a decimal, which holds far more than 10²⁰ of them.
pub(crate) fn decimal_of_parts(parts: u128) -> Decimal {
    let parts = i128::try_from(parts).unwrap_or(i128::MAX);
    Decimal::try_from_i128_with_scale(parts, DERIVED_DECIMALS).unwrap_or(Decimal::MAX)
}

#[cfg(test)]
mod tests;
