//! Long stretches of history in few ticks, without losing an extreme: what a chart needs.
//!
//! The stretch is cut into buckets of one length, and of each the first tick, the last, the lowest and the
//! highest are taken. So the first and the last tick of the whole stretch are always there, and the lowest and
//! the highest; every other bucket's too, which is why a line through them covers what a line through all ticks
//! covers. Nothing is averaged: each is a tick of the log.
//!
//! What is taken depends on the ticks in the stretch and the number asked for alone, however they are read: the
//! store puts buckets together from roll-ups where they are long, and a roll-up knows the first, last, lowest
//! and highest of its ticks, and on a tie the earliest, as if one had looked at each.

use common::domain::{Pair, Slot, Timestamp};

use crate::{
    store::{Order, Store, StoreError, StoredTick},
    summary::Summary,
};

/// The fewest ticks that a stretch can be brought down to: first, last, lowest and highest.
pub const MIN_POINTS: usize = PER_BUCKET;

/// The most: more than the widest screen has columns for. It bounds the work as well. There are at most 2,500
/// buckets. Where they are shorter than two minutes, or two hours, or two days, they are made of what is a
/// step shorter: of ticks, of minutes, of hours. A summary stands for 16 ticks or more, so that at the worst
/// interval, four seconds, no more than 4.5 million ticks are looked at, one after the other, and at the usual
/// ten seconds 1.8 million: a few tenths of a second at the most.
pub const MAX_POINTS: usize = 10_000;

/// What is taken of a bucket.
const PER_BUCKET: usize = 4;

/// Buckets are as many of these long as it takes, in milliseconds: days, hours, minutes, seconds. They lie on the
/// calendar, so that a chart does not flicker when its range moves on by a slot.
const UNITS_MILLIS: [u64; 4] = [86_400_000, 3_600_000, 60_000, 1_000];

/// A bucket is at least so many units long, so that rounding it up makes it longer by a third or a half at most.
const LEAST_UNITS: u64 = 2;

/// At most `points` of a pair's ticks with slots in `[from, to)`, oldest first; all, where there are no more.
/// `points` is at least [`MIN_POINTS`], and `to` not beyond the slots that are covered.
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

/// How long buckets are, so that no more than `count` of them, lying on the calendar, hold all ticks; nothing
/// where only one may.
fn bucket_millis(whole: &Summary, count: usize) -> Option<i64> {
    let length = whole.last.slot.start().millis_since(whole.first.slot.start());
    // The first and the last bucket may each have its border anywhere.
    let between = u64::try_from(count.checked_sub(1)?).ok().filter(|between| *between > 0)?;
    let least = length.div_ceil(between).max(1);
    let unit = UNITS_MILLIS.into_iter().find(|unit| unit * LEAST_UNITS <= least).unwrap_or(1);
    i64::try_from(least.div_ceil(unit) * unit).ok()
}
