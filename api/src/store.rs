//! History on disk: records and cursor in sled. The only place that knows sled.
//!
//! Everything of one log batch is one atomic sled batch of one tree, cursor included: after a crash the
//! store stands exactly between two batches. It is a copy of the log and can be rebuilt from it, except
//! under the in-process log, where it is the only one; so it is flushed before anything is acknowledged.
//!
//! sled has no second writer: [`crate::ingest`] is the only one, and every other part reads.

mod gaps;
mod key;
mod migrate;
mod open;
mod summarize;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::{Path, PathBuf},
};

use common::{
    bus::LogIdentity,
    domain::{Body, Interval, Pair, Price, Record, Sequence, Slot, Timestamp},
    wire::{self, DecodeError},
};

pub use gaps::StoredGap;
pub use open::OpenError;

/// A tick as history has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredTick {
    /// Its slot.
    pub slot: Slot,
    /// The distance to the next slot at the time.
    pub interval: Interval,
    /// Its price, digits kept.
    pub price: Price,
    /// Its record's position in the log.
    pub sequence: Sequence,
}

/// A record with its position, as it came from the log.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its position.
    pub sequence: Sequence,
    /// What it says.
    pub record: Record,
}

/// The positions of a pair's newest records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heads {
    /// Its newest record of any kind.
    pub newest: Sequence,
    /// Its newest tick or gap; zero if there was none.
    pub covering: Sequence,
    /// Its newest tick; zero if there was none.
    pub tick: Sequence,
}

/// In which order history is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or sled.
    #[error("the store failed")]
    Sled(#[from] sled::Error),
    /// A row that this program did not write.
    #[error("the store holds a damaged row: {0}")]
    Damaged(&'static str),
    /// A record that cannot be read any more.
    #[error("the store holds a damaged record at {sequence}")]
    Record {
        /// Which.
        sequence: Sequence,
        /// Why not.
        #[source]
        source: DecodeError,
    },
}

/// The open store. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Store {
    database: sled::Db,
    identity: LogIdentity,
    path: PathBuf,
}

impl Store {
    /// The log that this is a copy of.
    pub fn identity(&self) -> &LogIdentity {
        &self.identity
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest position that was committed.
    pub fn cursor(&self) -> Result<Sequence, StoreError> {
        match self.database.get(key::CURSOR)? {
            None => Ok(Sequence::default()),
            Some(bytes) => key::read_sequence(&bytes).ok_or(StoreError::Damaged("cursor")),
        }
    }

    /// Writes one batch and moves the cursor, all or nothing, and waits until it will survive a crash of
    /// this process. Blocks.
    pub fn commit(&self, records: &[Stored], cursor: Sequence) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        batch.insert(key::CURSOR, &key::sequence(cursor));
        let mut heads = BTreeMap::new();
        for Stored { sequence, record } in records {
            // The codec is exact: these are the bytes that came from the log, less unknown fields.
            batch.insert(key::record(*sequence).as_slice(), wire::encode(record));
            let head = match heads.entry(record.pair) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(self.heads(record.pair)?.unwrap_or_default()),
            };
            head.newest = *sequence;
            match &record.body {
                Body::Tick(tick) => {
                    (head.covering, head.tick) = (*sequence, *sequence);
                    let value = key::tick_value(*sequence, tick.interval, tick.price);
                    batch.insert(key::tick(record.pair, tick.slot.start()), value);
                }
                Body::Gap(gap) => {
                    head.covering = *sequence;
                    let value = key::gap_value(*sequence, record.epoch, gap);
                    batch.insert(key::gap(record.pair, gap.slot.start()), value);
                }
                Body::Lead(_) => {}
            }
        }
        for (pair, head) in heads {
            batch.insert(key::heads(pair), key::heads_value(head));
        }
        self.database.apply_batch(batch)?;
        self.database.flush()?;
        Ok(())
    }

    /// The record at a position.
    pub fn record(&self, sequence: Sequence) -> Result<Option<Record>, StoreError> {
        let Some(bytes) = self.database.get(key::record(sequence))? else { return Ok(None) };
        wire::decode(&bytes).map(Some).map_err(|source| StoreError::Record { sequence, source })
    }

    /// Every record, in the order of the log.
    pub fn records(&self) -> impl Iterator<Item = Result<Stored, StoreError>> + use<> {
        self.database.scan_prefix(key::RECORD_PREFIX).map(|row| {
            let (name, value) = row?;
            read_record(&name, &value)
        })
    }

    /// A pair's newest record of any kind.
    pub fn newest_record(&self, pair: Pair) -> Result<Option<Stored>, StoreError> {
        let Some(Heads { newest: sequence, .. }) = self.heads(pair)? else { return Ok(None) };
        Ok(self.record(sequence)?.map(|record| Stored { sequence, record }))
    }

    /// The pairs that have a record.
    pub fn pairs(&self) -> Result<Vec<(Pair, Heads)>, StoreError> {
        self.database
            .scan_prefix(key::HEADS_PREFIX)
            .map(|row| {
                let (name, value) = row?;
                let pair = key::read_heads_pair(&name).ok_or(StoreError::Damaged("pair"))?;
                Ok((pair, key::read_heads(&value).ok_or(StoreError::Damaged("heads"))?))
            })
            .collect()
    }

    /// The positions of a pair's newest records.
    pub fn heads(&self, pair: Pair) -> Result<Option<Heads>, StoreError> {
        let Some(value) = self.database.get(key::heads(pair))? else { return Ok(None) };
        key::read_heads(&value).map(Some).ok_or(StoreError::Damaged("heads"))
    }

    /// A pair's ticks with slots in `[from, to)`, one after the other.
    pub fn ticks(
        &self,
        pair: Pair,
        from: Timestamp,
        to: Timestamp,
        order: Order,
    ) -> impl Iterator<Item = Result<StoredTick, StoreError>> + use<> {
        // An empty range would panic inside sled where its ends are the wrong way round.
        let range = self.database.range(key::tick(pair, from.min(to))..key::tick(pair, to));
        let rows: Box<dyn Iterator<Item = _>> = match order {
            Order::Ascending => Box::new(range),
            Order::Descending => Box::new(range.rev()),
        };
        rows.map(|row| {
            let (name, value) = row?;
            key::read_tick(&name, &value).ok_or(StoreError::Damaged("tick"))
        })
    }

    /// Removes up to `limit` of the oldest records, where they end before `cutoff`. Answers how many.
    pub fn reclaim(&self, cutoff: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut batch = sled::Batch::default();
        let mut removed = 0;
        // A lead may not say which slot it follows: it goes with the next record that does.
        let mut undated = Vec::new();
        for row in self.database.scan_prefix(key::RECORD_PREFIX).take(limit) {
            let (name, value) = row?;
            let Ok(record) = wire::decode(&value) else { break };
            undated.push(name);
            match record.covers_up_to() {
                None => continue,
                Some(covered) if covered >= cutoff => break,
                Some(_) => {}
            }
            match &record.body {
                Body::Tick(tick) => batch.remove(key::tick(record.pair, tick.slot.start())),
                Body::Gap(gap) => batch.remove(key::gap(record.pair, gap.slot.start())),
                Body::Lead(_) => {}
            }
            removed += undated.len();
            undated.drain(..).for_each(|name| batch.remove(name));
        }
        if removed > 0 {
            self.database.apply_batch(batch)?;
        }
        Ok(removed)
    }
}

fn read_record(name: &[u8], value: &[u8]) -> Result<Stored, StoreError> {
    let sequence = key::read_record_sequence(name).ok_or(StoreError::Damaged("position"))?;
    let record = wire::decode(value).map_err(|source| StoreError::Record { sequence, source })?;
    Ok(Stored { sequence, record })
}

#[cfg(test)]
mod tests;
