//! History on disk: records and cursor in sled. The only place that knows sled.
//!
//! Everything of one log batch is one atomic sled batch of one tree, cursor included: after a crash the
//! store stands exactly between two batches. It is a copy of the log and can be rebuilt from it, except
//! under the in-process log, where it is the only one; so it is flushed before anything is acknowledged.
//!
//! sled has no second writer: [`crate::ingest`] is the only one, and every other part reads.

pub mod backup;
mod block;
mod check;
mod database;
mod events;
mod gaps;
mod key;
mod migrate;
mod open;
mod packs;
mod reclaim;
mod records;
mod rollup;
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
    wire::DecodeError,
};

use crate::summary::Point;
use database::Database;
pub use gaps::StoredGap;
pub(crate) use open::ACKNOWLEDGED;
pub use open::OpenError;
pub use reclaim::Retention;
pub use records::Covering;
use writer::Writer;

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
    /// The term of the leader that wrote it.
    pub epoch: Epoch,
}

impl StoredTick {
    /// What averages need of it.
    pub fn point(&self) -> Point {
        Point { slot: self.slot, interval: self.interval, price: self.price }
    }
}

/// A record with its position, as it came from the log.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its position.
    pub sequence: Sequence,
    /// What it says.
    pub record: Record,
}

/// What the log held in place of a record. Slots that no record covers are explained by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// The messages before this position were dropped because of their age.
    Expired(Sequence),
    /// The message at this position is not a record.
    Unreadable(Sequence),
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
    /// The newest slot that a tick or gap covers, and the distance between slots there.
    pub covered: Option<(Slot, Interval)>,
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
    /// A library refused to pack what was to be written.
    #[error("records cannot be packed")]
    Packing(#[source] std::io::Error),
    /// It failed to write before, and is closed until it is opened anew.
    #[error("the store is closed: {0}")]
    Closed(String),
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

impl StoreError {
    /// Whether what lies there is wrong, and a store built anew would be better.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Record { .. } => true,
            Self::Sled(error) => matches!(error, sled::Error::Corruption { .. }),
            Self::Closed(_) | Self::Packing(_) => false,
        }
    }
}

/// The open store. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    identity: LogIdentity,
    path: PathBuf,
    /// What the one writer remembers between batches; nothing before the first, or after one that failed.
    writer: Arc<Mutex<Option<Writer>>>,
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

    /// Whether it has the rows of this version. One of an older version that was opened for its records alone has
    /// nothing else.
    pub fn is_current(&self) -> Result<bool, StoreError> {
        Ok(self.database.get(key::FORMAT)?.is_some_and(|format| format == open::FORMAT))
    }

    /// The newest position that was committed.
    pub fn cursor(&self) -> Result<Sequence, StoreError> {
        match self.database.get(key::CURSOR)? {
            None => Ok(Sequence::default()),
            Some(bytes) => key::read_sequence(&bytes).ok_or(StoreError::Damaged("cursor")),
        }
    }

    /// Writes one batch and moves the cursor, all or nothing, and waits until it will survive a crash of
    /// this process. `breaks` say what this batch met in place of records, in the order of the log. Records that end before `whole_from` will be past the quotes' retention once the log has
    /// been read: what is left of them is written at once. Blocks.
    pub fn commit(
        &self,
        records: &[Stored],
        cursor: Sequence,
        breaks: &[Break],
        whole_from: Timestamp,
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        batch.insert(key::CURSOR, &key::sequence(cursor));
        self.with_writer(|writer| {
            writer.write(self, records, breaks, whole_from, &mut batch)?;
            self.database.apply(batch)?;
            self.database.flush()
        })
    }

    /// The handle of its one writer, which alone may use it while it is catching up.
    #[must_use]
    pub fn of_writer(&self) -> Self {
        Self { database: self.database.of_writer(), ..self.clone() }
    }

    /// Lets go of the files, as after a write that failed; [`Store::reopen`] takes them again.
    pub fn close(&self, reason: String) {
        *self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        self.database.close(reason);
    }

    /// After [`Store::reopen`]: it has everything that anybody was told. Everybody may read it again.
    pub fn caught_up(&self) {
        self.database.caught_up();
    }

    /// Lets the writer do something. What it remembers is forgotten if that fails.
    fn with_writer<T>(
        &self,
        write: impl FnOnce(&mut Writer) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // After a panic in here the writer is missing, and is read anew.
        let mut kept = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut writer = match kept.take() {
            Some(writer) => writer,
            None => Writer::load(self)?,
        };
        let written = write(&mut writer)?;
        *kept = Some(writer);
        Ok(written)
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
}

#[cfg(test)]
mod tests;
