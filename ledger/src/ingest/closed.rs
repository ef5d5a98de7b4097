//! Handling a store that cannot be written, for example because the disk is full.

use std::{sync::Arc, time::Duration};

use common::{bus::LogReader, service::TaskError, telemetry::chain};
use tokio::time::{Instant, sleep_until};

use super::Ingest;
use crate::{
    snapshot::Snapshot,
    store::{OpenError, StoreError},
};

/// How often it is checked whether the store's files are still in their place.
pub(super) const PLACE_CHECK: Duration = Duration::from_secs(5);

/// What to do if the files of the only copy are gone.
pub(super) const MISPLACED: &str = "the store's files were deleted or replaced while they were in use: back the records up with \
                                    `tickwell backup --from` the address in admin.listen before this process ends, and \
                                    restore that backup";

/// What to do if the disk is full.
pub(super) const DISK_FULL: &str = "the disk is full, and the space that was reserved for this case is in use: make room on the \
                                    disk, before the store cannot be written or opened any more";

/// The pause before a closed store is opened again.
const REOPEN_PAUSE: Duration = Duration::from_secs(5);

impl Ingest {
    /// Closes the store after a failed write, and schedules the next attempt to open it.
    pub(super) fn close(&mut self, error: &StoreError) {
        // A store that is already closed stays as it is. A store that was reopened and is catching up can fail again.
        if self.closed.as_ref().is_none_or(|closed| closed.retry.is_none()) {
            let reason = chain(error);
            tracing::error!(
                event = "store_closed", reason, path = %self.store.path().display(),
                "cannot write to the store, so it was closed; no records are stored until the store can be reopened"
            );
            self.store.close(reason.clone());
            self.closed = Some(Closed { reason, retry: Some(Instant::now() + REOPEN_PAUSE) });
        }
        self.metrics.store_closed.set(1);
        self.update_readiness(0);
    }

    /// Checks whether there is space on the disk with which the store could be opened again.
    pub(super) fn check_reserve(&mut self) {
        let has_reserve = self.store.keep_reserve().unwrap_or_else(|error| {
            tracing::debug!(event = "store_reserve_unknown", %error, "cannot find out how much space is left");
            true
        });
        if self.has_reserve != has_reserve {
            self.has_reserve = has_reserve;
            self.update_readiness(0);
        }
    }

    /// Checks whether the store's files are still in their place. If not, the copy of a NATS log counts as damaged: it is
    /// rebuilt in its place. The only copy of a log is kept open, because it can still be backed up.
    pub(super) fn check_place(&mut self) -> Result<(), StoreError> {
        if self.store.is_in_place() {
            if std::mem::take(&mut self.misplaced) {
                self.update_readiness(0);
            }
            return Ok(());
        }
        if !self.store.is_only_copy() {
            return Err(StoreError::Damaged("its files were deleted or replaced while they were in use"));
        }
        if !std::mem::replace(&mut self.misplaced, true) {
            tracing::error!(
                event = "store_misplaced", path = %self.store.path().display(),
                "the store's files were deleted or replaced while they were in use; everything in them will be lost when \
                 this process ends"
            );
            self.update_readiness(0);
        }
        Ok(())
    }

    /// Lets readers use the store again, if it now holds everything that was served from memory.
    pub(super) fn caught_up(&mut self) {
        let is_open = self.closed.as_ref().is_some_and(|closed| closed.retry.is_none());
        if is_open && self.current.sequence >= self.snapshots.borrow().sequence {
            self.store.caught_up();
            self.closed = None;
            self.metrics.store_closed.set(0);
            tracing::info!(
                event = "store_caught_up",
                sequence = %self.current.sequence,
                "the store has caught up with the log"
            );
        }
    }

    /// Tries to open the store again and to continue from its cursor. Also returns what is wrong with the store if it
    /// turns out to be damaged.
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
                tracing::info!(event = "store_reopened", sequence = %loaded.sequence, "reopened the store");
                reader.rewind(loaded.sequence).await;
                self.current = Arc::new(loaded);
                if let Some(closed) = &mut self.closed {
                    let reason = "the store is catching up with the log".to_owned();
                    *closed = Closed { reason, retry: None };
                }
                self.caught_up();
                self.update_readiness(0);
            }
            Err(OpenError::Unreadable { source, .. }) if source.is_damage() => {
                return Ok((self, Some(source)));
            }
            Err(error) => {
                tracing::debug!(
                    event = "store_reopen_failed",
                    error = chain(&error),
                    "cannot reopen the store yet"
                );
                self.closed =
                    Some(Closed { reason: chain(&error), retry: Some(Instant::now() + REOPEN_PAUSE) });
                self.update_readiness(0);
            }
        }
        Ok((self, None))
    }
}

/// Why the store is closed, and when to try to open it again.
pub(super) struct Closed {
    pub(super) reason: String,
    /// `None` once the store has been reopened and is catching up with what was served from memory.
    pub(super) retry: Option<Instant>,
}

/// Waits until an instant, or forever if there is none.
pub(super) async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
