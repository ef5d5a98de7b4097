//! The binary encoding of a summary for the store: about 45 bytes for a minute of six ticks.
//!
//! Every number is a varint (see `crate::number`). The first tick is encoded as it is. All other fields are encoded as
//! differences from what they would be if every tick had the first price and no slot were missing. If the prices have
//! few decimal places, the differences of the sums are multiples of a power of ten, and are divided by that power.

use common::domain::{Interval, Price, Slot, Span, Timestamp};
use rust_decimal::Decimal;

use super::{Point, Summary, wide::Wide};
use crate::number::{fold, read, unfold, write};

/// The number of bits for a price's scale, which is at most 14. They are the lowest bits of the number that also has
/// the price's digits.
const SCALE_BITS: u32 = 4;

impl Summary {
    /// Appends the encoded summary.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let start = &self.first;
        write(bytes, u128::from(self.count));
        write(bytes, u128::from(self.backfilled));
        write(bytes, (millis(start.slot) << 1) | u128::from(start.backfilled));
        write(bytes, u128::from(start.interval.millis()));
        write_price(bytes, 0, start.price);
        for point in [&self.last, &self.min, &self.max] {
            write_point(bytes, start, point);
        }

        let offsets = Offsets::of(self);
        let places = offsets.common_places();
        write(bytes, u128::from(places));
        offsets.without(places).unwrap_or(offsets).write(bytes);

        let distance = millis(self.last.slot).saturating_sub(millis(start.slot));
        write(bytes, distance.saturating_sub(u128::from(self.weight)));
        write_signed(bytes, signed(self.covered) - signed(self.count) * signed(start.interval.millis()));
        write(bytes, u128::from(self.largest_gap));
    }

    /// Decodes a summary from the front of `bytes`. Returns `None` if it is invalid. Sums and extremes that no ticks
    /// can have are invalid too, so that the result is safe to merge.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let count = u64::try_from(read(bytes)?).ok()?;
        let backfilled = u64::try_from(read(bytes)?).ok()?;
        let start = read(bytes)?;
        let slot = i64::try_from(start >> 1).ok()?;
        let interval = interval(read(bytes)?)?;
        let first = Point {
            slot: on_grid(interval, slot)?,
            interval,
            price: read_price(bytes, 0)?,
            backfilled: start & 1 == 1,
        };
        let last = read_point(bytes, &first)?;
        let (min, max) = (read_point(bytes, &first)?, read_point(bytes, &first)?);

        let places = u32::try_from(read(bytes)?).ok().filter(|places| *places <= Price::MAX_DECIMALS)?;
        let offsets = Offsets::read(bytes)?.with(places)?;
        let distance = u64::try_from(millis(last.slot).checked_sub(millis(first.slot))?).ok()?;
        let weight = distance.checked_sub(u64::try_from(read(bytes)?).ok()?)?;
        let covered = read_signed(bytes)?.checked_add(signed(count) * signed(interval.millis()))?;
        let covered = u64::try_from(covered).ok()?;
        let largest_gap = u64::try_from(read(bytes)?).ok()?;

        let start = first.price.units();
        let sum = offsets.sum.checked_add_unsigned(start.checked_mul(u128::from(count))?)?;
        let sum = u128::try_from(sum).ok()?;
        let weighted = offsets.weighted.checked_add_unsigned(start.checked_mul(u128::from(weight))?)?;
        let weighted = u128::try_from(weighted).ok()?;
        // Σp² = Σ(p − s)² + 2sΣp − ns².
        let squares = offsets
            .squares
            .plus(Wide::product(2 * start, sum))?
            .minus(Wide::square(start).times(u128::from(count))?)?;
        let read = Self {
            count,
            backfilled,
            first,
            last,
            min,
            max,
            sum,
            squares,
            weighted,
            weight,
            covered,
            largest_gap,
        };
        read.is_possible().then_some(read)
    }

    /// Whether any ticks can have these sums and extremes.
    fn is_possible(&self) -> bool {
        let Self { count, backfilled, first, last, min, max, sum, squares, weighted, weight, .. } = self;
        let distance = last.slot.start().millis_since(first.slot.start());
        let (low, high) = (min.price.units(), max.price.units());
        let within = |total: u128, count: u64| {
            low.saturating_mul(u128::from(count)) <= total && total <= high.saturating_mul(u128::from(count))
        };
        let in_order = [min, max, last].into_iter().all(|point| {
            (first.slot..=last.slot).contains(&point.slot) && (min.price..=max.price).contains(&point.price)
        });
        let one = *count == 1;
        // Slots are whole milliseconds, so there is at most one tick in each. A summary spans at most ten years.
        (1..=distance + 1).contains(count)
            && one == (distance == 0)
            && backfilled <= count
            && (!one || (*backfilled == 1) == first.backfilled)
            && (one || Span::from_millis(distance).is_some())
            && (!one || (last == first && min == first && max == first))
            && in_order
            && (low..=high).contains(&first.price.units())
            && within(*sum, *count)
            && within(*weighted, *weight)
            && *weight <= distance
            && self.largest_gap <= distance
            && spread_is_possible(*count, *sum, *squares, high - low)
    }
}

/// Whether the variance is possible: not negative, and at most (distance / 2)² for the distance between the extremes.
fn spread_is_possible(count: u64, sum: u128, squares: Wide, distance: u128) -> bool {
    let count = u128::from(count);
    let variance = squares.times(count).and_then(|squares| squares.minus(Wide::square(sum)));
    let doubled = variance.and_then(|variance| variance.times(4));
    let bound = distance.checked_mul(count).map(Wide::square);
    doubled.zip(bound).is_some_and(|(doubled, bound)| doubled <= bound)
}

/// The sums of a summary if the first price is subtracted from every price.
#[derive(Clone, Copy)]
struct Offsets {
    sum: i128,
    weighted: i128,
    squares: Wide,
}

impl Offsets {
    fn of(summary: &Summary) -> Self {
        let (start, count) = (summary.first.price.units(), u128::from(summary.count));
        // Σ(p − s)² = Σp² + ns² − 2sΣp, which is never negative.
        let squares = Wide::square(start)
            .times(count)
            .and_then(|squares| squares.plus(summary.squares))
            .and_then(|squares| squares.minus(Wide::product(2 * start, summary.sum)));
        Self {
            sum: difference(summary.sum, start * count),
            weighted: difference(summary.weighted, start * u128::from(summary.weight)),
            squares: squares.unwrap_or(Wide::ZERO),
        }
    }

    /// The exponent of the largest power of ten that divides all sums, at most [`Price::MAX_DECIMALS`].
    fn common_places(&self) -> u32 {
        (0..=Price::MAX_DECIMALS).rev().find(|places| self.without(*places).is_some()).unwrap_or(0)
    }

    /// Divides the sums by a power of ten, and the sum of squares by its square. `None` if there is a remainder.
    fn without(&self, places: u32) -> Option<Self> {
        let (power, unsigned) = (10_i128.pow(places), 10_u64.pow(places));
        let divides = self.sum % power == 0 && self.weighted % power == 0;
        let squares = self.squares.divided_exactly_by(unsigned).filter(|_| divides)?;
        let squares = squares.divided_exactly_by(unsigned)?;
        Some(Self { sum: self.sum / power, weighted: self.weighted / power, squares })
    }

    /// Multiplies the sums by a power of ten, and the sum of squares by its square.
    fn with(&self, places: u32) -> Option<Self> {
        let (power, unsigned) = (10_i128.pow(places), 10_u128.pow(places));
        Some(Self {
            sum: self.sum.checked_mul(power)?,
            weighted: self.weighted.checked_mul(power)?,
            squares: self.squares.times(unsigned)?.times(unsigned)?,
        })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        write_signed(bytes, self.sum);
        write_signed(bytes, self.weighted);
        // The upper half comes first. It takes one byte unless prices are extremely far apart.
        let [low, high] = self.squares.halves();
        write(bytes, high);
        write(bytes, low);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (sum, weighted) = (read_signed(bytes)?, read_signed(bytes)?);
        let (high, low) = (read(bytes)?, read(bytes)?);
        Some(Self { sum, weighted, squares: Wide::from_halves([low, high]) })
    }
}

/// Encodes a tick relative to the first one. The distance is a number of slots if both have the same interval.
/// Otherwise, it is a number of milliseconds. The lowest two bits say which, and whether the tick was backfilled.
fn write_point(bytes: &mut Vec<u8>, first: &Point, point: &Point) {
    let distance = millis(point.slot).saturating_sub(millis(first.slot));
    let backfilled = u128::from(point.backfilled) << 1;
    if point.interval == first.interval {
        write(bytes, ((distance / u128::from(first.interval.millis())) << 2) | backfilled);
    } else {
        write(bytes, (distance << 2) | backfilled | 1);
        write(bytes, u128::from(point.interval.millis()));
    }
    write_price(bytes, first.price.units(), point.price);
}

fn read_point(bytes: &mut &[u8], first: &Point) -> Option<Point> {
    let number = read(bytes)?;
    let (same_grid, backfilled, distance) = (number & 1 == 0, number & 2 == 2, number >> 2);
    let (interval, distance) = match same_grid {
        true => (first.interval, distance.checked_mul(u128::from(first.interval.millis()))?),
        false => (interval(read(bytes)?)?, distance),
    };
    let slot = first.slot.start().unix_millis().checked_add(i64::try_from(distance).ok()?)?;
    let price = read_price(bytes, first.price.units())?;
    Some(Point { slot: on_grid(interval, slot)?, interval, price, backfilled })
}

/// Encodes a price as its scale and a difference of digits: the difference from the price `units`, truncated to the
/// same scale.
fn write_price(bytes: &mut Vec<u8>, units: u128, price: Price) {
    let (mantissa, scale) = (price.decimal().mantissa(), price.decimal().scale());
    let difference = mantissa.saturating_sub_unsigned(cut(units, scale));
    write(bytes, (fold(difference) << SCALE_BITS) | u128::from(scale));
}

fn read_price(bytes: &mut &[u8], units: u128) -> Option<Price> {
    let number = read(bytes)?;
    let scale = u32::try_from(number & ((1 << SCALE_BITS) - 1)).ok()?;
    let scale = Some(scale).filter(|scale| *scale <= Price::MAX_DECIMALS)?;
    let mantissa = unfold(number >> SCALE_BITS).checked_add_unsigned(cut(units, scale))?;
    Price::new(Decimal::try_from_i128_with_scale(mantissa, scale).ok()?).ok()
}

fn cut(units: u128, scale: u32) -> u128 {
    units / 10_u128.pow(Price::MAX_DECIMALS.saturating_sub(scale))
}

fn interval(millis: u128) -> Option<Interval> {
    Interval::new(Span::from_millis(u64::try_from(millis).ok()?)?).ok()
}

fn on_grid(interval: Interval, millis: i64) -> Option<Slot> {
    interval.slot(Timestamp::from_unix_millis(millis).ok()?)
}

fn millis(slot: Slot) -> u128 {
    // Timestamps are never negative.
    u128::try_from(slot.start().unix_millis()).unwrap_or(0)
}

fn signed(number: u64) -> i128 {
    i128::from(number)
}

/// The difference of two sums that are below 2¹²⁷.
fn difference(one: u128, other: u128) -> i128 {
    let apart = i128::try_from(one.abs_diff(other)).unwrap_or(i128::MAX);
    if one < other { -apart } else { apart }
}

fn write_signed(bytes: &mut Vec<u8>, number: i128) {
    write(bytes, fold(number));
}

fn read_signed(bytes: &mut &[u8]) -> Option<i128> {
    read(bytes).map(unfold)
}
