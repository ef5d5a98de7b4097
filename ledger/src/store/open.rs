//! Opening the store: whose copy it is, whether it can be read, and what happens if not.

mod aside;
mod error;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{bus::LogIdentity, domain::Timestamp};

use super::{Store, StoreError, database::Database, key, migrate};
use aside::{move_aside, set_snapshots_aside};
pub use error::OpenError;

/// The format that is written. Another number means another Tickwell wrote it.
pub(super) const FORMAT: &[u8] = b"3";

/// The formats before: one row a tick, and every whole record kept. The first had no rows for gaps.
const OLD_FORMATS: [&[u8]; 2] = [b"1", b"2"];

/// sled's page cache. Its default is 1 GB; more than this buys little scan time and much memory.
pub(super) const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// sled's data, and what it locks.
pub(super) const DATA_FILE: &str = "db";

/// The note of what an in-process log has acknowledged, beside its store.
pub(crate) const ACKNOWLEDGED: &str = "acknowledged";

/// What every in-process log's identity starts with. JetStream's are hexadecimal, and never do.
const LOCAL: &str = "local";

impl Store {
    /// Opens the copy of a NATS log. A store that cannot be read, is of another format, or is the copy of a
    /// log that is no more, is moved aside and built anew from the log.
    pub fn open_copy(folder: &Path, log: &LogIdentity, now: Timestamp) -> Result<Self, OpenError> {
        let path = prepare(folder)?;
        let found = match open(&path)? {
            Ok(Found::Nothing(database)) => return begin(database, log.clone(), path),
            Ok(Found::Store(found)) => found,
            Err(error) => {
                tracing::error!(error = common::telemetry::chain(&error), "the store cannot be read");
                move_aside(folder, &path, now)?;
                return anew(&path, log.clone());
            }
        };
        if is_local(&found.identity) {
            return Err(only_copy_there(&path));
        }
        if found.identity == *log && found.format == Format::Present {
            return Ok(found.at(path));
        }
        tracing::warn!(
            held = %found.identity, log = %log, format = ?found.format,
            "the store is a copy of another log, or of another format"
        );
        drop(found);
        move_aside(folder, &path, now)?;
        anew(&path, log.clone())
    }

    /// Opens the copy of a NATS log that lies there, of whichever log, as long as it can be used as it is: which log
    /// there is now, somebody has to find out afterwards. Nothing is begun or moved for want of one.
    pub fn open_present_copy(folder: &Path) -> Result<Option<Self>, OpenError> {
        let path = prepare(folder)?;
        // sled would make one.
        if !path.join(DATA_FILE).exists() {
            return Ok(None);
        }
        match open(&path)? {
            Ok(Found::Store(found)) if is_local(&found.identity) => Err(only_copy_there(&path)),
            Ok(Found::Store(found)) if found.format == Format::Present => Ok(Some(found.at(path))),
            _ => Ok(None),
        }
    }

    /// Opens the store of an in-process log, which is its only copy. One of an older format is brought up
    /// to date where it is.
    pub fn open_local(folder: &Path) -> Result<Self, OpenError> {
        let path = prepare(folder)?;
        let name = path.display().to_string();
        let only_copy = |source| OpenError::OnlyCopy { path: name.clone(), source };
        let mut opened = open(&path)?;
        if let Err(damage) = &opened
            && set_snapshots_aside(&path)?
        {
            tracing::error!(
                error = common::telemetry::chain(damage),
                "the store cannot be read; trying without sled's snapshot"
            );
            opened = open(&path)?;
        }
        let found = match opened.map_err(only_copy)? {
            Found::Nothing(_) if folder.join(ACKNOWLEDGED).exists() => {
                return Err(only_copy(StoreError::Damaged(
                    "it is empty, and records in it had been acknowledged",
                )));
            }
            Found::Nothing(database) => return begin(database, new_identity(), path),
            Found::Store(found) => found,
        };
        if !is_local(&found.identity) {
            return Err(OpenError::OtherKind {
                path: name,
                held: "a copy of a NATS log",
                wanted: "an in-process log",
            });
        }
        let format = found.format;
        let store = found.at(path);
        match format {
            Format::Present => {}
            Format::Old => migrate::rebuild(&store).map_err(only_copy)?,
            Format::Unknown => return Err(only_copy(UNKNOWN_FORMAT)),
        }
        Ok(store)
    }

    /// Opens the files anew, after a write that failed. Fails as long as they cannot be opened.
    pub fn reopen(&self) -> Result<(), OpenError> {
        let name = || self.path.display().to_string();
        let unreadable = |source| OpenError::Unreadable { path: name(), source };
        match open(&self.path)?.map_err(unreadable)? {
            Found::Store(found) if found.identity == self.identity && found.format == Format::Present => {
                let opened = found.database.clone();
                found.at(self.path.clone()).check().map_err(unreadable)?;
                self.database.reopen(opened);
                Ok(())
            }
            _ => Err(unreadable(StoreError::Damaged("it is another store now"))),
        }
    }

    /// Whether there is no log that it could be built anew from: it is the log.
    pub fn is_only_copy(&self) -> bool {
        is_local(&self.identity)
    }

    /// Opens whatever store is there for its records alone, as it is: nothing is begun, moved or brought up
    /// to date. Of an older format, only
    /// [`Store::records`] says anything.
    pub fn open_records(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join("store");
        let name = path.display().to_string();
        // sled would make one.
        if !path.join(DATA_FILE).exists() {
            return Err(OpenError::NotThere { path: name });
        }
        let unreadable = |source| OpenError::Unreadable { path: name.clone(), source };
        match open(&path)?.map_err(unreadable)? {
            Found::Nothing(_) => Err(OpenError::NotThere { path: name }),
            Found::Store(Opened { format: Format::Unknown, .. }) => Err(unreadable(UNKNOWN_FORMAT)),
            Found::Store(found) => Ok(found.at(path)),
        }
    }
}

/// Of a format that nothing is known about.
const UNKNOWN_FORMAT: StoreError =
    StoreError::Damaged("written in another format, by another version of Tickwell");

/// How a store is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// As it is written now.
    Present,
    /// One before, from which the present one can be made.
    Old,
    /// By a newer Tickwell.
    Unknown,
}

impl Format {
    fn of(written: &[u8]) -> Self {
        match written {
            FORMAT => Self::Present,
            old if OLD_FORMATS.contains(&old) => Self::Old,
            _ => Self::Unknown,
        }
    }
}

/// Whether something can be made of rows in this format.
pub(super) fn is_known(format: &[u8]) -> bool {
    Format::of(format) != Format::Unknown
}

/// What lies in a folder.
enum Found {
    /// No store; this would become one.
    Nothing(sled::Db),
    /// A store.
    Store(Opened),
}

/// A store that is there: whose copy it says it is, and in which format.
struct Opened {
    database: sled::Db,
    identity: LogIdentity,
    format: Format,
}

impl Store {
    fn of(database: sled::Db, identity: LogIdentity, path: PathBuf) -> Self {
        Self { database: Database::new(database), identity, path, writer: Arc::default() }
    }
}

impl Opened {
    fn at(self, path: PathBuf) -> Store {
        Store::of(self.database, self.identity, path)
    }
}

fn prepare(folder: &Path) -> Result<PathBuf, OpenError> {
    fs::create_dir_all(folder)
        .map_err(|source| OpenError::Folder { path: folder.display().to_string(), source })?;
    Ok(folder.join("store"))
}

/// Opens what is there. The inner error is damage; the outer one says nothing about the store, only that
/// another process has it, or that the disk or the system refused.
fn open(path: &Path) -> Result<Result<Found, StoreError>, OpenError> {
    let name = || path.display().to_string();
    match open_readable(path) {
        Err(StoreError::Sled(sled::Error::Io(source))) if is_lock(&source) => {
            Err(OpenError::InUse { path: name() })
        }
        Err(StoreError::Sled(sled::Error::Io(source))) => Err(OpenError::Folder { path: name(), source }),
        opened => Ok(opened),
    }
}

fn open_readable(path: &Path) -> Result<Found, StoreError> {
    // On some damage sled panics while it opens; to us that is one more way of not being readable.
    let opened =
        std::panic::catch_unwind(|| sled::Config::new().path(path).cache_capacity(CACHE_BYTES).open());
    let database = opened.map_err(|_panic| StoreError::Damaged("sled cannot make sense of it"))??;
    let Some(format) = database.get(key::FORMAT)? else {
        return match database.is_empty() {
            true => Ok(Found::Nothing(database)),
            false => Err(StoreError::Damaged("no format")),
        };
    };
    let format = Format::of(&format);
    // Of any format: whether it is an only copy must be known before anything is done with it.
    let identity = database.get(key::IDENTITY)?.ok_or(StoreError::Damaged("no identity"))?;
    let identity = std::str::from_utf8(&identity).ok().and_then(LogIdentity::new);
    let identity = identity.ok_or(StoreError::Damaged("identity"))?;
    Ok(Found::Store(Opened { database, identity, format }))
}

fn begin(database: sled::Db, identity: LogIdentity, path: PathBuf) -> Result<Store, OpenError> {
    let mut batch = sled::Batch::default();
    batch.insert(key::FORMAT, FORMAT);
    batch.insert(key::IDENTITY, identity.as_str().as_bytes());
    let written = database.apply_batch(batch).and_then(|()| database.flush());
    written.map_err(|source| OpenError::Write { path: path.display().to_string(), source: source.into() })?;
    Ok(Store::of(database, identity, path))
}

fn anew(path: &Path, identity: LogIdentity) -> Result<Store, OpenError> {
    let error = |source| OpenError::Write { path: path.display().to_string(), source };
    match open(path)?.map_err(error)? {
        Found::Nothing(database) => begin(database, identity, path.to_owned()),
        Found::Store(_) => Err(error(StoreError::Damaged("another process has begun one"))),
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
    // sled has no kind for it: the lock's error comes as another io::Error with this text.
    error.to_string().contains("could not acquire lock")
}

#[cfg(test)]
mod tests;
