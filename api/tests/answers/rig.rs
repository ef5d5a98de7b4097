//! A pod without a network. Tests send it entries of a log and read its responses.

mod answer;
mod records;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use api::{
    config::{ApiConfig, RateLimit},
    freshness::{ClockReport, Freshness},
    metrics::{ClockMetrics, Connections, Metrics},
    routes::{Build, Process, State, Streams},
    server::{self, Listener, SharedEndpoint},
    work::Workers,
};
use async_trait::async_trait;
use common::{
    bus::{Batch, Entry, LogIdentity, LogReader, ReadError},
    clock::ManualClock,
    domain::{Record, Sequence, Timestamp},
    metrics::Prices,
    readiness::{Condition, Readiness},
    service::TaskError,
    telemetry::LogFilter,
    wire,
};
use futures::StreamExt;
use ledger::{
    ingest::{Checks, Ended, Ingest},
    store::{OpenError, Retention, Store},
};
use poem::test::TestClient;
use prometheus::Registry;
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::document;

pub(crate) use answer::{Answer, followed, pages};
pub(crate) use records::{at, backfilled, gap, gap_of, lead, not_backfilled, tick, tick_record};

/// A log whose entries are the ones that the test sends.
struct SentLog {
    batches: mpsc::Receiver<Batch>,
    stored: mpsc::Sender<Sequence>,
}

#[async_trait]
impl LogReader for SentLog {
    async fn next(&mut self) -> Result<Batch, ReadError> {
        match self.batches.recv().await {
            Some(batch) => Ok(batch),
            None => std::future::pending().await,
        }
    }

    async fn stored(&mut self, sequence: Sequence) {
        self.stored.send(sequence).await.unwrap();
    }

    async fn newest_slot(&mut self) -> Option<Timestamp> {
        None
    }

    async fn require(&mut self, _sequence: Sequence, _record: &Record) -> Result<(), ReadError> {
        Ok(())
    }

    async fn rewind(&mut self, _sequence: Sequence) {}
}

pub(crate) struct Rig {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) readiness: Readiness,
    client: TestClient<SharedEndpoint>,
    pod: Pod,
    batches: mpsc::Sender<Batch>,
    stored: mpsc::Receiver<Sequence>,
    last: Sequence,
    ingest: JoinHandle<Result<Ended, TaskError>>,
    stop: CancellationToken,
    keep: Duration,
    retention: Retention,
    folder: tempfile::TempDir,
}

struct Pod {
    state: Arc<State>,
    process: Process,
    metrics: Metrics,
    connections: Connections,
}

/// The pod on a real port.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), TaskError>>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::keeping(Duration::from_secs(3_600))
    }

    /// A pod that keeps ticks in memory for this long.
    pub(crate) fn keeping(keep: Duration) -> Self {
        Self::keeping_quotes(keep, Duration::from_secs(600))
    }

    /// A pod that keeps ticks in memory for as long as `keep`, and records with their quotes in the store for as long
    /// as `quotes`.
    pub(crate) fn keeping_quotes(keep: Duration, quotes: Duration) -> Self {
        let retention = Retention { ticks: Duration::from_secs(2 * 86_400), quotes };
        Self::over(tempfile::tempdir().unwrap(), keep, retention, Sequence(0))
    }

    /// The pod if it had an admin listener.
    pub(crate) fn with_admin(mut self) -> Self {
        self.pod.process.has_admin = true;
        self
    }

    /// The pod after a restart, with the same store.
    pub(crate) async fn restarted(self) -> Self {
        let Self { ingest, stop, keep, retention, folder, last, client, pod, .. } = self;
        stop.cancel();
        ingest.await.unwrap().unwrap();
        // These are the last handles to the store. Drop them, so that the next pod can open it.
        drop((client, pod));
        Self::over(folder, keep, retention, last)
    }

    fn over(folder: tempfile::TempDir, keep: Duration, retention: Retention, last: Sequence) -> Self {
        let (clock, stop) = (Arc::new(ManualClock::new(at(0))), CancellationToken::new());
        let store = settled(|| Store::open_copy(folder.path(), &LogIdentity::new("abc").unwrap(), at(0)));
        let (registry, readiness) = (Registry::new(), Readiness::default());
        let metrics = Metrics::new(&registry).unwrap();
        let copy_metrics = ledger::Metrics::new(&registry, Prices::new(&registry).unwrap()).unwrap();
        let connections = Connections::new(&registry).unwrap();
        let checks = Checks::new(&readiness);
        let log = checks.log.clone();
        let (ingest, snapshots) = Ingest::load(store.clone(), keep, retention, copy_metrics, checks).unwrap();
        let report = ClockReport {
            check: readiness.check_that_is("time", Condition::Ready),
            metrics: ClockMetrics::new(&registry).unwrap(),
        };
        let freshness = Arc::new(Freshness::new(clock.clone(), Duration::from_secs(30)));
        tokio::spawn({
            let (freshness, snapshots) = (freshness.clone(), snapshots.clone());
            async move { freshness.watch(snapshots, report).await }
        });
        let state = Arc::new(State {
            snapshots,
            store,
            clock: clock.clone(),
            freshness: freshness.clone(),
            keep_windows: keep,
            retain_ticks: retention.ticks,
            retain_quotes: retention.quotes,
            workers: Workers::default(),
            scans: ledger::averages::Scans::default(),
            streams: Streams::new(12, stop.clone(), log, metrics.clone()),
            reports: ledger::sources::Reports::default(),
        });
        let build = Build {
            version: env!("CARGO_PKG_VERSION").into(),
            description: String::new(),
            commit: String::new(),
            build_time: String::new(),
        };
        let log_filter = LogFilter::of_nothing();
        let process = Process { readiness: readiness.clone(), registry, build, log_filter, has_admin: false };
        let client = TestClient::new(server::endpoint(&state, &process, &unlimited(), metrics.clone()));
        let (batches, receiver) = mpsc::channel(1);
        let (sender, stored) = mpsc::channel(1);
        let log = SentLog { batches: receiver, stored: sender };
        let ingest = tokio::spawn(ingest.run(Box::new(log), stop.clone()));
        let pod = Pod { state, process, metrics, connections };
        Self { clock, readiness, client, pod, batches, stored, last, ingest, stop, keep, retention, folder }
    }

    /// Sends messages as one batch and waits until the pod has stored them.
    pub(crate) async fn send(&mut self, payloads: Vec<Vec<u8>>) {
        self.send_only(payloads).await;
        self.taken_in().await;
    }

    /// Waits until the pod has stored everything that was sent.
    pub(crate) async fn taken_in(&mut self) {
        assert_eq!(self.stored.recv().await, Some(self.last));
    }

    /// Sends messages as one batch.
    pub(crate) async fn send_only(&mut self, payloads: Vec<Vec<u8>>) {
        let fenced = |payload: Vec<u8>| {
            let id = wire::decode(&payload).map_or_else(|_| "foreign".to_owned(), |record| record.id());
            (Some(id), payload)
        };
        self.send_as(payloads.into_iter().map(fenced).collect()).await;
    }

    /// Sends messages as one batch, each with its message id.
    pub(crate) async fn send_as(&mut self, messages: Vec<(Option<String>, Vec<u8>)>) {
        let entry = |(id, payload): (Option<String>, Vec<u8>)| {
            self.last = self.last.next();
            Entry { sequence: self.last, id, payload: payload.into(), trace: None }
        };
        let entries = messages.into_iter().map(entry).collect();
        self.batches.send(Batch { entries, pending: 0, first: Sequence(u64::MAX) }).await.unwrap();
    }

    /// Skips sequences, like a log that has lost records.
    pub(crate) fn lose(&mut self, count: u64) {
        self.last = Sequence(self.last.0 + count);
    }

    /// Ends the task that follows the log, as if the log had been replaced.
    pub(crate) async fn lose_log(&mut self) {
        self.ingest.abort();
        assert!((&mut self.ingest).await.unwrap_err().is_cancelled());
    }

    /// Shuts the pod down.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(path, &[]).await
    }

    /// Sends a request with these headers.
    pub(crate) async fn ask(&self, path: &str, headers: &[(&'static str, &str)]) -> Answer {
        Self::answer(&self.client, path, headers).await
    }

    /// A client of this pod, as if the pod had these settings.
    pub(crate) fn configured(&self, config: &ApiConfig) -> TestClient<SharedEndpoint> {
        let Pod { state, process, metrics, .. } = &self.pod;
        TestClient::new(server::endpoint(state, process, config, metrics.clone()))
    }

    /// Sends a request with the given client instead of the rig's own.
    pub(crate) async fn answer(
        client: &TestClient<SharedEndpoint>,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Answer {
        let request = client.get(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut response = request.send().await;
        let bytes = response.0.take_body().into_vec().await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let answer = Answer { status: response.0.status().as_u16(), body, bytes, text, response };
        document::assert_promised(path, &answer);
        answer
    }

    /// Sends a request that accepts this media type.
    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.ask(path, &[("Accept", accept)]).await
    }

    /// Sends a request, and returns the body as text.
    pub(crate) async fn text(&self, path: &str) -> String {
        self.client.get(path).send().await.0.take_body().into_string().await.unwrap()
    }

    /// The first two events of a stream of lines.
    pub(crate) async fn first_events(&self, path: &str) -> Vec<String> {
        let mut response = self.client.get(path).send().await;
        let lines = response.0.take_body().into_bytes_stream().take(2);
        lines.map(|line| String::from_utf8(line.unwrap().to_vec()).unwrap()).collect().await
    }

    pub(crate) async fn serve(&self, limit: RateLimit) -> Served {
        self.serve_as(&ApiConfig { rate_limit: limit, ..ApiConfig::default() }).await
    }

    pub(crate) async fn serve_as(&self, config: &ApiConfig) -> Served {
        let Pod { state, process, metrics, connections } = &self.pod;
        let listener = Listener::bind("api.listen", "127.0.0.1:0").await.unwrap();
        let address = listener.address().unwrap();
        let stop = CancellationToken::new();
        let endpoint = server::endpoint(state, process, config, metrics.clone());
        let (_, endpoints) = watch::channel(endpoint);
        let task = tokio::spawn(listener.serve(endpoints, 64, connections.api(), stop.clone()));
        Served { address, stop, task }
    }

    /// The pod's admin listener on a real port.
    pub(crate) async fn serve_operators(&self) -> Served {
        let listener = Listener::bind("admin.listen", "127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.address().unwrap(), CancellationToken::new());
        let (_, endpoints) = watch::channel(self.operators());
        let connections = self.pod.connections.admin();
        let task = tokio::spawn(listener.serve(endpoints, 8, connections, stop.clone()));
        Served { address, stop, task }
    }

    /// The pod on a real port while it waits for its log. The returned function ends the wait.
    pub(crate) async fn serve_starting(&self) -> (Served, impl FnOnce()) {
        let Pod { state, process, metrics, connections } = &self.pod;
        let listener = Listener::bind("api.listen", "127.0.0.1:0").await.unwrap();
        let address = listener.address().unwrap();
        let stop = CancellationToken::new();
        let starting = server::starting_endpoint(process, &unlimited(), metrics.clone());
        let (newest, endpoints) = watch::channel(starting);
        let task = tokio::spawn(listener.serve(endpoints, 64, connections.api(), stop.clone()));
        let endpoint = server::endpoint(state, process, &unlimited(), metrics.clone());
        let start = move || drop(newest.send_replace(endpoint));
        (Served { address, stop, task }, start)
    }

    /// The pod while it waits for its log.
    pub(crate) fn starting(&self) -> TestClient<SharedEndpoint> {
        self.starting_as(&unlimited())
    }

    /// The pod while it waits for its log, as if it had these settings.
    pub(crate) fn starting_as(&self, config: &ApiConfig) -> TestClient<SharedEndpoint> {
        TestClient::new(server::starting_endpoint(&self.pod.process, config, self.pod.metrics.clone()))
    }

    /// The pod's admin listener.
    pub(crate) fn operators(&self) -> SharedEndpoint {
        server::admin_endpoint(&self.pod.state, &self.pod.process)
    }

    /// How many requests were answered with an answer that had been computed for an earlier request.
    pub(crate) fn kept_answers(&self) -> u64 {
        self.pod.metrics.kept_answers()
    }

    /// The number of open connections.
    pub(crate) fn connections(&self) -> i64 {
        self.pod.connections.api().get()
    }

    /// A client that does not borrow the rig, so that the test can send records while the client waits.
    pub(crate) fn another_client(&self) -> TestClient<SharedEndpoint> {
        self.configured(&unlimited())
    }

    pub(crate) fn client(&self) -> &TestClient<SharedEndpoint> {
        &self.client
    }
}

fn unlimited() -> ApiConfig {
    ApiConfig { rate_limit: RateLimit::Off, ..ApiConfig::default() }
}

/// Opens a store that was in use a moment ago. sled releases it shortly after its last handle is dropped.
fn settled(open: impl Fn() -> Result<Store, OpenError>) -> Store {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        match open() {
            Err(OpenError::InUse { .. }) if tokio::time::Instant::now() < deadline => {
                std::thread::yield_now()
            }
            opened => return opened.unwrap(),
        }
    }
}
