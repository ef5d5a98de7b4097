//! History on disk: records and the log cursor, in sled. No other module uses sled.
//!
//! Each batch of the log becomes one atomic sled batch that includes the cursor, so after a crash the store never has
//! only a part of a batch. The store is a copy of the log and can be rebuilt from it. But for an in-process log, the
//! store is the only copy. So a batch is flushed before it is acknowledged.
//!
//! [`crate::ingest`] is the only writer. Everything else only reads.

pub mod backup;
mod block;
mod check;
mod database;
mod events;
mod files;
mod gaps;
mod key;
mod open;
mod packs;
mod reclaim;
mod records;
mod reserve;
mod rewrite;
mod rollup;
mod standing;
mod summarize;
mod ticks;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use common::{
    bus::LogIdentity,
    domain::{Epoch, Interval, Pair, Price, Record, Sequence, Slot, Timestamp},
    wire::{self, DecodeError},
};

use crate::{summary::Point, window::WindowTick};
use database::Database;
pub use gaps::StoredGap;
pub(crate) use open::ACKNOWLEDGED;
pub use open::OpenError;
pub use packs::{pack, unpack};
pub use reclaim::Retention;
pub use records::TickOrGap;
pub use rewrite::{RewriteError, Rewritten};
pub use standing::{Extent, Standing};
use writer::Writer;

/// A tick as history keeps it: without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredTick {
    /// Its slot.
    pub slot: Slot,
    /// The interval between slots when it was written.
    pub interval: Interval,
    /// Its price, with all of its digits.
    pub price: Price,
    /// The sequence of its record.
    pub sequence: Sequence,
    /// The epoch of the leader that wrote it.
    pub epoch: Epoch,
    /// Whether it was backfilled.
    pub backfilled: bool,
}

impl StoredTick {
    /// The part of the tick that summaries need.
    pub fn point(&self) -> Point {
        let Self { slot, interval, price, backfilled, .. } = *self;
        Point { slot, interval, price, backfilled }
    }
}

impl From<StoredTick> for WindowTick {
    fn from(tick: StoredTick) -> Self {
        Self { point: tick.point(), sequence: tick.sequence }
    }
}

/// A record and its sequence in the log.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The record's sequence.
    pub sequence: Sequence,
    /// The record.
    pub record: Record,
}

/// How much space a store takes, and how much its file system has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUse {
    /// The store's files. `None` while the store is closed.
    pub store: Option<u64>,
    /// What this process may still write.
    pub free: u64,
    /// What is in use on the file system, and what this process may still write.
    pub size: u64,
}

/// A place where the log has no record. It explains why slots have neither a tick nor a gap there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// The messages before this sequence were dropped because of their age.
    Expired(Sequence),
    /// The message at this sequence is not a record.
    Unreadable(Sequence),
}

/// The sequences of a pair's newest records, and the newest slot that has a tick or a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PairState {
    /// The newest record of any kind.
    pub newest: Sequence,
    /// The newest tick or gap; zero if there is none.
    pub tick_or_gap: Sequence,
    /// The newest tick; zero if there is none.
    pub tick: Sequence,
    /// The newest slot that a tick or gap covers, and its interval.
    pub covered: Option<(Slot, Interval)>,
}

/// The order in which history is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or sled failed.
    #[error("the disk or the database of the store failed")]
    Sled(#[from] sled::Error),
    /// Records could not be compressed.
    #[error("cannot compress records for the store")]
    Packing(#[source] std::io::Error),
    /// An earlier write failed. The store stays closed until it is reopened.
    #[error("the store is closed: {0}")]
    Closed(String),
    /// A row has content that this program did not write.
    #[error("the store holds invalid data: {0}")]
    Damaged(&'static str),
    /// A stored record cannot be decoded.
    #[error("the store holds a damaged record at sequence {sequence}")]
    Record {
        /// The record's sequence.
        sequence: Sequence,
        /// Why it cannot be decoded.
        #[source]
        source: DecodeError,
    },
}

impl StoreError {
    /// Whether the store's content is wrong, so that rebuilding it from the log would help.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Record { .. } => true,
            Self::Sled(error) => matches!(error, sled::Error::Corruption { .. }),
            Self::Closed(_) | Self::Packing(_) => false,
        }
    }
}

/// An open store. Clones are handles to the same store.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    identity: LogIdentity,
    path: PathBuf,
    /// The device and inode of the data file when it was opened.
    file: Option<(u64, u64)>,
    /// What the writer remembers between batches. `None` before the first batch and after a failed batch.
    writer: Arc<Mutex<Option<Writer>>>,
}

impl Store {
    /// The log that this store is a copy of.
    pub fn identity(&self) -> &LogIdentity {
        &self.identity
    }

    /// The directory of the store.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the data file is still where it was when the store was opened. If another program has deleted or
    /// replaced it, the process writes to a file that no longer has a name, and everything in it is lost when the
    /// process ends.
    pub fn is_in_place(&self) -> bool {
        self.file == open::place(&self.path)
    }

    /// Keeps some space of the disk, with which the store can be opened while the disk is full. Returns whether there
    /// is such space.
    pub fn keep_reserve(&self) -> std::io::Result<bool> {
        reserve::keep(&self.path)
    }

    /// How much space the store takes, and how much is left.
    pub fn disk_use(&self) -> std::io::Result<DiskUse> {
        let system = rustix::fs::statvfs(&self.path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(system.f_frsize);
        let (store, free) = (self.database.size().ok(), bytes(system.f_bavail));
        // Some of the space may be reserved for root, or may not exist. df leaves that out too.
        let used = bytes(system.f_blocks.saturating_sub(system.f_bfree));
        Ok(DiskUse { store, free, size: used.saturating_add(free) })
    }

    /// The newest sequence that was committed.
    pub fn cursor(&self) -> Result<Sequence, StoreError> {
        match self.database.get(key::CURSOR)? {
            None => Ok(Sequence::default()),
            Some(bytes) => key::read_sequence(&bytes).ok_or(StoreError::Damaged("cursor")),
        }
    }

    /// Writes one batch and the cursor atomically, and waits until both survive a crash of this process. Blocks.
    ///
    /// `breaks` are the places in this batch where the log has no record, in log order. Of records that cover slots
    /// before `whole_from`, only the derived rows are stored: their quotes will be past retention once the log has
    /// been read to its end.
    pub fn commit(
        &self,
        records: &[Stored],
        cursor: Sequence,
        breaks: &[Break],
        whole_from: Timestamp,
    ) -> Result<(), StoreError> {
        let encode = |stored: &Stored| wire::encode(&stored.record);
        self.commit_encoded(records, encode, cursor, breaks, whole_from)
    }

    /// Like [`Store::commit`], with the encoded records as the log has them. `encoded` returns the bytes of a record.
    pub(crate) fn commit_encoded(
        &self,
        records: &[Stored],
        encoded: impl Fn(&Stored) -> Vec<u8>,
        cursor: Sequence,
        breaks: &[Break],
        whole_from: Timestamp,
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        batch.insert(key::CURSOR, &key::sequence(cursor));
        self.with_writer(|writer| {
            writer.write(self, records, encoded, breaks, whole_from, &mut batch)?;
            self.database.apply(batch)?;
            self.database.flush()
        })
    }

    /// All rows, to compare stores.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let rows = self.database.scan_prefix(b"").map(Result::unwrap);
        rows.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    }

    /// A handle for the writer, which may use the store while it is catching up.
    #[must_use]
    pub fn writer_handle(&self) -> Self {
        Self { database: self.database.writer_handle(), ..self.clone() }
    }

    /// Closes the files after a failed write. [`Store::reopen`] opens them again.
    pub fn close(&self, reason: String) {
        *self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        self.database.close(reason);
    }

    /// Lets every handle use a reopened store again, once it holds everything that has already been served.
    pub fn caught_up(&self) {
        self.database.caught_up();
    }

    /// Runs `write` with the writer. If `write` fails, what the writer remembers is discarded.
    fn with_writer<T>(
        &self,
        write: impl FnOnce(&mut Writer) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // The writer is missing before the first batch, and after a failure or a panic. Then it is loaded again.
        let mut kept = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut writer = match kept.take() {
            Some(writer) => writer,
            None => Writer::load(self)?,
        };
        let written = write(&mut writer)?;
        *kept = Some(writer);
        Ok(written)
    }

    /// All pairs that have a record, and their states.
    pub fn pairs(&self) -> Result<Vec<(Pair, PairState)>, StoreError> {
        self.database
            .scan_prefix(key::PAIR_STATE_PREFIX)
            .map(|row| {
                let (name, value) = row?;
                let pair = key::read_pair(&name).ok_or(StoreError::Damaged("pair"))?;
                Ok((pair, key::read_pair_state(&value).ok_or(StoreError::Damaged("pair state"))?))
            })
            .collect()
    }

    /// The state of a pair. `None` if the pair has no record.
    pub fn pair_state(&self, pair: Pair) -> Result<Option<PairState>, StoreError> {
        let Some(value) = self.database.get(key::pair_state(pair))? else { return Ok(None) };
        key::read_pair_state(&value).map(Some).ok_or(StoreError::Damaged("pair state"))
    }
}

#[cfg(test)]
mod tests;
