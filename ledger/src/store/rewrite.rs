//! Rewriting the store when the rows that are in use are only a small part of its files.
//!
//! sled appends every write to its files, and does not give all the space of replaced rows back. After a year of
//! commits, the files are many times as large as the rows. So the rows are copied to a new database beside the
//! store, while commits wait, and the two directories change places in one step. The rows of the new database are those
//! of the old one, so readers and the writer continue as before. After a crash, either the old or the new database is in
//! place, and the other one is removed when the store is opened.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::PoisonError,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Store, StoreError,
    database::{Database, NotReplaced},
    files,
};

/// Files below this size are not worth rewriting.
const MIN_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// How many times larger than the rows the files must be: nine quarters. After a rewrite, sled's files are about twice as
/// large as the rows.
const MIN_FACTOR: (u64, u64) = (9, 4);

/// After an attempt, the files must grow by this share before the next one: a sixth. With two pairs, that takes about
/// ten days, and a rewrite takes less than a second.
const GROWTH: (u64, u64) = (7, 6);

/// The files of the copy are at most this many times larger than the rows.
const MAX_COPY_FACTOR: u64 = 4;

/// The pause after an attempt that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(3_600);

/// How long readers that have already started may take, while other readers wait for them.
const READERS_LIMIT: Duration = Duration::from_millis(500);

/// When the rows were last counted or rewritten.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    file_bytes: u64,
    /// If the attempt failed.
    failed: Option<Instant>,
}

/// What rewriting has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// The size of the files before.
    pub before: u64,
    /// The size of the files after.
    pub after: u64,
    /// How long commits had to wait.
    pub held: Duration,
}

/// Why the store was not rewritten. It is still the same as before, except after [`RewriteError::Lost`].
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The rows cannot be read, or cannot be written to the new database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The new database cannot be put in the place of the old one.
    #[error("cannot replace the directory of the store")]
    Replace(#[source] io::Error),
    /// There is too little space for a copy of the rows.
    #[error("the rows need {needed} bytes, but the file system has only {free} bytes left")]
    NoSpace {
        /// The bytes that the copy may need.
        needed: u64,
        /// The bytes that are left.
        free: u64,
    },
    /// Copying took so long that the next commit would have been late.
    #[error("copying the rows took longer than {limit:?}, so that the next commit would have been late")]
    TooSlow {
        /// How long commits may wait.
        limit: Duration,
    },
    /// Some reader did not end.
    #[error("requests were reading from the store for longer than {READERS_LIMIT:?}")]
    Readers,
    /// Neither database could be opened again. The store is closed.
    #[error("the store cannot be opened again")]
    Lost(#[source] StoreError),
}

impl From<NotReplaced> for RewriteError {
    fn from(error: NotReplaced) -> Self {
        match error {
            NotReplaced::InUse => Self::Readers,
            NotReplaced::Files(error) => Self::Replace(error),
            NotReplaced::Lost(error) => Self::Lost(error),
        }
    }
}

impl Store {
    /// Rewrites the store if the files are large compared with the rows, and if it was not tried a short time ago.
    /// Commits wait for at most about `limit`. Blocks.
    pub fn rewrite_if_worthwhile(&self, limit: Duration) -> Result<Option<Rewritten>, RewriteError> {
        let mut kept = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // The writer is missing before the first commit, and after a failed one.
        let Some(writer) = kept.as_mut() else { return Ok(None) };
        let before = self.database.size()?;
        if !is_due(writer.rewritten, before) {
            return Ok(None);
        }
        writer.rewritten = Some(Attempt { file_bytes: before, failed: None });
        let started = Instant::now();
        let rewritten = self.rewrite(before, started, limit);
        let after = self.database.size().unwrap_or(before);
        let failed = rewritten.is_err().then_some(started);
        writer.rewritten = Some(Attempt { file_bytes: after, failed });
        if matches!(rewritten, Err(RewriteError::Lost(_))) {
            *kept = None;
        }
        Ok(rewritten?.then(|| Rewritten { before, after, held: started.elapsed() }))
    }

    /// Rewrites the store if its files are large compared with its rows. No row may be written meanwhile.
    fn rewrite(&self, before: u64, started: Instant, limit: Duration) -> Result<bool, RewriteError> {
        let mut row_bytes = 0;
        for row in self.database.scan_prefix(b"") {
            let (name, value) = row?;
            row_bytes += bytes(&name) + bytes(&value);
        }
        let (more, than) = MIN_FACTOR;
        if before / more < row_bytes / than {
            return Ok(false);
        }
        let needed = row_bytes * MAX_COPY_FACTOR;
        let free = self.disk_use().map_err(RewriteError::Replace)?.free;
        if free < needed {
            return Err(RewriteError::NoSpace { needed, free });
        }
        let copy = Copied::of(self, started + limit, limit)?;
        let old = self.path.clone();
        let change_places = || {
            files::exchange(&copy.0, &old)?;
            sync(old.parent().unwrap_or(&old))
        };
        self.database.replace(&old, Instant::now() + READERS_LIMIT, change_places)?;
        Ok(true)
    }
}

fn is_due(last: Option<Attempt>, file_bytes: u64) -> bool {
    let (more, than) = GROWTH;
    let has_grown = |attempt: Attempt| file_bytes / more >= attempt.file_bytes / than;
    let is_past = |failed: Instant| failed.elapsed() >= RETRY_PAUSE;
    file_bytes >= MIN_FILE_BYTES
        && last.is_none_or(|attempt| attempt.failed.map_or_else(|| has_grown(attempt), is_past))
}

/// A complete and closed copy of a store's rows. Dropping it removes the directory, which has the old database once the
/// two have changed places.
struct Copied(PathBuf);

impl Copied {
    fn of(store: &Store, deadline: Instant, limit: Duration) -> Result<Self, RewriteError> {
        let copied = Self(files::rewriting(&store.path));
        remove(&copied.0).map_err(RewriteError::Replace)?;
        let database = Database::new(files::open(&copied.0).map_err(StoreError::from)?);
        for rows in files::batches(store.database.scan_prefix(b"")) {
            database.apply(rows?)?;
            if Instant::now() >= deadline {
                return Err(RewriteError::TooSlow { limit });
            }
        }
        database.flush()?;
        drop(database);
        if !files::wait_until_closed(&copied.0) {
            return Err(RewriteError::TooSlow { limit });
        }
        sync(&copied.0).map_err(RewriteError::Replace)?;
        Ok(copied)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // If the removal fails, opening the store removes the directory.
        let _ = remove(&self.0);
    }
}

/// Removes what a rewrite that was interrupted by a crash has left behind. The store must be open, so that no other
/// process is rewriting it.
pub(super) fn clean_up(store: &Path) {
    let left = files::rewriting(store);
    if left.exists()
        && let Err(error) = remove(&left)
    {
        tracing::warn!(
            event = "store_rewrite_left", path = %left.display(), %error,
            "cannot remove what an interrupted rewrite of the store has left behind; remove it to free the space"
        );
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Waits until the names in a directory survive a crash.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn bytes(row: &[u8]) -> u64 {
    u64::try_from(row.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
