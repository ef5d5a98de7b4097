//! The part of sled that the store uses: sorted rows and atomic batches.
//!
//! After a failed write, sled still returns the rows that it could not write, and accepts no more writes. So a failed
//! write closes the database for every handle. Once it is reopened, the database has what it had before that write.

use std::{
    io,
    ops::RangeBounds,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use sled::IVec;
use tokio::time::Instant;

use super::{StoreError, files};

/// The pause between two checks whether others still use the database.
const READERS_PAUSE: Duration = Duration::from_millis(1);

/// The key and value of a row.
pub(super) type Row = (IVec, IVec);

/// The database. Clones are handles to the same database.
#[derive(Debug, Clone)]
pub(super) struct Database {
    state: Arc<RwLock<State>>,
    /// Whether this handle may use the database while it is catching up.
    is_writer: bool,
}

#[derive(Debug)]
enum State {
    Open(Arc<sled::Db>),
    /// The database lacks records that have already been served. Only the writer may use it until it has caught up.
    CatchingUp(Arc<sled::Db>),
    Closed(Arc<str>),
}

/// Why a database was not replaced by another one.
#[derive(Debug)]
pub(super) enum NotReplaced {
    /// It is still in use.
    InUse,
    /// The directories did not change places.
    Files(io::Error),
    /// It cannot be opened again. It is closed.
    Lost(StoreError),
}

impl Database {
    pub(super) fn new(opened: sled::Db) -> Self {
        Self { state: Arc::new(RwLock::new(State::Open(Arc::new(opened)))), is_writer: false }
    }

    /// A handle that may use the database while it is catching up.
    pub(super) fn writer_handle(&self) -> Self {
        Self { state: self.state.clone(), is_writer: true }
    }

    pub(super) fn get(&self, name: impl AsRef<[u8]>) -> Result<Option<IVec>, StoreError> {
        Ok(self.opened()?.get(name)?)
    }

    /// The rows in a range, which must not be reversed.
    pub(super) fn range<R: RangeBounds<Vec<u8>>>(
        &self,
        names: R,
    ) -> impl DoubleEndedIterator<Item = Result<Row, StoreError>> + use<R> {
        let names = (names.start_bound().cloned(), names.end_bound().cloned());
        rows(self.opened().map(|database| (database.range::<Vec<u8>, _>(names), database)))
    }

    pub(super) fn scan_prefix(
        &self,
        prefix: &[u8],
    ) -> impl DoubleEndedIterator<Item = Result<Row, StoreError>> + use<> {
        rows(self.opened().map(|database| (database.scan_prefix(prefix), database)))
    }

    /// Writes a batch atomically. Until [`Database::flush`] returns, a crash may undo the write.
    pub(super) fn apply(&self, batch: sled::Batch) -> Result<(), StoreError> {
        let written = self.opened()?.apply_batch(batch);
        self.close_if_failed(written)
    }

    pub(super) fn put(&self, name: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        batch.insert(name, value);
        self.apply(batch)
    }

    #[cfg(test)]
    pub(super) fn delete(&self, name: &[u8]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        batch.remove(name);
        self.apply(batch)
    }

    /// The size of the files.
    pub(super) fn size(&self) -> Result<u64, StoreError> {
        Ok(self.opened()?.size_on_disk()?)
    }

    /// Waits until everything written so far survives a crash of this process.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let flushed = self.opened()?.flush();
        self.close_if_failed(flushed).map(|_bytes| ())
    }

    fn close_if_failed<T>(&self, written: sled::Result<T>) -> Result<T, StoreError> {
        if let Err(error) = &written {
            self.close(error.to_string());
        }
        Ok(written?)
    }

    /// Closes the files for every handle. Readers that have already started finish first.
    pub(super) fn close(&self, reason: String) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::Closed(reason.into());
    }

    /// Uses reopened files. Only the writer may use them until [`Database::caught_up`] is called.
    pub(super) fn reopen(&self, opened: sled::Db) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::CatchingUp(Arc::new(opened));
    }

    /// Closes the database, lets `change_places` put another one with the same rows in its place, and opens that one.
    /// Requests wait meanwhile. Fails without any change if others still use the database at the deadline.
    pub(super) fn replace(
        &self,
        path: &Path,
        deadline: Instant,
        change_places: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), NotReplaced> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Open(database) = &*state else {
            return Err(NotReplaced::InUse);
        };
        while Arc::strong_count(database) > 1 {
            if Instant::now() >= deadline {
                return Err(NotReplaced::InUse);
            }
            std::thread::sleep(READERS_PAUSE);
        }
        // This drops the last handle.
        *state = State::Closed("the store is being rewritten".into());
        let changed = match files::wait_until_closed(path) {
            true => change_places().map_err(NotReplaced::Files),
            false => Err(NotReplaced::InUse),
        };
        let opened = files::open(path).map_err(|error| NotReplaced::Lost(error.into()))?;
        *state = State::Open(Arc::new(opened));
        changed
    }

    /// Lets every handle use the database again.
    pub(super) fn caught_up(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::CatchingUp(database) = &*state {
            *state = State::Open(database.clone());
        }
    }

    fn opened(&self) -> Result<Arc<sled::Db>, StoreError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(database) => Ok(database.clone()),
            State::CatchingUp(database) if self.is_writer => Ok(database.clone()),
            State::CatchingUp(_) => {
                Err(StoreError::Closed("the store is catching up with the log".to_owned()))
            }
            State::Closed(reason) => Err(StoreError::Closed(reason.to_string())),
        }
    }
}

/// The rows, or a single error in their place.
fn rows(
    found: Result<(sled::Iter, Arc<sled::Db>), StoreError>,
) -> impl DoubleEndedIterator<Item = Result<Row, StoreError>> + use<> {
    let (rows, closed) = match found {
        Ok((rows, database)) => {
            let held = move |row| {
                // While rows are being read, the database must not be replaced.
                let _database = &database;
                row
            };
            (Some(rows.map(held)), None)
        }
        Err(closed) => (None, Some(Err(closed))),
    };
    rows.into_iter().flatten().map(|row| Ok(row?)).chain(closed)
}
