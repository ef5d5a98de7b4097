//! Ingest: the one task that reads the log, and the only writer of the store.
//!
//! Each batch is decoded, checked and committed (records and cursor in one atomic batch). Then the new snapshot is
//! published, and the batch is acknowledged to the log's reader. After a crash between any two steps, the batch is
//! either read again or has already been committed.
//!
//! If the store cannot be written, for example because the disk is full, a pod that follows a NATS log continues in
//! memory. The store catches up once it can be written again. An in-process log acknowledges no record until then.

mod batch;
mod closed;
mod read_ahead;
mod span;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use common::{
    bus::{LogReader, ReadError},
    domain::{Record, Sequence, Timestamp},
    metrics::count,
    readiness::{Check, Condition, Readiness},
    service::TaskError,
    wire::DecodeError,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use closed::{Closed, DISK_FULL, MISPLACED, PLACE_CHECK, until};
use read_ahead::ReadAhead;

use crate::{
    metrics::Metrics,
    snapshot::{Rejection, Snapshot},
    store::{Retention, Store, StoreError},
};

/// A pod that is more than this many records behind the log is not ready, because its data is too old.
const MAX_READY_LAG: u64 = 100;

/// A pod that is more than this many records behind asks for the newest slot of the log. From that slot, the pod
/// computes which quotes will be past retention once it has caught up, and does not store these quotes. It also
/// computes which ticks will be before the windows in memory, and does not add these ticks to the windows.
const FAR_BEHIND: u64 = 10_000;

/// How much further back than `windows.keep` the windows of a pod reach that has just caught up. Pairs whose newest
/// slot is somewhat older than that of the log then have whole windows too.
const WINDOWS_MARGIN: Duration = Duration::from_secs(3_600);

/// How much longer rows stay in the store than their retention plus `windows.keep`, so that a request that uses an
/// older snapshot still finds the rows that belong to that snapshot.
const RECLAIM_DELAY: Duration = Duration::from_secs(3_600);

/// How long to wait before a batch is read again. A batch is read again if it does not continue the store's newest
/// record, and if it cannot be checked at present whether the store is a copy of the log.
const DOUBT_PAUSE: Duration = Duration::from_secs(3);

/// Follows the log and keeps the store and the snapshot up to date.
pub struct Ingest {
    store: Store,
    snapshots: watch::Sender<Arc<Snapshot>>,
    keep: Duration,
    retention: Retention,
    metrics: Metrics,
    checks: Checks,
    /// Why a message of the newest batch was rejected. `None` if any message of that batch was accepted.
    rejecting: Option<Rejection>,
    /// The snapshot that the next batch is added to: the newest one, or an older one while the store is catching up.
    current: Arc<Snapshot>,
    /// The quotes of slots before this will be past their retention once the pod has caught up. The records of these
    /// slots are stored without quotes, except for each pair's newest tick and newest gap.
    whole_from: Timestamp,
    /// The ticks of slots before this will be before all windows in memory once the pod has caught up.
    windows_from: Timestamp,
    /// Set while the store cannot be written.
    closed: Option<Closed>,
    /// Whether the files of the only copy were deleted or replaced.
    misplaced: bool,
    /// Whether there is space on the disk with which the store could be opened again.
    has_reserve: bool,
}

/// The readiness checks of a pod's copy of the log. Clones share the same checks.
#[derive(Debug, Clone)]
pub struct Checks {
    /// Whether the pod has what it needs to serve requests.
    pub log: Check,
    /// Whether there has ever been a price. Without one, the pod is degraded and not unready: it can say what is
    /// missing.
    pub prices: Check,
}

impl Checks {
    /// Adds the checks to those of the process.
    pub fn new(readiness: &Readiness) -> Self {
        Self { log: readiness.check("log"), prices: readiness.check_that_is("prices", no_price_yet()) }
    }
}

fn no_price_yet() -> Condition {
    Condition::Degraded("no price has been agreed yet".to_owned())
}

/// How following a log ended.
#[derive(Debug)]
pub enum Ended {
    /// The process is stopping, or the writer of the in-process log has ended.
    Stopped,
    /// The store is a copy of a log that no longer exists. Contains the reason for this conclusion.
    Replaced(String),
    /// The store can no longer be read.
    Damaged(StoreError),
}

/// Why a batch was not stored, or was stored only in part.
#[derive(Debug, thiserror::Error)]
enum IngestError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record does not directly follow `ours`, the store's newest tick or gap of the same pair. If the log still has
    /// `ours`, records are missing in the log. Otherwise, the store is a copy of another log.
    #[error("the next record of the log does not directly follow the store's record at sequence {sequence}")]
    Discontinuity { sequence: Sequence, ours: Box<Record> },
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("stopped reading the log before sequence {sequence}: {source}")]
    UnknownVersion { sequence: Sequence, source: DecodeError },
}

impl Ingest {
    /// Checks and loads a store. Returns the ingest task and the snapshots that it will publish. Blocks.
    pub fn load(
        store: Store,
        keep: Duration,
        retention: Retention,
        metrics: Metrics,
        checks: Checks,
    ) -> Result<(Self, watch::Receiver<Arc<Snapshot>>), StoreError> {
        store.check()?;
        let snapshot = Snapshot::load(&store, keep)?;
        tracing::info!(
            event = "store_opened",
            sequence = %snapshot.sequence,
            pairs = snapshot.pairs.len(),
            path = %store.path().display(),
            "opened the store"
        );
        let current = Arc::new(snapshot);
        let (snapshots, receiver) = watch::channel(current.clone());
        let delay = keep + RECLAIM_DELAY;
        let retention = Retention { ticks: retention.ticks + delay, quotes: retention.quotes + delay };
        let ingest = Self {
            store: store.writer_handle(),
            snapshots,
            keep,
            retention,
            metrics,
            checks,
            rejecting: None,
            current,
            whole_from: Timestamp::EPOCH,
            windows_from: Timestamp::EPOCH,
            closed: None,
            misplaced: false,
            has_reserve: true,
        };
        ingest.report_snapshot();
        Ok((ingest, receiver))
    }

    /// Follows the log until stopped, or until the store turns out to be damaged or a copy of another log.
    pub async fn run(
        mut self,
        reader: Box<dyn LogReader>,
        stop: CancellationToken,
    ) -> Result<Ended, TaskError> {
        let mut reader = ReadAhead::new(reader);
        let mut halted = false;
        let mut place_check = tokio::time::interval(PLACE_CHECK);
        loop {
            let retry = self.closed.as_ref().and_then(|closed| closed.retry);
            let batch = tokio::select! {
                () = stop.cancelled() => break,
                () = until(retry) => {
                    let (ingest, damage) = self.reopen(&mut reader).await?;
                    if let Some(damage) = damage {
                        return Ok(Ended::Damaged(damage));
                    }
                    self = ingest;
                    continue;
                }
                _ = place_check.tick() => {
                    if let Err(error) = self.check_place() {
                        return Ok(Ended::Damaged(error));
                    }
                    self.check_reserve();
                    continue;
                }
                batch = reader.next() => batch,
            };
            let batch = match batch {
                Err(_) if stop.is_cancelled() => break,
                // The in-process log is closed when its writer ends. By then, everything that was written has been
                // read.
                Err(ReadError::Closed) => break,
                Err(ReadError::Replaced(reason)) => return Ok(Ended::Replaced(reason)),
                // This version cannot read the log any further. Only a switch to another log would change that, and
                // that case is handled above.
                _ if halted => continue,
                Err(error) if error.trouble().is_some() => {
                    self.report_unavailable(&error);
                    continue;
                }
                batch => batch?,
            };
            let pending = batch.pending;
            if pending > FAR_BEHIND
                && self.whole_from == Timestamp::EPOCH
                && let Some(newest) = reader.newest_slot().await
            {
                self.whole_from = newest.minus(self.retention.quotes);
                self.windows_from = newest.minus(self.keep + WINDOWS_MARGIN);
            }
            let newest = batch.entries.last().map(|entry| entry.sequence);
            let (ingest, outcome) = match self.process(batch, &mut reader).await {
                Ok(outcome) => outcome,
                Err(ended) => return Ok(ended),
            };
            self = ingest;
            match outcome {
                Ok(()) => {}
                Err(IngestError::Store(error)) if error.is_damage() => return Ok(Ended::Damaged(error)),
                Err(IngestError::Store(error)) => {
                    self.close(&error);
                    reader.rewind(self.current.sequence).await;
                    continue;
                }
                Err(IngestError::Log(error)) if error.trouble().is_some() => {
                    self.report_unavailable(&error);
                    reader.rewind(self.current.sequence).await;
                    // The reader will return the same batch again, and it will be checked again.
                    stop.run_until_cancelled(tokio::time::sleep(DOUBT_PAUSE)).await;
                    continue;
                }
                Err(error @ (IngestError::Log(_) | IngestError::Discontinuity { .. })) => {
                    return Err(error.into());
                }
                Err(error @ IngestError::UnknownVersion { .. }) => {
                    // Skipping the record could hide prices, and a restarted process would stop at the same record.
                    tracing::error!(
                        event = "log_version_unsupported", %error,
                        "another version of Tickwell has written to the log; stopped reading, because skipping its records could hide \
                         prices"
                    );
                    self.checks.log.set(Condition::Unready(error.to_string()));
                    halted = true;
                    continue;
                }
            }
            if let Some(newest) = newest {
                reader.stored(newest).await;
            }
            self.update_readiness(pending);
        }
        Ok(Ended::Stopped)
    }

    /// Reports what the newest snapshot has.
    fn report_snapshot(&self) {
        let snapshot = self.snapshots.borrow();
        self.metrics.sequence.set(count(snapshot.sequence.0));
        for (pair, view) in &snapshot.pairs {
            if let Some(newest) = &view.tick {
                self.metrics.prices.set(*pair, newest.tick.price, newest.tick.slot);
            }
        }
        self.checks.prices.set(match snapshot.pairs.values().any(|view| view.tick.is_some()) {
            true => Condition::Ready,
            false => no_price_yet(),
        });
        if let Some(reached) = snapshot.reached() {
            self.metrics.slot(reached.start());
        }
        match self.store.disk_use() {
            Ok(used) => self.metrics.disk(&used),
            Err(error) => tracing::debug!(
                event = "disk_use_unknown",
                error = common::telemetry::chain(&error),
                "cannot find out how much space the store takes"
            ),
        }
    }

    /// Reports that the log cannot be read. The pod continues to serve what it has, marked as stale.
    pub fn report_unavailable(&self, error: &ReadError) {
        tracing::debug!(
            event = "log_unavailable",
            error = common::telemetry::chain(error),
            "the log cannot be read; serving what this pod has"
        );
        self.metrics.trouble(error.trouble());
        let reason = error.to_string();
        self.checks.log.set(match self.snapshots.borrow().pairs.is_empty() {
            true => Condition::Unready(reason),
            false => Condition::Degraded(reason),
        });
    }

    fn update_readiness(&self, pending: u64) {
        self.metrics.trouble(None);
        self.metrics.lag.set(count(pending));
        let condition = if pending > MAX_READY_LAG {
            Condition::Unready("catching up with the log".to_owned())
        } else if self.snapshots.borrow().pairs.is_empty() {
            Condition::Unready("the log has no records yet".to_owned())
        } else if let Some(Closed { reason, .. }) = &self.closed {
            Condition::Degraded(format!(
                "the store is unavailable, so only what is in memory can be served: {reason}"
            ))
        } else if self.misplaced {
            Condition::Degraded(MISPLACED.to_owned())
        } else if !self.has_reserve {
            Condition::Degraded(DISK_FULL.to_owned())
        } else if let Some(reason) = self.rejecting {
            Condition::Degraded(format!("the newest messages of the log were rejected: {reason}"))
        } else {
            Condition::Ready
        };
        self.checks.log.set(condition);
    }
}
