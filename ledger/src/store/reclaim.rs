//! Deletes rows that are past retention. Readers apply the exact retention limits themselves. Rows are deleted a little
//! later, so that a request on an older snapshot still finds its rows.

use std::time::Duration;

use common::domain::{Body, Pair, Sequence, Slot, Timestamp};

use super::{
    Order, Store, StoreError, Stored, StoredGap, block, key, packs,
    rollup::{Tier, later},
};

/// The most rows of each kind that one call examines. These are more than the largest batch adds, so that the store
/// does not grow once the pod has caught up with the log. They are few enough that readers are not delayed.
const ROWS: usize = 2_000;

/// The most blocks of a pair that one call removes, along with the gaps between their ticks.
const BLOCKS: usize = 8;

/// The most packs of whole records that one call examines.
const PACKS: usize = 32;

/// How long rows are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// How long ticks, roll-ups, gaps and leads are kept, counted back from the pair's newest slot.
    pub ticks: Duration,
    /// How long whole records with their quotes are kept, counted back from the slot that the log has reached.
    pub quotes: Duration,
}

impl Store {
    /// Removes some of the oldest rows that are past retention. `reached` is the slot that the log has reached. Returns
    /// how many.
    pub fn reclaim(&self, retention: Retention, reached: Option<Slot>) -> Result<usize, StoreError> {
        let mut batch = Removal::default();
        for (pair, state) in self.pairs()? {
            let Some((slot, _)) = state.covered else { continue };
            self.history_before(pair, slot.start().minus(retention.ticks), &mut batch)?;
        }
        if let Some(reached) = reached {
            self.quotes_before(reached.start(), retention, &mut batch)?;
        }
        if batch.rows > 0 {
            // A backup holds the writer's lock so that no rows change meanwhile. So this needs the lock like any other
            // write.
            self.with_writer(|_| self.database.apply(batch.batch))?;
        }
        Ok(batch.rows)
    }

    fn history_before(&self, pair: Pair, cutoff: Timestamp, batch: &mut Removal) -> Result<(), StoreError> {
        for tier in Tier::ALL {
            let rows = key::rollup(tier, pair, Timestamp::EPOCH)..key::rollup(tier, pair, cutoff);
            for row in self.database.range(rows).take(ROWS) {
                let (name, _) = row?;
                let start = key::read_instant(&name).ok_or(StoreError::Damaged("roll-up"))?;
                if later(start, tier.row_millis()) > cutoff {
                    break;
                }
                batch.remove(name);
            }
        }
        let before = batch.rows;
        let (removed_to, kept_block) = self.blocks_before(pair, cutoff, batch)?;
        let kept_gap = self.gaps_before(pair, cutoff.min(kept_block), removed_to, batch)?;
        if batch.rows > before {
            batch.batch.insert(key::oldest(pair), &key::instant(kept_block.min(kept_gap)));
        }
        Ok(())
    }

    /// Removes blocks. Returns the slot of the last tick removed, and the first slot of the blocks that remain.
    fn blocks_before(
        &self,
        pair: Pair,
        cutoff: Timestamp,
        batch: &mut Removal,
    ) -> Result<(Timestamp, Timestamp), StoreError> {
        let mut removed_to = Timestamp::EPOCH;
        let all = key::block(pair, Timestamp::EPOCH)..=key::block(pair, Timestamp::MAX);
        for (number, row) in self.database.range(all).enumerate() {
            let (name, bytes) = row?;
            let start = key::read_instant(&name).ok_or(StoreError::Damaged("block"))?;
            let ticks = block::ticks(start, &bytes).ok_or(StoreError::Damaged("block"))?;
            let past = ticks.last().map(|last| last.slot.start()).filter(|last| *last < cutoff);
            let (Some(first), Some(last), true) = (ticks.first(), past, number < BLOCKS) else {
                return Ok((removed_to, start));
            };
            batch.remove(key::block_index(pair, first.sequence));
            batch.remove(name);
            removed_to = last;
        }
        Ok((removed_to, Timestamp::MAX))
    }

    /// Removes the gaps that end before `end`, and every gap between ticks that were removed, because the remaining
    /// rows must follow one another without a hole. Returns the first slot of the gaps that remain.
    fn gaps_before(
        &self,
        pair: Pair,
        end: Timestamp,
        removed_to: Timestamp,
        batch: &mut Removal,
    ) -> Result<Timestamp, StoreError> {
        let all = key::gap(pair, Timestamp::EPOCH)..=key::gap(pair, Timestamp::MAX);
        for (number, row) in self.database.range(all).enumerate() {
            let row = row?;
            let gap = StoredGap::decode(&row)?;
            let last = gap.slot.start();
            if last >= end || (last > removed_to && number >= ROWS) {
                return Ok(gap.from.start());
            }
            if let Some((sequence, _)) = gap.recorded {
                batch.remove(key::gap_index(pair, sequence));
            }
            batch.remove(row.0);
        }
        Ok(Timestamp::MAX)
    }

    /// Removes whole records in log order, a pack at a time.
    fn quotes_before(
        &self,
        newest: Timestamp,
        retention: Retention,
        batch: &mut Removal,
    ) -> Result<(), StoreError> {
        let cutoff = newest.minus(retention.quotes);
        self.with_writer(|writer| {
            let packs = if writer.retained_until >= Some(cutoff) { 0 } else { PACKS };
            let from = key::pack(writer.reclaimed.next());
            for row in self.database.range(from..=key::pack(Sequence(u64::MAX))).take(packs) {
                let (name, value) = row?;
                let records = packs::unpack(&value)?;
                let fate = |(sequence, bytes): &(Sequence, Vec<u8>)| {
                    self.fate(&packs::decode(*sequence, bytes)?, cutoff)
                };
                let Some(first) = records.first() else { break };
                if let Some(covered) = last_covered(&records, newest)?.filter(|covered| *covered >= cutoff) {
                    writer.retained_until = Some(covered);
                    break;
                }
                let fates = records.iter().map(fate).collect::<Result<Vec<Fate>, StoreError>>()?;
                if fates.iter().all(|fate| *fate == Fate::Expired) {
                    batch.remove(name);
                }
                writer.reclaimed = first.0;
            }
            // There are few leads: one for each pair and term.
            for row in self.database.scan_prefix(key::LEAD_PREFIX).take(ROWS) {
                let (name, value) = row?;
                let sequence = key::read_record_sequence(&name).ok_or(StoreError::Damaged("position"))?;
                match packs::decode(sequence, &value)?.record.covers_up_to() {
                    // The first lead of a pair names no slot, so its age is unknown. It stays.
                    None => {}
                    // A pair whose records are ahead does not keep the leads of other pairs.
                    Some(covered) if covered > newest => {}
                    Some(covered) if covered < newest.minus(retention.ticks) => batch.remove(name),
                    Some(_) => break,
                }
            }
            Ok(())
        })
    }

    fn fate(&self, stored: &Stored, cutoff: Timestamp) -> Result<Fate, StoreError> {
        let Stored { sequence, record } = stored;
        let state = self.pair_state(record.pair)?.unwrap_or_default();
        Ok(match &record.body {
            // Leads are also stored in rows of their own.
            Body::Lead(_) => Fate::Expired,
            _ if record.covers_up_to() >= Some(cutoff) => Fate::WithinRetention,
            _ if [state.tick, state.tick_or_gap].contains(sequence) => Fate::StillNewest,
            // In every snapshot within retention, the pair already has a newer tick or gap in its place, so the quotes
            // of this record are not served any more.
            body if self.successor(record.pair, body)? < cutoff => Fate::Expired,
            _ => Fate::StillNewest,
        })
    }

    /// The slot of the pair's next tick after this record or, if this is a gap, of the next tick or gap.
    fn successor(&self, pair: Pair, body: &Body) -> Result<Timestamp, StoreError> {
        let (covered, is_gap) = match body {
            Body::Tick(tick) => (tick.slot.start(), false),
            Body::Gap(gap) => (gap.slot.start(), true),
            Body::Lead(_) => return Ok(Timestamp::EPOCH),
        };
        let tick = self.ticks(pair, covered.next(), Timestamp::MAX, Order::Ascending).next().transpose()?;
        let gap = match is_gap {
            true => self.gaps(pair, covered.next(), Timestamp::MAX, Order::Ascending).next().transpose()?,
            false => None,
        };
        let slots = tick.map(|tick| tick.slot.start()).into_iter().chain(gap.map(|gap| gap.from.start()));
        Ok(slots.min().unwrap_or(Timestamp::MAX))
    }
}

/// The slot of the newest record of a pack, which is its last one. Records that are ahead of the slot that the log has
/// reached do not count. Neither do leads, which are kept in rows of their own. `None` if all records are of these kinds.
fn last_covered(
    records: &[(Sequence, Vec<u8>)],
    reached: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    for (sequence, bytes) in records.iter().rev() {
        let record = packs::decode(*sequence, bytes)?.record;
        let covered = record.covers_up_to().filter(|covered| *covered <= reached);
        if covered.is_some() && !matches!(record.body, Body::Lead(_)) {
            return Ok(covered);
        }
    }
    Ok(None)
}

/// What happens to a whole record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The record is past retention and can be removed.
    Expired,
    /// The record is past retention, but it is its pair's newest tick or gap, or it still was at some time within
    /// retention. Requests for the newest price, including those with `at_sequence`, return that record with its quotes.
    StillNewest,
    /// The record is within retention.
    WithinRetention,
}

/// The rows to remove, and their number.
#[derive(Default)]
struct Removal {
    batch: sled::Batch,
    rows: usize,
}

impl Removal {
    fn remove(&mut self, name: impl Into<sled::IVec>) {
        self.batch.remove(name);
        self.rows += 1;
    }
}
