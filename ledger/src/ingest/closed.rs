//! A store that takes no records, as on a full disk.

use std::{sync::Arc, time::Duration};

use common::{bus::LogReader, service::TaskError, telemetry::chain};
use tokio::time::{Instant, sleep_until};

use super::Ingest;
use crate::{
    snapshot::Snapshot,
    store::{OpenError, StoreError},
};

/// How long a store that takes no records is left alone before it is tried again.
const REOPEN_PAUSE: Duration = Duration::from_secs(5);

impl Ingest {
    /// The store takes no records: says so once, and when to try again.
    pub(super) fn close(&mut self, error: &StoreError) {
        // While it catches up it may fail again.
        if self.closed.as_ref().is_none_or(|closed| closed.retry.is_none()) {
            let reason = chain(error);
            tracing::error!(reason, path = %self.store.path().display(), "the store takes no records");
            self.store.close(reason.clone());
            self.closed = Some(Closed { reason, retry: Some(Instant::now() + REOPEN_PAUSE) });
        }
        self.metrics.store_closed.set(1);
        self.tell(0);
    }

    /// The store may be read again once it has everything that was told meanwhile.
    pub(super) fn caught_up(&mut self) {
        let is_open = self.closed.as_ref().is_some_and(|closed| closed.retry.is_none());
        if is_open && self.current.sequence >= self.snapshots.borrow().sequence {
            self.store.caught_up();
            self.closed = None;
            self.metrics.store_closed.set(0);
            tracing::info!(sequence = %self.current.sequence, "the store has caught up");
        }
    }

    /// Opens the store again, if it can be by now, and goes on from where it ends. Answers besides what is wrong
    /// with it, if it cannot be used any more.
    pub(super) async fn reopen(
        mut self,
        reader: &mut dyn LogReader,
    ) -> Result<(Self, Option<StoreError>), TaskError> {
        let (ingest, reopened) = tokio::task::spawn_blocking(move || {
            let reopened = self.store.reopen().map(|()| Snapshot::load(&self.store, self.keep));
            (self, reopened)
        })
        .await?;
        self = ingest;
        match reopened {
            Ok(loaded) => {
                let loaded = loaded?;
                tracing::info!(sequence = %loaded.sequence, "the store is open again");
                reader.rewind(loaded.sequence).await;
                self.current = Arc::new(loaded);
                if let Some(closed) = &mut self.closed {
                    *closed = Closed { reason: "it is catching up with the log".to_owned(), retry: None };
                }
                self.caught_up();
                self.tell(0);
            }
            Err(OpenError::Unreadable { source, .. }) if source.is_damage() => {
                return Ok((self, Some(source)));
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "the store cannot be opened again");
                self.closed =
                    Some(Closed { reason: chain(&error), retry: Some(Instant::now() + REOPEN_PAUSE) });
                self.tell(0);
            }
        }
        Ok((self, None))
    }
}

/// Why a store is not at hand, and when it is tried again.
pub(super) struct Closed {
    pub(super) reason: String,
    /// Missing while it is open for ingest alone, and catches up with what was told from memory.
    pub(super) retry: Option<Instant>,
}

/// Waits for an instant; for ever, where there is none.
pub(super) async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
