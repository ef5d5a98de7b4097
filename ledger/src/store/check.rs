//! Whether what the store holds can be true: a walk over all of it.
//!
//! Every slot of a pair is covered by exactly one tick or gap, and what no record covers was noted as a gap
//! when it was written. So the rows of a pair lie end to end, up to its newest slot; where they do not, some
//! are missing, or are those of another time, whatever the disk says. (Only where the interval changes can
//! a gap before the first slot of the new one be missing unnoticed.)

use std::iter::Peekable;

use common::domain::{Interval, Pair, Sequence, Slot, Timestamp};

use super::{Heads, Order, Store, StoreError, StoredGap, StoredTick, key};

/// What covers slots.
struct Cover {
    first: Slot,
    last: Slot,
    interval: Interval,
    sequence: Option<Sequence>,
}

impl Store {
    /// Reads all ticks and gaps, and fails where rows are missing or contradict each other. Takes about a
    /// second for a year of two pairs.
    pub fn check(&self) -> Result<(), StoreError> {
        let pairs = self.pairs()?;
        // Two rows of a pair tell that it has slots.
        let begun = self.database.scan_prefix(key::OLDEST_PREFIX).count();
        if begun != pairs.iter().filter(|(_, heads)| heads.covered.is_some()).count() {
            return Err(StoreError::Damaged("a pair is missing"));
        }
        pairs.into_iter().try_for_each(|(pair, heads)| self.check_pair(pair, &heads))
    }

    fn check_pair(&self, pair: Pair, heads: &Heads) -> Result<(), StoreError> {
        let (begin, end) = (Timestamp::EPOCH, Timestamp::MAX);
        let mut ticks = self.ticks(pair, begin, end, Order::Ascending).peekable();
        let mut gaps = self.gaps(pair, begin, end, Order::Ascending).peekable();
        let (mut before, mut newest_tick): (Option<Cover>, _) = (None, None);
        let oldest = self.database.get(key::oldest(pair))?;
        let oldest = oldest.and_then(|bytes| key::read_instant(&bytes));
        while let Some((cover, is_tick)) = next(&mut ticks, &mut gaps)? {
            let fits = match &before {
                None => oldest == Some(cover.first.start()),
                Some(before) => {
                    let newest = before.sequence.unwrap_or_default();
                    cover.first == cover.interval.after(before.last.start())
                        && cover.sequence.is_none_or(|sequence| sequence > newest)
                }
            };
            if !fits {
                return Err(StoreError::Damaged("rows are missing, or are of another time"));
            }
            if is_tick {
                newest_tick = cover.sequence;
            }
            // A gap that is in no record has no place in the log: what follows is held against the one before.
            let sequence = cover.sequence.or(before.and_then(|before| before.sequence));
            before = Some(Cover { sequence, ..cover });
        }
        if heads.covered.is_none() && before.is_none() {
            // Nothing but leads so far.
            return Ok(());
        }
        let newest = before.map(|before| (before.sequence.unwrap_or_default(), before.last, before.interval));
        let told = heads.covered.map(|(slot, interval)| (heads.covering, slot, interval));
        // Without any tick the newest one is past retention.
        if newest != told || newest_tick.is_some_and(|newest| newest != heads.tick) {
            return Err(StoreError::Damaged("the newest rows are missing"));
        }
        for newest in [heads.covering, heads.tick].into_iter().filter(|newest| *newest != Sequence::default())
        {
            if self.whole(newest)?.is_none() {
                return Err(StoreError::Damaged("a pair's newest record is missing"));
            }
        }
        Ok(())
    }
}

/// The next tick or gap, whichever is first; and whether it is a tick.
fn next(
    ticks: &mut Peekable<impl Iterator<Item = Result<StoredTick, StoreError>>>,
    gaps: &mut Peekable<impl Iterator<Item = Result<StoredGap, StoreError>>>,
) -> Result<Option<(Cover, bool)>, StoreError> {
    let tick_is_next = match (ticks.peek(), gaps.peek()) {
        (Some(Ok(tick)), Some(Ok(gap))) => tick.slot < gap.from,
        (tick, _) => tick.is_some(),
    };
    let tick = |tick: StoredTick| Cover {
        first: tick.slot,
        last: tick.slot,
        interval: tick.interval,
        sequence: Some(tick.sequence),
    };
    let gap = |gap: StoredGap| Cover {
        first: gap.from,
        last: gap.slot,
        interval: gap.interval,
        sequence: gap.recorded.map(|(sequence, _)| sequence),
    };
    Ok(match tick_is_next {
        true => ticks.next().transpose()?.map(|found| (tick(found), true)),
        false => gaps.next().transpose()?.map(|found| (gap(found), false)),
    })
}
