//! The algebra of averages: what windows, roll-ups and candles are made of.
//!
//! A [`Summary`] says everything about a run of ticks that sums and extremes can say. Two summaries of
//! neighbouring runs merge into the summary of both, in any grouping, so that a window is the merge of a
//! few ready-made parts. All of it is exact: prices count in whole 10⁻¹³ units, and what is derived is
//! rounded once, at the end.

use std::time::Duration;

use common::domain::{Interval, Price, Slot, Timestamp};
use rust_decimal::Decimal;

/// Decimal places of derived values: means, ratios. Prices themselves are never rounded.
pub const DERIVED_DECIMALS: u32 = 8;

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
///
/// Bounds: a price is below 10²⁵ units (84 bits) and a span at most ten years of milliseconds (39 bits),
/// so that the sums stay below 2¹²⁸ for every window that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many ticks.
    pub count: u64,
    /// The first tick.
    pub first: Point,
    /// The last tick.
    pub last: Point,
    /// The lowest price.
    pub min: Price,
    /// The highest price.
    pub max: Price,
    /// The sum of prices, in units.
    sum: u128,
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
            min: point.price,
            max: point.price,
            sum: point.price.units(),
            weighted: 0,
            weight: 0,
            covered: point.interval.millis(),
            largest_gap: 0,
        }
    }

    /// The summary of this run and a later one.
    #[must_use]
    pub fn merge(&self, later: &Self) -> Self {
        let distance = millis_between(self.last.slot.start(), later.first.slot.start());
        let interval = self.last.interval.millis();
        let standing = if distance <= interval * u64::from(LONGEST_STANDING) { distance } else { interval };
        Self {
            count: self.count + later.count,
            first: self.first,
            last: later.last,
            // On a tie the earlier one stays: equal prices may have different digits.
            min: if later.min < self.min { later.min } else { self.min },
            max: if later.max > self.max { later.max } else { self.max },
            sum: self.sum + later.sum,
            weighted: self.weighted + self.last.price.units() * u128::from(standing) + later.weighted,
            weight: self.weight + standing + later.weight,
            covered: self.covered + later.covered,
            largest_gap: self.largest_gap.max(later.largest_gap).max(distance.saturating_sub(interval)),
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

    /// The exact difference between last and first price.
    pub fn change(&self) -> Decimal {
        self.last.price.decimal() - self.first.price.decimal()
    }

    /// The difference in relation to the first price.
    pub fn change_ratio(&self) -> Decimal {
        change_ratio(self.first.price, self.last.price)
    }

    /// How much of a span the ticks cover, from 0 to 1.
    pub fn coverage(&self, span: Duration) -> Decimal {
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        rounded(u128::from(self.covered.min(span)) * 10_u128.pow(DERIVED_DECIMALS), u128::from(span))
    }

    /// The longest stretch without ticks in the window `(from, to]`, its edges included.
    pub fn largest_gap(&self, from: Timestamp, to: Timestamp) -> Duration {
        let before =
            millis_between(from, self.first.slot.start()).saturating_sub(self.first.interval.millis());
        let after = millis_between(self.last.slot.start(), to);
        Duration::from_millis(self.largest_gap.max(before).max(after))
    }
}

/// How far `to` is from `from`, in relation to `from`.
pub fn change_ratio(from: Price, to: Price) -> Decimal {
    let (from, to) = (from.units(), to.units());
    let mut ratio = rounded(to.abs_diff(from) * 10_u128.pow(DERIVED_DECIMALS), from);
    ratio.set_sign_negative(to < from && !ratio.is_zero());
    ratio
}

fn millis_between(earlier: Timestamp, later: Timestamp) -> u64 {
    u64::try_from(later.since(earlier).as_millis()).unwrap_or(u64::MAX)
}

/// Price units divided by a count or weight, as a decimal of eight places.
fn quotient(units: u128, divisor: u128) -> Decimal {
    const UNITS_PER_PART: u128 = 10_u128.pow(Price::MAX_DECIMALS - DERIVED_DECIMALS);
    rounded(units, divisor * UNITS_PER_PART)
}

/// A quotient in 10⁻⁸ parts, rounded half-even.
fn rounded(dividend: u128, divisor: u128) -> Decimal {
    let (whole, rest) = (dividend / divisor, dividend % divisor);
    let up = rest * 2 > divisor || (rest * 2 == divisor && whole % 2 == 1);
    // A mean is a price, below 10²⁰ parts; a ratio of two prices may be larger than a decimal holds.
    let parts = i128::try_from(whole + u128::from(up)).unwrap_or(i128::MAX);
    Decimal::try_from_i128_with_scale(parts, DERIVED_DECIMALS).unwrap_or(Decimal::MAX)
}
