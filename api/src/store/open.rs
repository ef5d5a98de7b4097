//! Opening the store: whose copy it is, whether it can be read, and what happens if not.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use common::{bus::LogIdentity, domain::Timestamp};

use super::{Store, StoreError, key};

/// The format of this store. Another number means another Tickwell wrote it.
const FORMAT: &[u8] = b"1";

/// sled's page cache. Its default is 1 GB; more than this buys little scan time and much memory.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// How many stores that were moved aside are kept.
const KEPT_ASIDE: usize = 3;

/// What every in-process log's identity starts with. JetStream's are hexadecimal, and never do.
const LOCAL: &str = "local";

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be used.
    #[error("store.path: cannot use {path}")]
    Folder {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error("store.path: another process uses {path}: stop it, or set another store.path")]
    InUse {
        /// Which.
        path: String,
    },
    /// The only copy of an in-process log stands where a copy of a NATS log would be put, or the reverse.
    #[error(
        "store.path: {path} holds {held}, not {wanted}: set another store.path, or move that folder away"
    )]
    OtherKind {
        /// Which.
        path: String,
        /// What is there.
        held: &'static str,
        /// What was wanted.
        wanted: &'static str,
    },
    /// The only copy of an in-process log cannot be read.
    #[error(
        "store.path: {path} cannot be read, and it is the only copy of its history: restore it from a backup, \
         or move the folder away to start anew"
    )]
    OnlyCopy {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
    /// It cannot be written.
    #[error("store.path: cannot write to {path}")]
    Write {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
}

impl Store {
    /// Opens the copy of a NATS log. A store that cannot be read, or is the copy of a log that is no
    /// more, is moved aside and built anew from the log.
    pub fn open_copy(folder: &Path, log: &LogIdentity, now: Timestamp) -> Result<Self, OpenError> {
        let path = prepare(folder)?;
        match open(&path)? {
            Ok((database, Some(found))) if found == *log => Ok(Self::new(database, found, path)),
            Ok((database, None)) => begin(database, log.clone(), path),
            Ok((_, Some(found))) if is_local(&found) => Err(OpenError::OtherKind {
                path: path.display().to_string(),
                held: "the only copy of an in-process log",
                wanted: "a copy of a NATS log",
            }),
            Ok((database, Some(found))) => {
                drop(database);
                tracing::warn!(held = %found, log = %log, "the store is a copy of another log");
                move_aside(folder, &path, now)?;
                anew(&path, log.clone())
            }
            Err(error) => {
                tracing::error!(error = common::telemetry::chain(&error), "the store cannot be read");
                move_aside(folder, &path, now)?;
                anew(&path, log.clone())
            }
        }
    }

    /// Opens the store of an in-process log, which is its only copy.
    pub fn open_local(folder: &Path) -> Result<Self, OpenError> {
        let path = prepare(folder)?;
        let name = path.display().to_string();
        match open(&path)? {
            Ok((database, Some(found))) if is_local(&found) => Ok(Self::new(database, found, path)),
            Ok((_, Some(_))) => Err(OpenError::OtherKind {
                path: name,
                held: "a copy of a NATS log",
                wanted: "an in-process log",
            }),
            Ok((database, None)) => begin(database, new_identity(), path),
            Err(source) => Err(OpenError::OnlyCopy { path: name, source }),
        }
    }

    fn new(database: sled::Db, identity: LogIdentity, path: PathBuf) -> Self {
        Self { database, identity, path }
    }
}

fn prepare(folder: &Path) -> Result<PathBuf, OpenError> {
    fs::create_dir_all(folder)
        .map_err(|source| OpenError::Folder { path: folder.display().to_string(), source })?;
    Ok(folder.join("store"))
}

/// The database, and whose copy it says it is; nothing where it is new.
type Opened = (sled::Db, Option<LogIdentity>);

/// Opens what is there. The inner error is damage; the outer one says nothing about the store, only that
/// another process has it, or that the disk or the system refused.
fn open(path: &Path) -> Result<Result<Opened, StoreError>, OpenError> {
    let name = || path.display().to_string();
    match open_readable(path) {
        Err(StoreError::Sled(sled::Error::Io(source))) if is_lock(&source) => {
            Err(OpenError::InUse { path: name() })
        }
        Err(StoreError::Sled(sled::Error::Io(source))) => Err(OpenError::Folder { path: name(), source }),
        opened => Ok(opened),
    }
}

fn open_readable(path: &Path) -> Result<Opened, StoreError> {
    // On some damage sled panics while it opens; to us that is one more way of not being readable.
    let opened =
        std::panic::catch_unwind(|| sled::Config::new().path(path).cache_capacity(CACHE_BYTES).open());
    let database = opened.map_err(|_panic| StoreError::Damaged("sled cannot make sense of it"))??;
    let Some(format) = database.get(key::FORMAT)? else {
        return if database.is_empty() {
            Ok((database, None))
        } else {
            Err(StoreError::Damaged("no format"))
        };
    };
    if format != FORMAT {
        return Err(StoreError::Damaged("written in another format, by another version of Tickwell"));
    }
    let identity = database.get(key::IDENTITY)?.ok_or(StoreError::Damaged("no identity"))?;
    let identity = std::str::from_utf8(&identity).ok().and_then(LogIdentity::new);
    Ok((database, Some(identity.ok_or(StoreError::Damaged("identity"))?)))
}

fn begin(database: sled::Db, identity: LogIdentity, path: PathBuf) -> Result<Store, OpenError> {
    let mut batch = sled::Batch::default();
    batch.insert(key::FORMAT, FORMAT);
    batch.insert(key::IDENTITY, identity.as_str().as_bytes());
    let written = database.apply_batch(batch).and_then(|()| database.flush());
    written.map_err(|source| OpenError::Write { path: path.display().to_string(), source: source.into() })?;
    Ok(Store::new(database, identity, path))
}

fn anew(path: &Path, identity: LogIdentity) -> Result<Store, OpenError> {
    let (database, _) =
        open(path)?.map_err(|source| OpenError::Write { path: path.display().to_string(), source })?;
    begin(database, identity, path.to_owned())
}

/// Moves a store out of the way, never deleting the newest ones.
fn move_aside(folder: &Path, path: &Path, now: Timestamp) -> Result<(), OpenError> {
    let error = |source| OpenError::Folder { path: folder.display().to_string(), source };
    let aside = folder.join(format!("damaged-{}", now.to_string().replace(':', "-")));
    fs::rename(path, &aside).map_err(error)?;
    tracing::warn!(path = %aside.display(), "moved the store aside; building it anew from the log");
    let mut kept: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(error)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("damaged-"))
        })
        .collect();
    kept.sort();
    for old in kept.iter().rev().skip(KEPT_ASIDE) {
        fs::remove_dir_all(old).map_err(error)?;
    }
    Ok(())
}

fn is_local(identity: &LogIdentity) -> bool {
    identity.as_str().starts_with(LOCAL)
}

#[expect(clippy::expect_used, reason = "letters and digits, shorter than the limit")]
fn new_identity() -> LogIdentity {
    LogIdentity::new(&format!("{LOCAL}{:016x}", rand::random::<u64>())).expect("a valid identity")
}

fn is_lock(error: &io::Error) -> bool {
    // sled has no kind for it: the lock's error comes as another io::Error with this text.
    error.to_string().contains("could not acquire lock")
}
