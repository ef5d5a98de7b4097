//! Downsampling: a long range of history in few ticks that keep all extremes, for charts.
//!
//! The range is cut into buckets of equal length. From each bucket, the first, last, lowest and highest ticks are
//! taken. So the first, last, lowest and highest ticks of the whole range are always among them, and a line through
//! them looks like a line through all ticks. Nothing is averaged: every point is a tick of the log.
//!
//! The result depends only on the ticks in the range and on the number of points. It does not matter whether the
//! store merges a bucket from roll-ups or from ticks: a roll-up knows the first, last, lowest and highest of its
//! ticks and, if prices are equal, the earliest.

use common::domain::{Pair, Slot, Timestamp};

use crate::{
    store::{Order, Store, StoreError, StoredTick},
    summary::Summary,
};

/// The smallest allowed number of points: one bucket's first, last, lowest and highest ticks.
pub const MIN_POINTS: usize = PER_BUCKET;

/// The largest allowed number of points, more than a wide screen has columns. It also limits the work, because there
/// are at most 2,500 buckets. Buckets shorter than two days are merged from roll-ups of hours, those shorter than two
/// hours from roll-ups of minutes, and those shorter than two minutes from ticks. But there is no roll-up of fewer than
/// 16 ticks. So at the worst interval, four seconds, up to 4.5 million ticks are read one by one. At the usual interval
/// of ten seconds, it is up to 1.8 million, which takes a few tenths of a second.
pub const MAX_POINTS: usize = 10_000;

/// The number of ticks that are taken from a bucket.
const PER_BUCKET: usize = 4;

/// Bucket lengths are multiples of one of these, in milliseconds: days, hours, minutes, seconds. Buckets are aligned
/// to the calendar, so that a chart does not flicker when its range advances by a slot.
const UNITS_MILLIS: [u64; 4] = [86_400_000, 3_600_000, 60_000, 1_000];

/// A bucket has at least this many units, so that rounding its length up to whole units adds at most half of it.
const LEAST_UNITS: u64 = 2;

/// At most `points` of a pair's ticks with slots in `[from, to)`, oldest first, or all ticks if there are no more than
/// that. `points` must be at least [`MIN_POINTS`]. The range must not include slots after the pair's newest one.
pub fn sample(
    store: &Store,
    pair: Pair,
    (from, to): (Timestamp, Timestamp),
    points: usize,
) -> Result<Vec<StoredTick>, StoreError> {
    let Some(whole) = store.summarize(pair, from, to)? else { return Ok(Vec::new()) };
    if usize::try_from(whole.count).is_ok_and(|count| count <= points) {
        return store.ticks(pair, from, to, Order::Ascending).collect();
    }
    let buckets = match bucket_millis(&whole, points / PER_BUCKET) {
        Some(length) => store.candles(pair, length, from, to)?,
        None => vec![(from, whole)],
    };
    let mut slots: Vec<Slot> = buckets
        .iter()
        .flat_map(|(_, bucket)| [bucket.first, bucket.min, bucket.max, bucket.last].map(|point| point.slot))
        .collect();
    slots.sort_unstable();
    slots.dedup();
    store.ticks_at(pair, &slots)
}

/// The bucket length for which at most `count` calendar-aligned buckets hold all ticks. `None` if only one is
/// allowed.
fn bucket_millis(whole: &Summary, count: usize) -> Option<i64> {
    let length = whole.last.slot.start().millis_since(whole.first.slot.start());
    // The first tick can be anywhere in its bucket. So a range as long as `between` buckets can touch one bucket more.
    let between = u64::try_from(count.checked_sub(1)?).ok().filter(|between| *between > 0)?;
    let least = length.div_ceil(between).max(1);
    let unit = UNITS_MILLIS.into_iter().find(|unit| unit * LEAST_UNITS <= least).unwrap_or(1);
    i64::try_from(least.div_ceil(unit) * unit).ok()
}
