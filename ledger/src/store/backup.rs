//! Backups: a copy of the store in one file, made while the store is in use, and a store restored from such a file.
//!
//! The copy is consistent: no commit happens while rows are read. So that commits wait for a second or two and not
//! for a slow client, rows are first read into a temporary file beside the store. Rows are copied without being
//! interpreted.
//!
//! - `file` defines the layout of a backup, and writes and reads it.
//! - `restore` creates a store from a backup.

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

/// A finished backup in an unnamed temporary file, which disappears once it is closed.
#[derive(Debug)]
pub struct Backup {
    /// The backup, positioned at its start.
    pub file: File,
    /// What it contains.
    pub summary: Summary,
    /// How long commits had to wait.
    pub held: Duration,
}

/// Why no backup was made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The temporary file cannot be written to the directory that contains the store, for example because there is not
    /// enough space.
    #[error(
        "cannot write the backup's temporary file beside the store; it needs as much free space as the store uses"
    )]
    Write(#[from] io::Error),
}

impl Store {
    /// Copies every row in the state of a single moment. Commits wait until that is done. Blocks.
    pub fn backup(&self, now: Timestamp) -> Result<Backup, BackupError> {
        let mut spool = tempfile::tempfile_in(self.path.parent().unwrap_or(&self.path))?;
        let started = Instant::now();
        let summary = {
            let _no_writes = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
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
