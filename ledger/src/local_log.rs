//! The in-process log, which `tickwell run` uses instead of NATS.
//!
//! An appended record goes through a bounded queue to the ingest task, the only writer of the store, and is
//! acknowledged once the store has flushed it. The store is the log and the only copy of it. Poller and ingest use
//! the same traits as with NATS.

mod acknowledged;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{
    bus::{AppendError, Batch, Entry, LogReader, LogWriter, Newest, Partly, ReadError},
    domain::{Origin, Pair, Record, Sequence, Timestamp},
    telemetry::TraceContext,
    wire,
};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::store::{Store, StoreError};
use acknowledged::Acknowledged;

/// The capacity of the queue between the poller and the ingest task. The poller waits for each acknowledgement, so
/// the queue rarely holds more than one record.
const QUEUE_RECORDS: usize = 64;

/// The log's reader, which belongs to the ingest task, has ended. So nothing can be appended any more.
#[derive(Debug, thiserror::Error)]
#[error("the in-process log is closed because the task that stores its records has ended")]
struct Closed;

/// How many records are appended at once at most, if there are many. They are committed and flushed together, so this
/// bounds how long other appends wait and how much memory a commit takes.
const MOST_AT_ONCE: usize = 256;

/// Records that are stored together or not at all.
struct Queued {
    entries: Vec<Entry>,
    stored: oneshot::Sender<()>,
}

/// Appends to the in-process log.
pub struct LocalWriter {
    store: Store,
    queue: mpsc::Sender<Queued>,
    /// Held during an append, so that appends are checked against the fence and numbered one at a time.
    state: Mutex<State>,
}

struct State {
    last: Sequence,
    /// For each pair whose newest record was read: the sequence of that record.
    newest: BTreeMap<Pair, Sequence>,
    /// Set if acknowledged records were lost: the pairs that have been appended to since.
    continued: Option<BTreeSet<Pair>>,
    acknowledged: Acknowledged,
}

/// Reads the in-process log.
pub struct LocalReader {
    queue: mpsc::Receiver<Queued>,
    waiting: Vec<(Sequence, oneshot::Sender<()>)>,
    begun: bool,
}

/// The acknowledged positions that a store has lost. `None` if it has all of them, or is not the store of an in-process
/// log.
pub fn lost(store: &Store) -> Result<Option<(Sequence, Sequence)>, StoreError> {
    if !store.is_only_copy() {
        return Ok(None);
    }
    let stored = store.cursor()?;
    Ok(acknowledged::noted(store).filter(|noted| *noted > stored).map(|noted| (stored.next(), noted)))
}

/// Opens the in-process log whose records are kept in `store`.
pub fn open(store: &Store) -> Result<(Arc<LocalWriter>, LocalReader), StoreError> {
    let (sender, receiver) = mpsc::channel(QUEUE_RECORDS);
    let (acknowledged, noted) = Acknowledged::open(store);
    let stored = store.cursor()?;
    let lost = noted.filter(|noted| *noted > stored);
    if let Some(noted) = lost {
        tracing::error!(
            event = "acknowledged_records_lost",
            from = %stored.next(), to = %noted, path = %store.path().display(),
            "the store has lost records that had been acknowledged; their sequences will not be used again"
        );
    }
    let last = noted.unwrap_or_default().max(stored);
    let (newest, continued) = (BTreeMap::new(), lost.map(|_| BTreeSet::new()));
    let state = Mutex::new(State { last, newest, continued, acknowledged });
    let writer = Arc::new(LocalWriter { store: store.clone(), queue: sender, state });
    Ok((writer, LocalReader { queue: receiver, waiting: Vec::new(), begun: false }))
}

#[async_trait]
impl LogWriter for LocalWriter {
    async fn newest(&self, pair: Pair) -> Result<Newest, ReadError> {
        let unavailable = |error: StoreError| ReadError::Unavailable(error.into());
        // `append` holds this lock until the record is stored. So everything that was appended is in the store now.
        let mut state = self.state.lock().await;
        let record = self.store.newest_record(pair).map_err(unavailable)?;
        let (sequence, record) =
            record.map_or((Sequence::default(), None), |stored| (stored.sequence, Some(stored.record)));
        state.newest.insert(pair, sequence);
        let lost = state.continued.as_ref().is_some_and(|continued| !continued.contains(&pair));
        Ok(Newest { lost, ..Newest::new(sequence, record) })
    }

    async fn origin(&self) -> Result<Option<Origin>, ReadError> {
        let newest = || -> Result<Option<Origin>, StoreError> {
            let Some((pair, _)) = self.store.pairs()?.first().copied() else { return Ok(None) };
            Ok(self.store.newest_record(pair)?.map(|stored| stored.record.origin))
        };
        newest().map_err(|error| ReadError::Unavailable(error.into()))
    }

    async fn append(&self, record: &Record, expected: Sequence) -> Result<Sequence, AppendError> {
        let mut state = self.state.lock().await;
        if state.newest.get(&record.pair).copied().unwrap_or_default() != expected {
            return Err(AppendError::WrongLastSequence);
        }
        self.store(&mut state, record.pair, std::slice::from_ref(record)).await
    }

    fn most_at_once(&self) -> usize {
        MOST_AT_ONCE
    }

    async fn append_all(&self, records: &[Record], expected: Sequence) -> Result<Sequence, Partly> {
        let mut last = expected;
        for (number, together) in records.chunks(MOST_AT_ONCE).enumerate() {
            let Some(first) = together.first() else { continue };
            let mut state = self.state.lock().await;
            let is_fenced = state.newest.get(&first.pair).copied().unwrap_or_default() != last;
            let stored = match is_fenced {
                true => Err(AppendError::WrongLastSequence),
                false => self.store(&mut state, first.pair, together).await,
            };
            last = stored.map_err(|error| Partly { stored: number * MOST_AT_ONCE, last, error })?;
        }
        Ok(last)
    }
}

impl LocalWriter {
    /// Stores records of a pair, all of them or none. Returns the sequence of the last one.
    async fn store(
        &self,
        state: &mut State,
        pair: Pair,
        records: &[Record],
    ) -> Result<Sequence, AppendError> {
        let entries = records.iter().map(|record| {
            // The sequence is used up even if the append fails.
            state.last = state.last.next();
            let payload = Bytes::from(wire::encode(record));
            let trace = TraceContext::current();
            Entry { sequence: state.last, id: Some(record.id()), payload, trace }
        });
        let entries: Vec<Entry> = entries.collect();
        let sequence = state.last;
        let (stored, acknowledged) = oneshot::channel();
        self.queue
            .send(Queued { entries, stored })
            .await
            .map_err(|_| AppendError::Unconfirmed(Closed.into()))?;
        acknowledged.await.map_err(|_| AppendError::Unconfirmed(Closed.into()))?;
        state.newest.insert(pair, sequence);
        if let Some(continued) = &mut state.continued {
            continued.insert(pair);
        }
        state.acknowledged.note(sequence);
        Ok(sequence)
    }
}

#[async_trait]
impl LogReader for LocalReader {
    async fn next(&mut self) -> Result<Batch, ReadError> {
        if !std::mem::replace(&mut self.begun, true) {
            return Ok(Batch { entries: Vec::new(), pending: 0, first: Sequence::default() });
        }
        let Some(queued) = self.queue.recv().await else {
            return Err(ReadError::Closed);
        };
        let last = queued.entries.last().map(|entry| entry.sequence).unwrap_or_default();
        self.waiting.push((last, queued.stored));
        Ok(Batch { entries: queued.entries, pending: 0, first: Sequence::default() })
    }

    async fn stored(&mut self, sequence: Sequence) {
        for (waiting, stored) in std::mem::take(&mut self.waiting) {
            if waiting <= sequence {
                // The caller of `append` may no longer be waiting. The record is stored in any case.
                let _ = stored.send(());
            } else {
                self.waiting.push((waiting, stored));
            }
        }
    }

    async fn newest_slot(&mut self) -> Option<Timestamp> {
        None
    }

    async fn require(&mut self, _sequence: Sequence, _record: &Record) -> Result<(), ReadError> {
        // The store is the log itself, so the log has every record that the store has.
        Ok(())
    }

    async fn rewind(&mut self, _sequence: Sequence) {
        // Dropping the senders makes the waiting appends fail as unconfirmed. The records of these appends cannot be
        // read again, because there is no log outside of this process.
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use common::domain::{Body, Epoch, Lead, Origin};

    use super::*;

    fn lead(pair: &str, epoch: u64) -> Record {
        let body = Body::Lead(Lead { covered: None, backfilled: false, leader: None });
        Record { pair: pair.parse().unwrap(), epoch: Epoch(epoch), origin: Origin::Live, body }
    }

    /// Stands in for the ingest task: commits what it reads and acknowledges it.
    fn keep(store: &Store, mut reader: LocalReader) -> tokio::task::JoinHandle<Vec<Sequence>> {
        let store = store.clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Ok(batch) = reader.next().await {
                for entry in batch.entries {
                    let (sequence, record) = (entry.sequence, entry.record().unwrap());
                    store
                        .commit(&[crate::store::Stored { sequence, record }], sequence, &[], Timestamp::EPOCH)
                        .unwrap();
                    seen.push(sequence);
                    reader.stored(sequence).await;
                }
            }
            seen
        })
    }

    #[tokio::test]
    async fn the_fence_holds_per_pair_and_sequences_continue() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_local(folder.path()).unwrap();
        let (btc, eth) = ("BTC-USD", "ETH-USD");
        for start in [0, 3] {
            // The second round continues where the first ended, as after a restart.
            let (writer, reader) = open(&store).unwrap();
            let kept = keep(&store, reader);
            let newest = writer.newest(btc.parse().unwrap()).await.unwrap();
            assert_eq!(newest.sequence, Sequence(if start == 0 { 0 } else { 3 }));
            assert_eq!(newest.record.is_some(), start > 0);
            assert_eq!(writer.origin().await.unwrap(), (start > 0).then_some(Origin::Live));
            let eth_newest = writer.newest(eth.parse().unwrap()).await.unwrap().sequence;

            let first = writer.append(&lead(btc, 1), newest.sequence).await.unwrap();
            assert_eq!(first, Sequence(start + 1));
            let repeated = writer.append(&lead(btc, 1), newest.sequence).await;
            assert!(matches!(repeated, Err(AppendError::WrongLastSequence)));
            let second = writer.append(&lead(eth, 1), eth_newest).await.unwrap();
            assert_eq!(second, Sequence(start + 2));
            assert_eq!(writer.append(&lead(btc, 2), first).await.unwrap(), Sequence(start + 3));
            drop(writer);
            assert_eq!(kept.await.unwrap(), [1, 2, 3].map(|number| Sequence(start + number)));
        }
    }

    #[tokio::test]
    async fn sequences_that_the_store_has_lost_are_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_local(folder.path()).unwrap();
        let pair = "BTC-USD";
        // These records are acknowledged but never committed, so they are lost.
        let (writer, mut reader) = open(&store).unwrap();
        let lost = tokio::spawn(async move {
            let first = writer.append(&lead(pair, 1), Sequence(0)).await.unwrap();
            writer.append(&lead(pair, 2), first).await.unwrap()
        });
        while !lost.is_finished() {
            if let Ok(Ok(batch)) =
                tokio::time::timeout(std::time::Duration::from_millis(10), reader.next()).await
                && let Some(entry) = batch.entries.last()
            {
                reader.stored(entry.sequence).await;
            }
        }
        assert_eq!(lost.await.unwrap(), Sequence(2));
        drop(reader);
        let (writer, reader) = open(&store).unwrap();
        let kept = keep(&store, reader);
        writer.newest(pair.parse().unwrap()).await.unwrap();
        assert_eq!(writer.append(&lead(pair, 3), Sequence(0)).await.unwrap(), Sequence(3));
        drop(writer);
        assert_eq!(kept.await.unwrap(), [Sequence(3)]);
    }

    #[tokio::test]
    async fn without_a_reader_nothing_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_local(folder.path()).unwrap();
        let (writer, reader) = open(&store).unwrap();
        drop(reader);
        let refused = writer.append(&lead("BTC-USD", 1), Sequence(0)).await;
        assert!(matches!(refused, Err(AppendError::Unconfirmed(_))));
    }
}
