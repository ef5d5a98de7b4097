//! One batch: decode, check, commit, swap in.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, thread};

use common::{
    bus::{Batch, Entry, LogReader, NotRecord, ReadError},
    domain::Record,
    wire::DecodeError,
};

use super::{Ended, Ingest, IngestError};
use crate::{
    snapshot::{Rejection, Snapshot},
    store::{Break, StoreError, Stored},
};

/// Fewer entries than this are decoded sooner than another thread begins.
const WORTH_A_THREAD: usize = 128;

/// More threads would wait for the store.
const MAX_THREADS: usize = 4;

impl Ingest {
    /// Takes in one batch. Where it does not continue what the store holds, the log decides whether the store is still a
    /// copy of it.
    pub(super) async fn take(
        self,
        batch: Batch,
        reader: &mut dyn LogReader,
    ) -> Result<(Self, Result<(), IngestError>), Ended> {
        let (ingest, batch, taken) = self.take_aside(batch, false).await?;
        let Err(IngestError::BrokenOff { sequence, ours }) = taken else { return Ok((ingest, taken)) };
        match reader.require(sequence, &ours).await {
            Ok(()) => {
                let (ingest, _batch, taken) = ingest.take_aside(batch, true).await?;
                Ok((ingest, taken))
            }
            Err(ReadError::Replaced(reason)) => Err(Ended::Replaced(reason)),
            Err(error) => Ok((ingest, Err(error.into()))),
        }
    }

    /// Takes in one batch on a thread that may block.
    async fn take_aside(
        mut self,
        batch: Batch,
        is_copy: bool,
    ) -> Result<(Self, Batch, Result<(), IngestError>), Ended> {
        let taking = tokio::task::spawn_blocking(move || {
            let taken = self.take_in(&batch, is_copy);
            (self, batch, taken)
        });
        // On some damage sled panics; it has said where.
        taking.await.map_err(|_panic| Ended::Damaged(StoreError::Damaged("taking in a batch panicked")))
    }

    /// Takes in one batch, up to a record of a newer version if there is one. Unless the copy is known to be one of
    /// this log, a record that does not continue it stops this before anything is stored. Blocks.
    fn take_in(&mut self, batch: &Batch, is_copy: bool) -> Result<(), IngestError> {
        let entries = batch.entries.as_slice();
        let mut next = Snapshot::clone(&self.current);
        let mut accepted = Vec::with_capacity(entries.len());
        let mut halted = Ok(());
        let mut rejected: BTreeMap<Rejection, u64> = BTreeMap::new();
        let mut breaks = Vec::new();
        for (entry, record) in entries.iter().zip(records(entries)) {
            let sequence = entry.sequence;
            if sequence > next.sequence.next() && sequence <= batch.first {
                breaks.push(Break::Expired(sequence));
            }
            let rejection = match record {
                Ok(record) => {
                    if let Some(suspect) = next.broken_off_at(&record).filter(|_| !is_copy)
                        && let Ok(Some(ours)) = self.store.record(suspect)
                    {
                        return Err(IngestError::BrokenOff { sequence: suspect, ours: Box::new(ours) });
                    }
                    let stored = Stored { sequence, record };
                    let rejection = next.apply(&stored, self.keep);
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
            tracing::warn!(%reason, count, up_to = %next.sequence, "passed over messages of the log");
        }
        if !entries.is_empty() {
            self.rejecting = rejected.into_keys().next().filter(|_| accepted.is_empty());
        }
        if next.sequence > self.current.sequence {
            match self.store(&accepted, &mut next, &breaks) {
                Err(error) if error.is_damage() || self.store.is_only_copy() => return Err(error.into()),
                Err(error) => {
                    self.close(&error);
                    next.look_back(&self.store)?;
                }
                Ok(()) => {}
            }
            self.metrics.ingested.inc_by(u64::try_from(accepted.len()).unwrap_or(u64::MAX));
            self.current = Arc::new(next);
            if self.current.sequence > self.snapshots.borrow().sequence {
                self.snapshots.send_replace(self.current.clone());
                self.show();
            }
            self.caught_up();
        }
        halted
    }

    fn store(&self, accepted: &[Stored], next: &mut Snapshot, breaks: &[Break]) -> Result<(), StoreError> {
        self.store.commit(accepted, next.sequence, breaks, self.whole_from)?;
        self.store.reclaim(self.retention)?;
        next.look_back(&self.store)
    }
}

/// The records in the messages. Of many, as when a pod catches up, several are decoded at once: it is most of
/// the work.
fn records(entries: &[Entry]) -> Vec<Result<Record, NotRecord>> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_THREADS);
    let share = entries.len().div_ceil(threads).max(WORTH_A_THREAD);
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
