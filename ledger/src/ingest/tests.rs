//! Reading a log in large batches, one ahead, gives the same store as committing each record by itself.

use std::{
    collections::VecDeque,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use common::{
    bus::{Batch, Entry, LogIdentity},
    domain::Span,
    metrics::Prices,
    wire,
};

use super::*;
use crate::{
    averages::Scans,
    snapshot::PairView,
    store::{Order, Stored},
    window::Window,
};

const RECORDS: u64 = 700;

const RETENTION: Retention =
    Retention { ticks: Duration::from_secs(86_400), quotes: Duration::from_secs(86_400) };

/// A log that is held in memory. It notes how far it was read, and waits at its end.
struct Held {
    entries: Vec<Entry>,
    newest_slot: Option<Timestamp>,
    batches: VecDeque<usize>,
    next: usize,
    /// How many more entries the log has, which the reader does not return.
    beyond: u64,
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
        // Let the other tasks continue, as a reader does that waits for a server.
        tokio::task::yield_now().await;
        let end = self.entries.len().min(self.next + size);
        let entries = self.entries[self.next..end].to_vec();
        self.next = end;
        self.most_ahead.fetch_max(end - self.stored, Ordering::Relaxed);
        let pending = u64::try_from(self.entries.len() - end).unwrap() + self.beyond;
        Ok(Batch { entries, pending, first: Sequence(1) })
    }

    async fn stored(&mut self, sequence: Sequence) {
        self.stored = usize::try_from(sequence.0).unwrap();
    }

    async fn newest_slot(&mut self) -> Option<Timestamp> {
        self.newest_slot
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
    let store = open(folder);
    let begin = usize::try_from(store.cursor().unwrap().0).unwrap();
    let most_ahead = Arc::new(AtomicUsize::new(0));
    let reader = Held {
        entries: (1..=RECORDS).map(entry).collect(),
        newest_slot: None,
        batches: batches.iter().copied().collect(),
        next: begin,
        beyond: 0,
        most_ahead: most_ahead.clone(),
        stored: begin,
    };
    follow(store, reader, Duration::from_secs(86_400), end).await;
    most_ahead.load(Ordering::Relaxed)
}

/// Follows the log until the snapshot has `end` records. Returns that snapshot.
async fn follow(store: Store, reader: Held, keep: Duration, end: u64) -> Arc<Snapshot> {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::new(&registry, Prices::new(&registry).unwrap()).unwrap();
    let checks = Checks::new(&Readiness::default());
    let (ingest, mut snapshots) = Ingest::load(store, keep, RETENTION, metrics, checks).unwrap();
    let stop = CancellationToken::new();
    let following = tokio::spawn(ingest.run(Box::new(reader), stop.clone()));
    let reached = snapshots.wait_for(|snapshot| snapshot.sequence >= Sequence(end)).await.unwrap().clone();
    stop.cancel();
    following.await.unwrap().unwrap();
    reached
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

#[tokio::test]
async fn while_a_pod_catches_up_its_averages_are_those_of_its_store() {
    let (begin, end, keep) = (200, 19_200_u64, Duration::from_secs(3_600));
    let entries: Vec<Entry> = (1..=end).map(entry).collect();
    let newest_slot = entries.last().unwrap().record().unwrap().covers_up_to();
    // The newest slot is 9,600, so the windows begin again two hours before that, at slot 8,880. The pod ends before
    // that, shortly after that, and at the end of the log.
    for until in [12_000, 17_780, end] {
        let folder = tempfile::tempdir().unwrap();
        let reader = |until: u64, next, newest_slot| Held {
            entries: entries[..usize::try_from(until).unwrap()].to_vec(),
            newest_slot,
            batches: VecDeque::from([2_000; 20]),
            next,
            beyond: end - until,
            most_ahead: Arc::default(),
            stored: next,
        };
        // The pod has a little of the log already.
        follow(open(folder.path()), reader(begin, 0, None), keep, begin).await;
        let store = open(folder.path());
        let read = reader(until, usize::try_from(begin).unwrap(), newest_slot);
        let snapshot = follow(store.clone(), read, keep, until).await;
        for (pair, view) in &snapshot.pairs {
            let from_store =
                PairView { window: Window::default(), kept_from: Timestamp::MAX, ..view.clone() };
            for seconds in [10, 60, 3_000, 3_590, 3_600, 3_610, 7_200, 50_000] {
                let span = Span::from_seconds(seconds);
                let averages = |view| Scans::default().window(&store, *pair, view, span).unwrap();
                assert_eq!(averages(view), averages(&from_store), "{pair} {seconds} {until}");
            }
            let day_ago = view.slot.start().minus(Duration::from_secs(86_400));
            let tick = store.ticks(*pair, day_ago, day_ago.next(), Order::Ascending).next();
            assert_eq!(view.day_ago, tick.map(|tick| tick.unwrap().point()), "{pair} {until}");
            let is_in_memory = view.window_since(view.slot.start().minus(keep)).is_some();
            assert_eq!(is_in_memory, until == end, "{pair} {until}");
        }
    }
}
