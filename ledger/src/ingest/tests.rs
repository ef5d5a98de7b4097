//! Reading a log in large batches, one ahead, gives the same store as committing each record by itself.

use std::{
    collections::VecDeque,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use common::{
    bus::{Batch, Entry, LogIdentity},
    metrics::Prices,
    wire,
};

use super::*;
use crate::store::Stored;

const RECORDS: u64 = 700;

const RETENTION: Retention =
    Retention { ticks: Duration::from_secs(86_400), quotes: Duration::from_secs(86_400) };

/// A log that is held in memory. It notes how far it was read, and waits at its end.
struct Held {
    entries: Vec<Entry>,
    batches: VecDeque<usize>,
    next: usize,
    /// The largest number of entries that were read before they were reported as stored.
    most_ahead: Arc<AtomicUsize>,
    stored: usize,
}

#[async_trait]
impl LogReader for Held {
    async fn next(&mut self) -> Result<Batch, ReadError> {
        if self.next == self.entries.len() {
            std::future::pending::<()>().await;
        }
        let size = self.batches.pop_front().unwrap_or(1);
        let end = self.entries.len().min(self.next + size);
        let entries = self.entries[self.next..end].to_vec();
        self.next = end;
        self.most_ahead.fetch_max(end - self.stored, Ordering::Relaxed);
        let pending = u64::try_from(self.entries.len() - end).unwrap();
        Ok(Batch { entries, pending, first: Sequence(1) })
    }

    async fn stored(&mut self, sequence: Sequence) {
        self.stored = usize::try_from(sequence.0).unwrap();
    }

    async fn newest_slot(&mut self) -> Option<Timestamp> {
        None
    }

    async fn rewind(&mut self, sequence: Sequence) {
        self.next = usize::try_from(sequence.0).unwrap();
    }

    async fn require(&mut self, _sequence: Sequence, _record: &Record) -> Result<(), ReadError> {
        Ok(())
    }
}

fn entry(number: u64) -> Entry {
    let slot = Timestamp::from_unix_millis(1_763_683_200_000 + i64::try_from(number / 2).unwrap() * 10_000);
    let (slot, cents) = (slot.unwrap(), 9_700_000 + number * number % 977);
    let (pair, price) = (
        ["BTC-USD", "ETH-USD"][usize::from(number.is_multiple_of(2))],
        format!("{}.{:02}", cents / 100, cents % 100),
    );
    let quote = format!(
        r#"{{"source":"kraken","price":"{price}","basis":"last","last":"{price}","observed_at":"{slot}","source_time":null,"unchanged_since":"{slot}","verdict":"used"}}"#
    );
    let payload = format!(
        r#"{{"version":2,"kind":"tick","pair":"{pair}","slot":"{slot}","interval":"10s","epoch":1,"origin":"live","price":"{price}","spread":"0","policy":{{"rules":1,"price":"mid","min_sources":1,"max_deviation":"0.02","max_quote_age":"30s","max_clock_skew":"5s","frozen_after":"10m"}},"quotes":[{quote}]}}"#
    );
    Entry {
        sequence: Sequence(number),
        id: Some(format!("{pair}:{slot}")),
        payload: payload.into(),
        trace: None,
    }
}

fn open(folder: &Path) -> Store {
    Store::open_copy(folder, &LogIdentity::new("test").unwrap(), Timestamp::EPOCH).unwrap()
}

/// Reads the log into a store with batches of these sizes, until it has `end` records.
async fn read(folder: &Path, batches: &[usize], end: u64) -> usize {
    let (store, registry) = (open(folder), prometheus::Registry::new());
    let begin = usize::try_from(store.cursor().unwrap().0).unwrap();
    let most_ahead = Arc::new(AtomicUsize::new(0));
    let reader = Held {
        entries: (1..=RECORDS).map(entry).collect(),
        batches: batches.iter().copied().collect(),
        next: begin,
        most_ahead: most_ahead.clone(),
        stored: begin,
    };
    let metrics = Metrics::new(&registry, Prices::new(&registry).unwrap()).unwrap();
    let checks = Checks::new(&Readiness::default());
    let day = Duration::from_secs(86_400);
    let (ingest, mut snapshots) = Ingest::load(store, day, RETENTION, metrics, checks).unwrap();
    let stop = CancellationToken::new();
    let following = tokio::spawn(ingest.run(Box::new(reader), stop.clone()));
    snapshots.wait_for(|snapshot| snapshot.sequence >= Sequence(end)).await.unwrap();
    stop.cancel();
    following.await.unwrap().unwrap();
    most_ahead.load(Ordering::Relaxed)
}

#[tokio::test]
async fn large_batches_read_ahead_give_the_same_rows_as_single_records() {
    let (single, large) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(single.path());
    for number in 1..=RECORDS {
        let record = entry(number).record().unwrap();
        assert_eq!(wire::encode(&record), entry(number).payload.to_vec());
        let (sequence, none) = (Sequence(number), Timestamp::EPOCH);
        store.commit(&[Stored { sequence, record }], sequence, &[], none).unwrap();
    }
    // The pod ends in the middle of the log and continues, perhaps with a batch that it had read but not stored.
    let ahead = read(large.path(), &[1, 200, 3, 64, 63], 268).await;
    assert!(ahead > 200, "at most {ahead} records were read before they were stored");
    read(large.path(), &[150, 150, 150, 150, 150], RECORDS).await;
    assert_eq!(open(large.path()).rows(), store.rows());
}
