//! A copy of the store in one file, made while it is in use, and a store made from such a copy.
//!
//! The copy is of one moment, between two commits: while the rows are read no other is written. So that this
//! takes a second or two and not as long as somebody's network, they are read into a file beside the store
//! first. Rows are copied as they lie there, whatever they mean.
//!
//! - `file`: how such a file looks, and how it is read.
//! - `restore`: a store made from one.

mod file;
mod restore;

use std::{
    fs::File,
    io::{self, BufWriter, Seek, Write},
    sync::PoisonError,
    time::Duration,
};

use common::domain::Timestamp;
use tokio::time::Instant;

use super::{Store, StoreError, key};
pub use file::{Header, ReadBackupError, Summary, check};
pub use restore::{RestoreError, restore};

/// A copy that was made, in a file without a name: it is gone when nobody reads it any more.
#[derive(Debug)]
pub struct Backup {
    /// The copy, from its beginning.
    pub file: File,
    /// What is in it.
    pub summary: Summary,
    /// How long nothing could be written to the store meanwhile.
    pub held: Duration,
}

/// Why no copy was made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no room for the copy beside the store, or it cannot be written.
    #[error("cannot write a copy of the store beside it: a backup needs as much room again")]
    Write(#[from] io::Error),
}

impl Store {
    /// Copies everything as of one moment. Commits wait until that is done. Blocks.
    pub fn backup(&self, now: Timestamp) -> Result<Backup, BackupError> {
        let mut spool = tempfile::tempfile_in(self.path.parent().unwrap_or(&self.path))?;
        let started = Instant::now();
        let summary = {
            let _nobody_writes = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            self.copy(now, BufWriter::new(&mut spool))?
        };
        let held = started.elapsed();
        spool.rewind()?;
        Ok(Backup { file: spool, summary, held })
    }

    fn copy(&self, now: Timestamp, write: impl Write) -> Result<Summary, BackupError> {
        let format = self.database.get(key::FORMAT)?.ok_or(StoreError::Damaged("no format"))?;
        let header = Header {
            made_at: now.to_string(),
            log: self.identity.to_string(),
            sequence: self.cursor()?.0,
            format: String::from_utf8_lossy(&format).into_owned(),
        };
        let mut writer = file::Writer::begin(header, write)?;
        for row in self.database.scan_prefix(b"") {
            let (name, value) = row?;
            writer.row(&name, &value)?;
        }
        Ok(writer.finish()?)
    }
}

#[cfg(test)]
mod tests;
