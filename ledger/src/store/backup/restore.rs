//! A store made from a backup.
//!
//! It grows in a folder beside its place, and is put there once the whole backup was read and is what it says:
//! nobody ever sees a part of one.

use std::{
    fs::{self, File},
    io::{self, BufRead},
    path::{Path, PathBuf},
    time::Duration,
};

use common::bus::LogIdentity;
use tokio::time::Instant;

use super::file::{Header, ReadBackupError, Reader, Summary};
use crate::store::{StoreError, database::Database, key, open};

/// Rows that are written at once: enough to be quick, few enough to fit into memory whatever they hold.
const BATCH_ROWS: usize = 1_000;

/// Bytes that are written at once at most, but for one row more.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How long the new store may take to close. It takes some milliseconds.
const CLOSE_LIMIT: Duration = Duration::from_secs(60);

/// Between two looks at whether it is closed.
const CLOSE_PAUSE: Duration = Duration::from_millis(5);

/// Why no store was made.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is a store already.
    #[error("there is a store in {path} already: name another folder, or move that one away")]
    AlreadyThere {
        /// Where.
        path: String,
    },
    /// Somebody else is restoring to the same place.
    #[error("another process is restoring to {path}")]
    Busy {
        /// Where.
        path: String,
    },
    /// The file is not as it should be.
    #[error(transparent)]
    Backup(#[from] ReadBackupError),
    /// A newer version has made the store.
    #[error("the backup is of a store in the format {format}, of another Tickwell: restore it with that one")]
    UnknownFormat {
        /// Which.
        format: String,
    },
    /// The folder cannot be used.
    #[error("cannot use {path}")]
    Folder {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The store cannot be written.
    #[error("cannot write to {path}")]
    Write {
        /// Where.
        path: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
}

/// Makes a store in `folder` of a backup. The copy of a NATS log goes on with that log. An in-process log goes
/// on as another: whatever was given a position after the backup was made is lost, and those positions will
/// be given again. Blocks.
pub fn restore(folder: &Path, read: impl BufRead) -> Result<Summary, RestoreError> {
    let (store, growing) = (folder.join("store"), folder.join("restoring"));
    let name = |path: &Path| path.display().to_string();
    let cannot_use = |source| RestoreError::Folder { path: name(folder), source };
    if store.exists() {
        return Err(RestoreError::AlreadyThere { path: name(&store) });
    }
    let mut reader = Reader::begin(read)?;
    fs::create_dir_all(folder).map_err(cannot_use)?;
    if is_in_use(&growing) {
        return Err(RestoreError::Busy { path: name(&growing) });
    }
    // What a try that did not end has left.
    let growing = Growing(growing);
    growing.clear().map_err(cannot_use)?;
    grow(&growing.0, &mut reader)?;
    let summary = reader.finish()?;
    if store.exists() {
        return Err(RestoreError::AlreadyThere { path: name(&store) });
    }
    fs::rename(&growing.0, &store).map_err(cannot_use)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(cannot_use)?;
    Ok(summary)
}

/// A folder that is removed if it is still there in the end.
struct Growing(PathBuf);

impl Growing {
    fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        // What cannot be removed now is when somebody tries again.
        let _ = self.clear();
    }
}

/// Whether a process has this store open: sled holds a lock on its file.
fn is_in_use(path: &Path) -> bool {
    File::open(path.join(open::DATA_FILE)).is_ok_and(|file| file.try_lock().is_err())
}

/// Writes every row to a new store, and closes it.
fn grow(path: &Path, reader: &mut Reader<impl BufRead>) -> Result<(), RestoreError> {
    let failed = |source| RestoreError::Write { path: path.display().to_string(), source };
    let config = sled::Config::new().path(path).cache_capacity(open::CACHE_BYTES);
    let database = Database::new(config.open().map_err(|error| failed(error.into()))?);
    write(&database, reader, failed)?;
    check(&database, reader.header(), failed)?;
    database.flush().map_err(failed)?;
    drop(database);
    // sled lets go of it shortly after, and would still write to where it was.
    let started = Instant::now();
    while is_in_use(path) {
        if started.elapsed() > CLOSE_LIMIT {
            return Err(RestoreError::Busy { path: path.display().to_string() });
        }
        std::thread::sleep(CLOSE_PAUSE);
    }
    Ok(())
}

fn write(
    database: &Database,
    reader: &mut Reader<impl BufRead>,
    failed: impl Fn(StoreError) -> RestoreError,
) -> Result<(), RestoreError> {
    let (mut batch, mut rows, mut bytes) = (sled::Batch::default(), 0, 0);
    loop {
        let row = reader.row()?;
        let is_last = row.is_none();
        if let Some((name, value)) = row {
            rows += 1;
            bytes += name.len() + value.len();
            batch.insert(name, value);
        }
        if is_last || rows >= BATCH_ROWS || bytes >= BATCH_BYTES {
            database.apply(std::mem::take(&mut batch)).map_err(&failed)?;
            (rows, bytes) = (0, 0);
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Whether the rows are what the backup says it has. An in-process log gets a new identity: the old one stands
/// for what its clients were told, and that may have gone further than the backup.
fn check(
    database: &Database,
    header: &Header,
    failed: impl Fn(StoreError) -> RestoreError,
) -> Result<(), RestoreError> {
    let get = |name: &[u8]| database.get(name).map_err(&failed);
    let (format, identity, cursor) = (get(key::FORMAT)?, get(key::IDENTITY)?, get(key::CURSOR)?);
    let cursor = cursor.map_or(Some(0), |bytes| Some(key::read_sequence(&bytes)?.0));
    let told = (header.format.as_bytes(), header.log.as_bytes(), Some(header.sequence));
    if (format.as_deref().unwrap_or_default(), identity.as_deref().unwrap_or_default(), cursor) != told {
        return Err(ReadBackupError::Damaged("its head is another's").into());
    }
    if !open::is_known(header.format.as_bytes()) {
        return Err(RestoreError::UnknownFormat { format: header.format.clone() });
    }
    let identity = LogIdentity::new(&header.log).ok_or(ReadBackupError::Damaged("its log's identity"))?;
    if open::is_local(&identity) {
        let anew = open::new_identity();
        database.put(key::IDENTITY, anew.as_str().as_bytes()).map_err(&failed)?;
    }
    Ok(())
}
