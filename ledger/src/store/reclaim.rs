//! Freeing the space of what is past retention. Reading applies retention by itself, exactly; this only
//! follows, a little behind, so that whoever still answers from an older snapshot finds what it needs.

use std::time::Duration;

use common::domain::{Body, Pair, Sequence, Timestamp};

use super::{
    Order, Store, StoreError, Stored, block, key, packs,
    rollup::{Tier, later},
};

/// Rows of each kind that are looked at with each batch at most: more than the largest batch brings in, while
/// the log is caught up with, so that the store does not grow; few enough that reading it is not held up.
const ROWS: usize = 2_000;

/// Blocks of a pair that are removed with each batch at most, with the gaps between their ticks.
const BLOCKS: usize = 8;

/// Packs of whole records that are looked at with each batch at most.
const PACKS: usize = 32;

/// How long rows are kept, back from a pair's newest slot.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Ticks, roll-ups, gaps and leads.
    pub ticks: Duration,
    /// Whole records, with their quotes; back from the newest slot of any pair.
    pub quotes: Duration,
}

impl Store {
    /// Removes some of the oldest rows, where they are past retention. Answers how many.
    pub fn reclaim(&self, retention: Retention) -> Result<usize, StoreError> {
        let mut batch = Removal::default();
        let mut newest: Option<Timestamp> = None;
        for (pair, heads) in self.pairs()? {
            let Some((slot, _)) = heads.covered else { continue };
            newest = newest.max(Some(slot.start()));
            self.history_before(pair, slot.start().minus(retention.ticks), &mut batch)?;
        }
        if let Some(newest) = newest {
            self.quotes_before(newest, retention, &mut batch)?;
        }
        if batch.rows > 0 {
            // Like every writing: a copy of the store is of a moment between two of them.
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

    /// Removes blocks. Answers the slot of the last tick in them, and with which one those begin that stay.
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

    /// Removes the gaps that end before `end`: all of those between the ticks that were removed, for what
    /// stays must lie end to end. Answers with which slot those begin that stay.
    fn gaps_before(
        &self,
        pair: Pair,
        end: Timestamp,
        removed_to: Timestamp,
        batch: &mut Removal,
    ) -> Result<Timestamp, StoreError> {
        let all = key::gap(pair, Timestamp::EPOCH)..=key::gap(pair, Timestamp::MAX);
        for (number, row) in self.database.range(all).enumerate() {
            let (name, value) = row?;
            let gap = key::read_gap(&name, &value).ok_or(StoreError::Damaged("gap"))?;
            let last = gap.slot.start();
            if last >= end || (last > removed_to && number >= ROWS) {
                return Ok(gap.from.start());
            }
            if let Some((sequence, _)) = gap.recorded {
                batch.remove(key::gap_index(pair, sequence));
            }
            batch.remove(name);
        }
        Ok(Timestamp::MAX)
    }

    /// Whole records go in the order of the log, a pack at a time.
    fn quotes_before(
        &self,
        newest: Timestamp,
        retention: Retention,
        batch: &mut Removal,
    ) -> Result<(), StoreError> {
        let cutoff = newest.minus(retention.quotes);
        self.with_writer(|writer| {
            let packs = if writer.young_until >= Some(cutoff) { 0 } else { PACKS };
            let from = key::pack(writer.reclaimed.next());
            for row in self.database.range(from..=key::pack(Sequence(u64::MAX))).take(packs) {
                let (name, value) = row?;
                let records = packs::unpack(&value)?;
                let fate = |(sequence, bytes): &(Sequence, Vec<u8>)| {
                    self.fate(&packs::decode(*sequence, bytes)?, cutoff)
                };
                // The last of them is the youngest.
                let (Some(first), Some(last)) = (records.first(), records.last()) else { break };
                if fate(last)? == Fate::Young {
                    writer.young_until = packs::decode(last.0, &last.1)?.record.covers_up_to();
                    break;
                }
                let fates = records.iter().map(fate).collect::<Result<Vec<Fate>, StoreError>>()?;
                if fates.iter().all(|fate| *fate == Fate::Past) {
                    batch.remove(name);
                }
                writer.reclaimed = first.0;
            }
            // Leads are few: one each time a leader begins.
            for row in self.database.scan_prefix(key::LEAD_PREFIX).take(ROWS) {
                let (name, value) = row?;
                let sequence = key::read_record_sequence(&name).ok_or(StoreError::Damaged("position"))?;
                match packs::decode(sequence, &value)?.record.covers_up_to() {
                    // The first of its pair follows nothing.
                    None => {}
                    Some(covered) if covered < newest.minus(retention.ticks) => batch.remove(name),
                    Some(_) => break,
                }
            }
            Ok(())
        })
    }

    fn fate(&self, stored: &Stored, cutoff: Timestamp) -> Result<Fate, StoreError> {
        let Stored { sequence, record } = stored;
        let heads = self.heads(record.pair)?.unwrap_or_default();
        Ok(match &record.body {
            // It has a row of its own besides.
            Body::Lead(_) => Fate::Past,
            _ if record.covers_up_to() >= Some(cutoff) => Fate::Young,
            _ if [heads.tick, heads.covering].contains(sequence) => Fate::Stays,
            // As long as it may be the newest of its kind that somebody asks about, it is told whole.
            body if self.successor(record.pair, body)? < cutoff => Fate::Past,
            _ => Fate::Stays,
        })
    }

    /// The slot of a pair's next tick, or of its next tick or gap where this is a gap.
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

/// What becomes of a whole record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is past retention.
    Past,
    /// It would be, but a pair's newest price is told with its sources, however old it is, also of the past.
    Stays,
    /// It will be, some day.
    Young,
}

/// Rows to remove, counted.
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
