//! Ingest: the one task that reads the log, and the only writer of the store.
//!
//! Every batch goes the same way: decode, check, commit (records and cursor in one atomic batch), swap in
//! the new snapshot, tell the log. A crash between any two steps repeats the batch or finds it done.
//!
//! A store that takes no records, as on a full disk, is no reason to go silent: the copy of a log goes on in
//! memory, and the store catches up once it can be written to again. Where the store is the log itself,
//! nothing is acknowledged until then.

mod closed;
mod take;

use std::{sync::Arc, time::Duration};

use common::{
    bus::{LogReader, ReadError},
    domain::{Record, Sequence, Timestamp},
    readiness::{Check, Condition},
    service::TaskError,
    wire::DecodeError,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use closed::{Closed, until};

use crate::{
    metrics::Metrics,
    snapshot::{Rejection, Snapshot},
    store::{Retention, Store, StoreError},
};

/// More records than this behind the log, and the pod is not ready: its answers are too old.
const MAX_READY_LAG: u64 = 100;

/// So far behind the log it is worth asking where it ends: what is too old by then need not be kept whole.
const FAR_BEHIND: u64 = 10_000;

/// How much longer than they are answered rows stay in the store: whoever answers from an older snapshot
/// still finds what belongs to it.
const RECLAIM_DELAY: Duration = Duration::from_secs(3_600);

/// Follows the log into store and snapshot.
pub struct Ingest {
    store: Store,
    snapshots: watch::Sender<Arc<Snapshot>>,
    keep: Duration,
    retention: Retention,
    metrics: Metrics,
    check: Check,
    /// Why nothing of the newest batch was a record of this log, where that was so.
    rejecting: Option<Rejection>,
    /// What the next batch is added to: the newest snapshot, unless the store is catching up with it.
    current: Arc<Snapshot>,
    /// Records before this will be past the quotes' retention once the log has been read.
    whole_from: Timestamp,
    /// The store takes no records: why, and when it is tried again.
    closed: Option<Closed>,
}

/// How following a log ended.
#[derive(Debug)]
pub enum Ended {
    /// It was told to stop, or the log was closed by its writer.
    Stopped,
    /// The store is a copy of a log that is no more: why that is so.
    Replaced(String),
    /// The store cannot be read any more.
    Damaged(StoreError),
}

/// Why a batch was not taken in, or not all of it.
#[derive(Debug, thiserror::Error)]
enum IngestError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record does not continue the copy: whether the log still holds `ours` decides which of the two is broken.
    #[error("the record at {sequence} is not continued")]
    BrokenOff { sequence: Sequence, ours: Box<Record> },
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("stopped before {sequence}: {source}")]
    UnknownVersion { sequence: Sequence, source: DecodeError },
}

impl Ingest {
    /// Loads what the store holds. Answers the ingest task and the snapshots it will publish. Blocks.
    pub fn load(
        store: Store,
        keep: Duration,
        retention: Retention,
        metrics: Metrics,
        check: Check,
    ) -> Result<(Self, watch::Receiver<Arc<Snapshot>>), StoreError> {
        store.check()?;
        let snapshot = Snapshot::load(&store, keep)?;
        tracing::info!(
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
            store: store.of_writer(),
            snapshots,
            keep,
            retention,
            metrics,
            check,
            rejecting: None,
            current,
            whole_from: Timestamp::EPOCH,
            closed: None,
        };
        ingest.show();
        Ok((ingest, receiver))
    }

    /// Follows the log until told to stop, or until the store is not a good copy of it any more.
    pub async fn run(
        mut self,
        mut reader: Box<dyn LogReader>,
        stop: CancellationToken,
    ) -> Result<Ended, TaskError> {
        let mut halted = false;
        loop {
            let retry = self.closed.as_ref().and_then(|closed| closed.retry);
            let batch = tokio::select! {
                () = stop.cancelled() => break,
                () = until(retry) => {
                    let (ingest, damage) = self.reopen(&mut *reader).await?;
                    if let Some(damage) = damage {
                        return Ok(Ended::Damaged(damage));
                    }
                    self = ingest;
                    continue;
                }
                batch = reader.next() => batch,
            };
            let batch = match batch {
                Err(_) if stop.is_cancelled() => break,
                // The in-process log ends with its writer, and not before: what it still has to say is said.
                Err(ReadError::Closed) => break,
                Err(ReadError::Replaced(reason)) => return Ok(Ended::Replaced(reason)),
                // Only another log would help.
                _ if halted => continue,
                Err(error) if error.trouble().is_some() => {
                    self.tell_away(&error);
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
            }
            let newest = batch.entries.last().map(|entry| entry.sequence);
            let (ingest, taken) = match self.take(batch, &mut *reader).await {
                Ok(taken) => taken,
                Err(ended) => return Ok(ended),
            };
            self = ingest;
            match taken {
                Ok(()) => {}
                Err(IngestError::Store(error)) if error.is_damage() => return Ok(Ended::Damaged(error)),
                Err(IngestError::Store(error)) => {
                    self.close(&error);
                    reader.rewind(self.current.sequence).await;
                    continue;
                }
                Err(IngestError::Log(error)) if error.trouble().is_some() => {
                    self.tell_away(&error);
                    reader.rewind(self.current.sequence).await;
                    continue;
                }
                Err(error @ (IngestError::Log(_) | IngestError::BrokenOff { .. })) => {
                    return Err(error.into());
                }
                Err(error @ IngestError::UnknownVersion { .. }) => {
                    // Going on could hide prices; ending would only repeat it. Stay, and say so.
                    tracing::error!(%error, "the log was written by a newer Tickwell: upgrade this one");
                    self.check.set(Condition::Unready(error.to_string()));
                    halted = true;
                    continue;
                }
            }
            if let Some(newest) = newest {
                reader.stored(newest).await;
            }
            self.tell(pending);
        }
        Ok(Ended::Stopped)
    }

    fn show(&self) {
        let snapshot = self.snapshots.borrow();
        self.metrics.sequence.set(i64::try_from(snapshot.sequence.0).unwrap_or(i64::MAX));
        for (pair, view) in &snapshot.pairs {
            if let Some(newest) = &view.tick {
                self.metrics.price(*pair, newest);
            }
        }
    }

    /// Without the log a pod goes on answering with what it has, labelled stale.
    pub fn tell_away(&self, error: &ReadError) {
        tracing::debug!(error = common::telemetry::chain(error), "the log cannot be had");
        self.metrics.trouble(error.trouble());
        let reason = error.to_string();
        self.check.set(match self.snapshots.borrow().pairs.is_empty() {
            true => Condition::Unready(reason),
            false => Condition::Degraded(reason),
        });
    }

    fn tell(&self, pending: u64) {
        self.metrics.trouble(None);
        self.metrics.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        let condition = if pending > MAX_READY_LAG {
            Condition::Unready("catching up with the log".to_owned())
        } else if self.snapshots.borrow().pairs.is_empty() {
            Condition::Unready("the log has no record yet".to_owned())
        } else if let Some(Closed { reason, .. }) = &self.closed {
            Condition::Degraded(format!("the store is not at hand, so history is not answered: {reason}"))
        } else if let Some(reason) = self.rejecting {
            Condition::Degraded(format!("the newest messages of the log were passed over: {reason}"))
        } else {
            Condition::Ready
        };
        self.check.set(condition);
    }
}
