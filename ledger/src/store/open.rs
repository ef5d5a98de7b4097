//! Opening the store: which log it belongs to, whether this version can read it, and what happens if it cannot.
//!
//! The copy of a NATS log can be rebuilt from the log, so a copy that cannot be used is moved aside and replaced by
//! an empty one. The store of an in-process log is the only copy of its history, so it is never moved: opening it
//! fails with an error that says what to do.

mod aside;
mod error;

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{bus::LogIdentity, domain::Timestamp};

use super::{
    Store, StoreError,
    database::Database,
    files::{self, DATA_FILE},
    key, reserve, rewrite,
};
use aside::{move_aside, set_snapshots_aside};
pub use error::OpenError;

/// The number of the row format that this version reads and writes.
pub(super) const FORMAT: &str = "5";

/// The file beside the store that records what an in-process log has acknowledged.
pub(crate) const ACKNOWLEDGED: &str = "acknowledged";

/// The prefix of every in-process log's identity. JetStream's identities are hexadecimal, so they never start with
/// this prefix.
const LOCAL: &str = "local";

impl Store {
    /// Opens the copy of a NATS log. A store that cannot be read, has another format or is the copy of another log is
    /// moved aside. Then an empty store is created, to be rebuilt from the log.
    pub fn open_copy(folder: &Path, log: &LogIdentity, now: Timestamp) -> Result<Self, OpenError> {
        let path = create_folder(folder)?;
        match open(&path)? {
            Ok(Found::Empty(database)) => return create(database, log.clone(), path),
            Ok(Found::Store(found)) if is_local(&found.identity) => return Err(only_copy_there(&path)),
            Ok(Found::Store(found)) if found.format != FORMAT => tracing::warn!(
                event = "store_format_unsupported", found = found.format, written = FORMAT, path = %path.display(),
                "another version of Tickwell wrote the store; moving it aside to rebuild it from the log"
            ),
            Ok(Found::Store(found)) if found.identity != *log => tracing::warn!(
                event = "store_of_another_log", held = %found.identity, log = %log, path = %path.display(),
                "the store is a copy of another log; moving it aside to rebuild it from the log"
            ),
            Ok(Found::Store(found)) => return Ok(found.into_store(path)),
            Err(error) => tracing::error!(
                event = "store_unreadable", error = common::telemetry::chain(&error), path = %path.display(),
                "the store cannot be read; moving it aside to rebuild it from the log"
            ),
        }
        move_aside(folder, &path, now)?;
        create_in_place(&path, log.clone())
    }

    /// Opens an existing copy of a NATS log, whichever log it belongs to; the caller checks that later. Returns
    /// `None` if there is no copy or it cannot be used as it is. Never creates or moves a store.
    pub fn open_present_copy(folder: &Path) -> Result<Option<Self>, OpenError> {
        let path = create_folder(folder)?;
        // Check this first, because sled would create a store that does not exist.
        if !path.join(DATA_FILE).exists() {
            return Ok(None);
        }
        match open(&path)? {
            Ok(Found::Store(found)) if is_local(&found.identity) => Err(only_copy_there(&path)),
            Ok(Found::Store(found)) if found.format == FORMAT => Ok(Some(found.into_store(path))),
            _ => Ok(None),
        }
    }

    /// Opens the store of an in-process log, which is the only copy of its history. Fails if it has another format.
    pub fn open_local(folder: &Path) -> Result<Self, OpenError> {
        let path = create_folder(folder)?;
        let name = path.display().to_string();
        let only_copy = |source| OpenError::OnlyCopy { path: name.clone(), source };
        let mut opened = open(&path)?;
        if let Err(damage) = &opened
            && set_snapshots_aside(&path)?
        {
            tracing::error!(
                event = "store_snapshot_set_aside",
                error = common::telemetry::chain(damage),
                path = %path.display(),
                "the store cannot be read; retrying without sled's snapshot"
            );
            opened = open(&path)?;
        }
        match opened.map_err(only_copy)? {
            Found::Empty(_) if folder.join(ACKNOWLEDGED).exists() => Err(only_copy(StoreError::Damaged(
                "there are no records, although some have been acknowledged",
            ))),
            Found::Empty(database) => create(database, new_identity(), path),
            Found::Store(found) if !is_local(&found.identity) => Err(OpenError::OtherKind {
                path: name,
                held: "a copy of a NATS log",
                wanted: "an in-process log",
            }),
            Found::Store(found) => found.of_this_format(path),
        }
    }

    /// Opens the files again after a failed write. Fails while they cannot be opened.
    pub fn reopen(&self) -> Result<(), OpenError> {
        let unreadable = |source| OpenError::Unreadable { path: self.path.display().to_string(), source };
        match open(&self.path)?.map_err(unreadable)? {
            Found::Store(found) if found.identity == self.identity && found.format == FORMAT => {
                let opened = found.database.clone();
                found.into_store(self.path.clone()).check().map_err(unreadable)?;
                self.database.reopen(opened);
                Ok(())
            }
            _ => Err(unreadable(StoreError::Damaged("another store has taken its place"))),
        }
    }

    /// Whether this store is itself the log, so that there is nothing to rebuild it from.
    pub fn is_only_copy(&self) -> bool {
        is_local(&self.identity)
    }

    /// Opens an existing store of either kind for reading. Never creates or moves a store.
    pub fn open_records(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join("store");
        let name = || path.display().to_string();
        // Check this first, because sled would create a store that does not exist.
        if !path.join(DATA_FILE).exists() {
            return Err(OpenError::NotThere { path: name() });
        }
        match open(&path)?.map_err(|source| OpenError::Unreadable { path: name(), source })? {
            Found::Empty(_) => Err(OpenError::NotThere { path: name() }),
            Found::Store(found) => found.of_this_format(path),
        }
    }

    fn from_parts(database: sled::Db, identity: LogIdentity, path: PathBuf) -> Self {
        let file = place(&path);
        Self { database: Database::new(database), identity, path, file, writer: Arc::default() }
    }
}

/// The device and inode of the data file at a path. `None` if there is none.
pub(super) fn place(path: &Path) -> Option<(u64, u64)> {
    let about = fs::metadata(path.join(DATA_FILE)).ok()?;
    Some((about.dev(), about.ino()))
}

/// What is in a store's directory.
enum Found {
    /// An empty database that can become a store.
    Empty(sled::Db),
    Store(Opened),
}

/// An existing store, of any format.
struct Opened {
    database: sled::Db,
    identity: LogIdentity,
    format: String,
}

impl Opened {
    fn into_store(self, path: PathBuf) -> Store {
        Store::from_parts(self.database, self.identity, path)
    }

    /// The store, if this version can read it.
    fn of_this_format(self, path: PathBuf) -> Result<Store, OpenError> {
        if self.format == FORMAT {
            return Ok(self.into_store(path));
        }
        Err(OpenError::OtherFormat {
            path: path.display().to_string(),
            found: self.format,
            written: FORMAT,
            is_only_copy: is_local(&self.identity),
        })
    }
}

/// Creates the directory if it does not exist, and returns the path of the store in it.
fn create_folder(folder: &Path) -> Result<PathBuf, OpenError> {
    fs::create_dir_all(folder)
        .map_err(|source| OpenError::Folder { path: folder.display().to_string(), source })?;
    Ok(folder.join("store"))
}

/// Opens the database at a path. The inner error means that the store is damaged. The outer error says nothing about
/// the store: another process has it open, or the system refused access.
fn open(path: &Path) -> Result<Result<Found, StoreError>, OpenError> {
    let name = || path.display().to_string();
    let mut opened = open_readable(path);
    if matches!(&opened, Err(StoreError::Sled(sled::Error::Io(error))) if error.kind() == io::ErrorKind::StorageFull)
        && reserve::give_up(path)
    {
        tracing::warn!(
            event = "store_reserve_used", path = %path.display(),
            "the disk is full; opening the store with the space that was reserved for this"
        );
        opened = open_readable(path);
    }
    match opened {
        Err(StoreError::Sled(sled::Error::Io(source))) if is_lock(&source) => {
            Err(OpenError::InUse { path: name() })
        }
        Err(StoreError::Sled(sled::Error::Io(source))) => Err(OpenError::Folder { path: name(), source }),
        opened => Ok(opened),
    }
}

fn open_readable(path: &Path) -> Result<Found, StoreError> {
    // sled panics on some kinds of damage while it opens. A panic is treated like any other unreadable store.
    let opened = std::panic::catch_unwind(|| files::open(path));
    let database = opened.map_err(|_panic| StoreError::Damaged("sled cannot open it"))??;
    rewrite::clean_up(path);
    let Some(format) = database.get(key::FORMAT)? else {
        return match database.is_empty() {
            true => Ok(Found::Empty(database)),
            false => Err(StoreError::Damaged("no format")),
        };
    };
    // Read the identity whatever the format is. It shows whether this is the only copy of a log, which must never be
    // moved.
    let identity = database.get(key::IDENTITY)?.ok_or(StoreError::Damaged("no identity"))?;
    let identity = std::str::from_utf8(&identity).ok().and_then(LogIdentity::new);
    let identity = identity.ok_or(StoreError::Damaged("identity"))?;
    Ok(Found::Store(Opened { database, identity, format: String::from_utf8_lossy(&format).into_owned() }))
}

/// Makes an empty database the store of a log.
fn create(database: sled::Db, identity: LogIdentity, path: PathBuf) -> Result<Store, OpenError> {
    let mut batch = sled::Batch::default();
    batch.insert(key::FORMAT, FORMAT);
    batch.insert(key::IDENTITY, identity.as_str().as_bytes());
    let written = database.apply_batch(batch).and_then(|()| database.flush());
    written.map_err(|source| OpenError::Write { path: path.display().to_string(), source: source.into() })?;
    Ok(Store::from_parts(database, identity, path))
}

/// Creates a store where the previous one has just been moved away.
fn create_in_place(path: &Path, identity: LogIdentity) -> Result<Store, OpenError> {
    let error = |source| OpenError::Write { path: path.display().to_string(), source };
    match open(path)?.map_err(error)? {
        Found::Empty(database) => create(database, identity, path.to_owned()),
        Found::Store(_) => Err(error(StoreError::Damaged("another process has created a store there"))),
    }
}

fn only_copy_there(path: &Path) -> OpenError {
    OpenError::OtherKind {
        path: path.display().to_string(),
        held: "the only copy of an in-process log",
        wanted: "a copy of a NATS log",
    }
}

pub(super) fn is_local(identity: &LogIdentity) -> bool {
    identity.as_str().starts_with(LOCAL)
}

#[expect(clippy::expect_used, reason = "letters and digits, shorter than the limit")]
pub(super) fn new_identity() -> LogIdentity {
    LogIdentity::new(&format!("{LOCAL}{:016x}", rand::random::<u64>())).expect("a valid identity")
}

fn is_lock(error: &io::Error) -> bool {
    // sled has no error kind for a held lock, only an io::Error with this text.
    error.to_string().contains("could not acquire lock")
}

#[cfg(test)]
mod tests;
