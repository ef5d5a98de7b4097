//! One batch: decode, check, commit, swap in.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, thread};

use common::{
    bus::{Entry, NotRecord},
    domain::{Record, Sequence},
    wire::DecodeError,
};

use super::{Ingest, IngestError};
use crate::{
    snapshot::{Rejection, Snapshot},
    store::{StoreError, Stored},
};

/// Fewer entries than this are decoded sooner than another thread begins.
const WORTH_A_THREAD: usize = 128;

/// More threads would wait for the store.
const MAX_THREADS: usize = 4;

impl Ingest {
    /// Takes in one batch, up to a record of a newer version if there is one. Blocks.
    pub(super) fn take_in(&mut self, entries: &[Entry]) -> Result<(), IngestError> {
        let mut next = Snapshot::clone(&self.current);
        let mut accepted = Vec::with_capacity(entries.len());
        let mut halted = Ok(());
        let mut rejected: BTreeMap<Rejection, u64> = BTreeMap::new();
        let mut holes = Vec::new();
        for (entry, record) in entries.iter().zip(records(entries)) {
            let sequence = entry.sequence;
            if sequence > next.sequence.next() {
                holes.push(sequence);
            }
            let rejection = match record {
                Ok(record) => {
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
                Err(NotRecord::Undecodable(_)) => Some(Rejection::Undecodable),
                Err(NotRecord::Unfenced) => Some(Rejection::Unfenced),
            };
            if let Some(rejection) = rejection {
                *rejected.entry(rejection).or_default() += 1;
                self.metrics.rejected(rejection);
            }
            next.sequence = sequence;
        }
        for (reason, count) in &rejected {
            tracing::warn!(%reason, count, up_to = %next.sequence, "passed over messages of the log");
        }
        if !entries.is_empty() {
            self.rejecting = rejected.into_keys().next().filter(|_| accepted.is_empty());
        }
        if next.sequence > self.current.sequence {
            match self.store(&accepted, &mut next, &holes) {
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

    fn store(&self, accepted: &[Stored], next: &mut Snapshot, holes: &[Sequence]) -> Result<(), StoreError> {
        self.store.commit(accepted, next.sequence, holes, self.whole_from)?;
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
