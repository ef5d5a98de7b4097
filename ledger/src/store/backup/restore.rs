//! Restoring a store from a backup.
//!
//! The store is built in a temporary directory beside its final place, and is moved there once the whole backup has
//! been read and verified. A partial store is never visible.

use std::{
    fs::{self, File},
    io::{self, BufRead},
    path::{Path, PathBuf},
};

use common::bus::LogIdentity;

use super::file::{Header, ReadBackupError, Reader, Summary};
use crate::store::{StoreError, database::Database, files, key, open};

/// Why a backup could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is already a store.
    #[error(
        "there is already a store in {path}; restore to another directory, or move the existing store away"
    )]
    AlreadyThere {
        /// The existing store.
        path: String,
    },
    /// Another process is restoring to the same directory.
    #[error("another process is restoring to {path}; wait until it has finished")]
    Busy {
        /// The temporary directory.
        path: String,
    },
    /// The backup is not valid.
    #[error(transparent)]
    Backup(#[from] ReadBackupError),
    /// Another version of Tickwell wrote the store that was backed up, in a format that this version does not read.
    #[error(
        "the backup holds a store of format {found}, from another version of Tickwell; this version reads and writes \
         format {written} only. Restore the backup with the version of Tickwell that made it"
    )]
    UnknownFormat {
        /// The format of the backup's rows.
        found: String,
        /// The format that this version reads and writes.
        written: &'static str,
    },
    /// The directory cannot be used.
    #[error("cannot use {path}")]
    Folder {
        /// The directory.
        path: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The store cannot be written.
    #[error("cannot write to {path}")]
    Write {
        /// The temporary directory.
        path: String,
        /// Why the write failed.
        #[source]
        source: StoreError,
    },
}

/// Creates a store in `folder` from a backup. Blocks.
///
/// The copy of a NATS log continues to follow that log. An in-process log continues as a new log with a new identity:
/// records after the backup are lost, and their sequences will be used again.
pub fn restore(folder: &Path, read: impl BufRead) -> Result<Summary, RestoreError> {
    let (store, temporary) = (folder.join("store"), folder.join("restoring"));
    let name = |path: &Path| path.display().to_string();
    let cannot_use = |source| RestoreError::Folder { path: name(folder), source };
    if store.exists() {
        return Err(RestoreError::AlreadyThere { path: name(&store) });
    }
    let mut reader = Reader::begin(read)?;
    fs::create_dir_all(folder).map_err(cannot_use)?;
    if files::is_in_use(&temporary) {
        return Err(RestoreError::Busy { path: name(&temporary) });
    }
    // Remove what an interrupted restore may have left behind.
    let temporary = TemporaryDirectory(temporary);
    temporary.clear().map_err(cannot_use)?;
    build(&temporary.0, &mut reader)?;
    let summary = reader.finish()?;
    if store.exists() {
        return Err(RestoreError::AlreadyThere { path: name(&store) });
    }
    fs::rename(&temporary.0, &store).map_err(cannot_use)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(cannot_use)?;
    Ok(summary)
}

/// A temporary directory that is removed unless it was renamed.
struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // If the removal fails, the next restore removes the directory.
        let _ = self.clear();
    }
}

/// Writes every row to a new store and closes it.
fn build(path: &Path, reader: &mut Reader<impl BufRead>) -> Result<(), RestoreError> {
    let failed = |source| RestoreError::Write { path: path.display().to_string(), source };
    let database = Database::new(files::open(path).map_err(|error| failed(error.into()))?);
    for rows in files::batches(std::iter::from_fn(|| reader.row().transpose())) {
        database.apply(rows?).map_err(failed)?;
    }
    check(&database, reader.header(), failed)?;
    database.flush().map_err(failed)?;
    drop(database);
    match files::wait_until_closed(path) {
        true => Ok(()),
        false => Err(RestoreError::Busy { path: path.display().to_string() }),
    }
}

/// Checks that the rows match the backup's header. An in-process log gets a new identity: clients that know the old
/// one may have seen records from after the backup.
fn check(
    database: &Database,
    header: &Header,
    failed: impl Fn(StoreError) -> RestoreError,
) -> Result<(), RestoreError> {
    let get = |name: &[u8]| database.get(name).map_err(&failed);
    let (format, identity, cursor) = (get(key::FORMAT)?, get(key::IDENTITY)?, get(key::CURSOR)?);
    let cursor = cursor.map_or(Some(0), |bytes| Some(key::read_sequence(&bytes)?.0));
    let described = (header.format.as_bytes(), header.log.as_bytes(), Some(header.sequence));
    if (format.as_deref().unwrap_or_default(), identity.as_deref().unwrap_or_default(), cursor) != described {
        return Err(ReadBackupError::Damaged("its header does not match its rows").into());
    }
    if header.format != open::FORMAT {
        return Err(RestoreError::UnknownFormat { found: header.format.clone(), written: open::FORMAT });
    }
    let identity = LogIdentity::new(&header.log).ok_or(ReadBackupError::Damaged("log identity"))?;
    if open::is_local(&identity) {
        let new = open::new_identity();
        database.put(key::IDENTITY, new.as_str().as_bytes()).map_err(&failed)?;
    }
    Ok(())
}
