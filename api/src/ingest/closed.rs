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
        if self.closed.is_none() {
            let reason = chain(error);
            tracing::error!(reason, path = %self.store.path().display(), "the store takes no records");
            self.closed = Some((reason, Instant::now() + REOPEN_PAUSE));
        }
        self.metrics.store_closed.set(1);
        self.tell(0);
    }

    /// Opens the store again, if it can be by now, and goes on from where it ends. Answers besides what is wrong
    /// with it, if it cannot be used any more.
    pub(super) async fn reopen(
        mut self,
        reader: &mut dyn LogReader,
    ) -> Result<(Self, Option<StoreError>), TaskError> {
        let (ingest, reopened) = tokio::task::spawn_blocking(move || {
            let reopened = self.store.reopen();
            (self, reopened)
        })
        .await?;
        self = ingest;
        match reopened {
            Ok(()) => {
                let loaded = Snapshot::load(&self.store, self.keep)?;
                tracing::info!(sequence = %loaded.sequence, "the store is open again");
                reader.rewind(loaded.sequence).await;
                (self.current, self.closed) = (Arc::new(loaded), None);
                self.metrics.store_closed.set(0);
                self.tell(0);
            }
            Err(OpenError::Unreadable { source, .. }) if source.is_damage() => {
                return Ok((self, Some(source)));
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "the store cannot be opened again");
                self.closed = self.closed.map(|(reason, _)| (reason, Instant::now() + REOPEN_PAUSE));
            }
        }
        Ok((self, None))
    }
}

/// Waits for an instant; for ever, where there is none.
pub(super) async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
