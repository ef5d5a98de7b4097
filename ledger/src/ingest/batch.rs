//! Processing one batch: decode, check, commit, publish the snapshot.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, LazyLock},
    thread,
    time::Duration,
};

use common::{
    bus::{Batch, Entry, LogReader, NotRecord, ReadError},
    domain::{Record, Timestamp},
    telemetry::chain,
    wire::{self, DecodeError},
};
use tokio::time::Instant;

use super::{Ended, Ingest, IngestError, read_ahead::ReadAhead, span};
use crate::{
    snapshot::{Rejection, Snapshot},
    store::{Break, Rewritten, StoreError, Stored},
};

/// Decoding fewer entries than this takes less time than starting a thread.
const WORTH_A_THREAD: usize = 128;

/// How long commits may wait while the store is rewritten, if the interval between slots is long enough.
const MAX_REWRITE: Duration = Duration::from_secs(5);

/// More threads than this would only wait for the store.
const MAX_THREADS: usize = 4;

/// How many threads decode a large batch. Asking the system takes longer than decoding a record, because it reads
/// files.
static THREADS: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_THREADS));

impl Ingest {
    /// Processes one batch. If the batch does not follow directly on the store's newest records, asks the log whether
    /// the store is still a copy of it.
    pub(super) async fn process(
        self,
        batch: Batch,
        reader: &mut ReadAhead,
    ) -> Result<(Self, Result<(), IngestError>), Ended> {
        let system = reader.system();
        let is_catching_up = batch.pending > 0;
        let processing = self.process_on_blocking_thread(batch, system, false);
        let (ingest, batch, outcome) = match is_catching_up {
            true => reader.during(processing).await?,
            false => processing.await?,
        };
        let Err(IngestError::Discontinuity { sequence, ours }) = outcome else {
            return Ok((ingest, outcome));
        };
        match reader.require(sequence, &ours).await {
            Ok(()) => {
                let (ingest, _batch, outcome) =
                    ingest.process_on_blocking_thread(batch, system, true).await?;
                Ok((ingest, outcome))
            }
            Err(ReadError::Replaced(reason)) => Err(Ended::Replaced(reason)),
            Err(error) => Ok((ingest, Err(error.into()))),
        }
    }

    /// Processes one batch on a thread that may block.
    async fn process_on_blocking_thread(
        mut self,
        batch: Batch,
        system: &'static str,
        is_known_copy: bool,
    ) -> Result<(Self, Batch, Result<(), IngestError>), Ended> {
        let processing = tokio::task::spawn_blocking(move || {
            let span = span::of_ingest(&batch, system);
            let outcome = span.in_scope(|| self.process_blocking(&batch, is_known_copy));
            if let Err(error) = &outcome {
                span.record("otel.status_code", "ERROR").record("otel.status_description", error.to_string());
            }
            (self, batch, outcome)
        });
        // sled panics on some kinds of damage. The panic hook has logged where.
        processing.await.map_err(|_panic| Ended::Damaged(StoreError::Damaged("storing a batch panicked")))
    }

    /// Processes one batch, up to the first record of another version if there is one. If a record does not follow
    /// directly on the pair's newest tick or gap, fails before storing anything, unless the store is known to be a copy
    /// of this log. Blocks.
    fn process_blocking(&mut self, batch: &Batch, is_known_copy: bool) -> Result<(), IngestError> {
        let entries = batch.entries.as_slice();
        let mut next = Snapshot::clone(&self.current);
        let mut accepted = Vec::with_capacity(entries.len());
        let mut halted = Ok(());
        let mut rejected: BTreeMap<Rejection, u64> = BTreeMap::new();
        let mut breaks = Vec::new();
        // Once the pod has caught up, every new tick belongs to a window, whatever the newest slot seemed to be.
        let windows_from = if batch.pending > 0 { self.windows_from } else { Timestamp::EPOCH };
        for (entry, record) in entries.iter().zip(records(entries)) {
            let sequence = entry.sequence;
            if sequence > next.sequence.next() && sequence <= batch.first {
                breaks.push(Break::Expired(sequence));
            }
            let rejection = match record {
                Ok(record) => {
                    if let Some(suspect) = next.discontinuity_at(&record).filter(|_| !is_known_copy)
                        && let Ok(Some(ours)) = self.store.record(suspect)
                    {
                        return Err(IngestError::Discontinuity { sequence: suspect, ours: Box::new(ours) });
                    }
                    let stored = Stored { sequence, record };
                    let rejection = next.apply(&stored, self.keep, windows_from);
                    if rejection.is_none() {
                        accepted.push(stored);
                    }
                    rejection
                }
                Err(NotRecord::Undecodable(source @ DecodeError::UnknownVersion { .. })) => {
                    halted = Err(IngestError::UnknownVersion { sequence, source });
                    break;
                }
                Err(NotRecord::Undecodable(_)) => {
                    breaks.push(Break::Unreadable(sequence));
                    Some(Rejection::Undecodable)
                }
                Err(NotRecord::Unfenced) => Some(Rejection::Unfenced),
            };
            if let Some(rejection) = rejection {
                *rejected.entry(rejection).or_default() += 1;
            }
            next.sequence = sequence;
        }
        for (reason, count) in &rejected {
            self.metrics.rejected(*reason, *count);
            tracing::warn!(
                event = "messages_rejected", %reason, count, up_to = %next.sequence,
                "rejected messages of the log; they are not served"
            );
        }
        if !entries.is_empty() {
            self.rejecting = rejected.into_keys().next().filter(|_| accepted.is_empty());
        }
        if next.sequence > self.current.sequence {
            match self.store(&accepted, entries, &mut next, &breaks) {
                Err(error) if error.is_damage() || self.store.is_only_copy() => return Err(error.into()),
                Err(error) => {
                    self.close(&error);
                    next.find_day_ago_ticks(&self.store)?;
                }
                Ok(()) if batch.pending == 0 => self.rewrite_store(&next),
                Ok(()) => {}
            }
            self.metrics.ingested.inc_by(u64::try_from(accepted.len()).unwrap_or(u64::MAX));
            self.current = Arc::new(next);
            if self.current.sequence > self.snapshots.borrow().sequence {
                let _span =
                    tracing::info_span!("snapshot", tickwell.sequence = self.current.sequence.0).entered();
                self.snapshots.send_replace(self.current.clone());
                self.report_snapshot();
            }
            self.caught_up();
        }
        halted
    }

    /// Rewrites the store if that saves much space. The next records are expected in a slot from now, so there is time.
    fn rewrite_store(&self, snapshot: &Snapshot) {
        let intervals = snapshot.pairs.values().map(|view| view.interval.duration());
        let limit = intervals.min().map_or(MAX_REWRITE, |interval| MAX_REWRITE.min(interval / 2));
        match self.store.rewrite_if_worthwhile(limit) {
            Ok(None) => {}
            Ok(Some(Rewritten { before, after, held })) => {
                self.metrics.store_rewrites.inc();
                tracing::info!(
                    event = "store_rewritten",
                    before_bytes = before,
                    after_bytes = after,
                    held_ms = held.as_millis(),
                    "rewrote the store's files without the space that was no longer in use"
                );
            }
            Err(error) => tracing::warn!(
                event = "store_not_rewritten",
                error = chain(&error),
                "the store's files have much space that is no longer in use, and could not be rewritten without it"
            ),
        }
    }

    fn store(
        &self,
        accepted: &[Stored],
        entries: &[Entry],
        next: &mut Snapshot,
        breaks: &[Break],
    ) -> Result<(), StoreError> {
        let _span = span::of_commit(accepted.len(), next.sequence).entered();
        let begun = Instant::now();
        let encoded = |stored: &Stored| {
            let place = entries.binary_search_by_key(&stored.sequence, |entry| entry.sequence);
            let entry = place.ok().and_then(|place| entries.get(place));
            entry.map_or_else(|| wire::encode(&stored.record), |entry| entry.payload.to_vec())
        };
        self.store.commit_encoded(accepted, encoded, next.sequence, breaks, self.whole_from)?;
        self.metrics.committed(begun.elapsed());
        self.store.reclaim(self.retention, next.reached())?;
        next.find_day_ago_ticks(&self.store)
    }
}

/// Decodes messages. If there are many, as when a pod catches up, several threads decode them.
fn records(entries: &[Entry]) -> Vec<Result<Record, NotRecord>> {
    let share = entries.len().div_ceil(*THREADS).max(WORTH_A_THREAD);
    let decode = |share: &[Entry]| share.iter().map(Entry::record).collect::<Vec<_>>();
    thread::scope(|scope| {
        let mut shares = entries.chunks(share);
        let first = shares.next().unwrap_or_default();
        let others: Vec<_> = shares.map(|share| scope.spawn(move || decode(share))).collect();
        let mut records = decode(first);
        for other in others {
            records.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        records
    })
}
