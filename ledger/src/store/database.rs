//! sled, as the store uses it: rows by name, in order, and all-or-nothing batches.
//!
//! After a write that failed sled shows what it could not write, and writes nothing more. So the database is
//! closed there and then, for every handle: it must be opened anew, and then has what it had before.

use std::{
    ops::RangeBounds,
    sync::{Arc, PoisonError, RwLock},
};

use sled::IVec;

use super::StoreError;

/// A row: its name and value.
pub(super) type Row = (IVec, IVec);

/// The database. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub(super) struct Database {
    state: Arc<RwLock<State>>,
    /// Whether this handle may use it while it is catching up.
    is_writers: bool,
}

#[derive(Debug)]
enum State {
    Open(sled::Db),
    /// It lacks what others have been told already: its writer alone uses it until it has caught up.
    CatchingUp(sled::Db),
    Closed(Arc<str>),
}

impl Database {
    pub(super) fn new(opened: sled::Db) -> Self {
        Self { state: Arc::new(RwLock::new(State::Open(opened))), is_writers: false }
    }

    /// A handle that may use it while it is catching up.
    pub(super) fn of_writer(&self) -> Self {
        Self { state: self.state.clone(), is_writers: true }
    }

    /// The value of a row.
    pub(super) fn get(&self, name: impl AsRef<[u8]>) -> Result<Option<IVec>, StoreError> {
        Ok(self.opened()?.get(name)?)
    }

    /// The rows in a range, whose ends must not be crossed.
    pub(super) fn range<R: RangeBounds<Vec<u8>>>(
        &self,
        names: R,
    ) -> impl DoubleEndedIterator<Item = Result<Row, StoreError>> + use<R> {
        let names = (names.start_bound().cloned(), names.end_bound().cloned());
        rows(self.opened().map(|database| database.range::<Vec<u8>, _>(names)))
    }

    /// The rows whose names begin so.
    pub(super) fn scan_prefix(
        &self,
        prefix: &[u8],
    ) -> impl DoubleEndedIterator<Item = Result<Row, StoreError>> + use<> {
        rows(self.opened().map(|database| database.scan_prefix(prefix)))
    }

    /// Writes a batch, all or nothing. Without [`Database::flush`] a crash may undo it.
    pub(super) fn apply(&self, batch: sled::Batch) -> Result<(), StoreError> {
        let written = self.opened()?.apply_batch(batch);
        self.unless_failed(written)
    }

    /// Writes one row.
    pub(super) fn put(&self, name: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        batch.insert(name, value);
        self.apply(batch)
    }

    /// Removes one row.
    #[cfg(test)]
    pub(super) fn delete(&self, name: &[u8]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        batch.remove(name);
        self.apply(batch)
    }

    /// Waits until everything that was written will survive a crash of this process.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let flushed = self.opened()?.flush();
        self.unless_failed(flushed).map(|_bytes| ())
    }

    fn unless_failed<T>(&self, written: sled::Result<T>) -> Result<T, StoreError> {
        if let Err(error) = &written {
            self.close(error.to_string());
        }
        Ok(written?)
    }

    /// Lets go of the files, for every handle. A reader that has begun finishes first.
    pub(super) fn close(&self, reason: String) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::Closed(reason.into());
    }

    /// Uses the files again that were let go of, for the writer alone.
    pub(super) fn reopen(&self, opened: sled::Db) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::CatchingUp(opened);
    }

    /// It has caught up: everybody may use it again.
    pub(super) fn caught_up(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::CatchingUp(database) = &*state {
            *state = State::Open(database.clone());
        }
    }

    fn opened(&self) -> Result<sled::Db, StoreError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(database) => Ok(database.clone()),
            State::CatchingUp(database) if self.is_writers => Ok(database.clone()),
            State::CatchingUp(_) => Err(StoreError::Closed("it is catching up".to_owned())),
            State::Closed(reason) => Err(StoreError::Closed(reason.to_string())),
        }
    }
}

/// What was found, or one error in its place.
fn rows(
    found: Result<sled::Iter, StoreError>,
) -> impl DoubleEndedIterator<Item = Result<Row, StoreError>> + use<> {
    let (rows, closed) = match found {
        Ok(rows) => (Some(rows), None),
        Err(closed) => (None, Some(Err(closed))),
    };
    rows.into_iter().flatten().map(|row| Ok(row?)).chain(closed)
}
