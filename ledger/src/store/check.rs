//! A consistency check of the whole store.
//!
//! Every slot of a pair is covered by exactly one tick or gap. The writer adds a gap for slots that no record covers.
//! So the rows of a pair must follow one another without a hole, up to its newest slot. If they do not, rows are
//! missing or come from an older state of the store, even if sled considers its files intact. (One case goes
//! undetected: a missing gap right before the first slot after a change of the interval.)

use std::iter::Peekable;

use common::domain::{Interval, Pair, Sequence, Slot, Timestamp};

use super::{Order, PairState, Store, StoreError, StoredGap, StoredTick, key};

/// The slots that one tick or gap covers.
struct Cover {
    first: Slot,
    last: Slot,
    interval: Interval,
    sequence: Option<Sequence>,
}

impl Store {
    /// Reads all ticks and gaps. Fails if rows are missing or contradict each other. Takes about a second for a year
    /// of two pairs.
    pub fn check(&self) -> Result<(), StoreError> {
        let pairs = self.pairs()?;
        // Whether a pair has slots is recorded in two rows, which must agree.
        let with_slots = self.database.scan_prefix(key::OLDEST_PREFIX).count();
        if with_slots != pairs.iter().filter(|(_, state)| state.covered.is_some()).count() {
            return Err(StoreError::Damaged("a pair is missing"));
        }
        pairs.into_iter().try_for_each(|(pair, state)| self.check_pair(pair, &state))
    }

    fn check_pair(&self, pair: Pair, state: &PairState) -> Result<(), StoreError> {
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
                return Err(StoreError::Damaged("rows are missing or outdated"));
            }
            if is_tick {
                newest_tick = cover.sequence;
            }
            // A gap without a record has no sequence, so the next row is compared with the one before the gap.
            let sequence = cover.sequence.or(before.and_then(|before| before.sequence));
            before = Some(Cover { sequence, ..cover });
        }
        if state.covered.is_none() && before.is_none() {
            // The pair has had nothing but leads so far.
            return Ok(());
        }
        let newest = before.map(|before| (before.sequence.unwrap_or_default(), before.last, before.interval));
        let recorded = state.covered.map(|(slot, interval)| (state.tick_or_gap, slot, interval));
        // If there are no ticks, the newest one was removed because it is past retention.
        if newest != recorded || newest_tick.is_some_and(|newest| newest != state.tick) {
            return Err(StoreError::Damaged("the newest rows are missing"));
        }
        for newest in
            [state.tick_or_gap, state.tick].into_iter().filter(|newest| *newest != Sequence::default())
        {
            if self.whole(newest)?.is_none() {
                return Err(StoreError::Damaged("a pair's newest record is missing"));
            }
        }
        Ok(())
    }
}

/// The next tick or gap by slot, and whether it is a tick.
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
