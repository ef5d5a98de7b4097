//! Keeps a pod following its log for as long as the process runs.
//!
//! A store is a copy of one log. A pod that finds a copy when it starts serves it at once, even if the log cannot be
//! reached. Later, the reader checks whether the log is still the one that was copied. If the log is a different one,
//! or the copy is damaged, the pod stops serving, moves the store aside, and rebuilds it from the log. A pod never
//! continues with a log that does not match its copy, and problems with a log never make a pod exit or hang.

use std::{convert::Infallible, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use api::{
    freshness::{ClockReport, Freshness},
    routes::{Process, State, Streams},
    server::{self, SharedEndpoint},
    work::Workers,
};
use common::{
    bus::{
        self, Entry, LogIdentity, LogReader, ReadError,
        nats::{Nats, NatsError, Role},
    },
    clock::Clock,
    readiness::Condition,
    retry::retry,
    service::TaskError,
    telemetry::chain,
    wire,
};
use ledger::{
    averages::Scans,
    ingest::{Checks, Ended, Ingest},
    metrics::Rebuild,
    snapshot::Snapshot,
    sources::Reports,
    store::{OpenError, Retention, Store, StoreError},
};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// After this time without a connection, the pod reports that NATS is unavailable. It keeps trying to connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// The pause before a store is rebuilt. It limits the load on a disk that damages every new store.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

/// How long to wait for the lock on a store. The last requests may still use the store, and sled releases the lock
/// late.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The pause between two attempts to take the lock on a store.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A pod that already listens. Its endpoints are replaced when it starts or stops serving a store.
pub(crate) struct Pod {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) endpoints: watch::Sender<SharedEndpoint>,
    /// The endpoint of the admin listener, if there is one.
    pub(crate) operators: Option<watch::Sender<SharedEndpoint>>,
    pub(crate) metrics: api::Metrics,
    pub(crate) copy_metrics: ledger::Metrics,
    pub(crate) streams: Streams,
    pub(crate) checks: Checks,
    /// Where the state of this machine's clock is reported.
    pub(crate) clock_report: ClockReport,
}

impl Pod {
    /// Starts serving a store. Returns the ingest task that fills it.
    pub(crate) async fn serve(&self, store: Store) -> Result<Ingest, StoreError> {
        let keep = self.settings.windows.keep.duration();
        let retention = Retention {
            ticks: self.settings.store.retain_ticks.duration(),
            quotes: self.settings.store.retain_quotes.duration(),
        };
        let (metrics, checks) = (self.copy_metrics.clone(), self.checks.clone());
        let loading = spawn_blocking({
            let store = store.clone();
            move || Ingest::load(store, keep, retention, metrics, checks)
        });
        // sled panics on some kinds of damage. Its panic message is already in the log.
        let loaded = loading.await.unwrap_or(Err(StoreError::Damaged("loading the store panicked")));
        let (ingest, snapshots) = loaded?;
        let freshness = self.freshness(snapshots.clone());
        let state = Arc::new(State {
            snapshots,
            store,
            clock: self.clock.clone(),
            freshness,
            keep_windows: keep,
            retain_ticks: retention.ticks,
            retain_quotes: retention.quotes,
            workers: Workers::default(),
            scans: Scans::default(),
            streams: self.streams.clone(),
            reports: Reports::default(),
        });
        let endpoint = server::endpoint(&state, &self.process, &self.settings.api, self.metrics.clone());
        self.endpoints.send_replace(endpoint);
        self.set_admin_endpoint(|| server::admin_endpoint(&state, &self.process));
        tracing::info!(
            event = "serving",
            url = format!("http://{}", self.address),
            "serving the log's records"
        );
        Ok(ingest)
    }

    /// Starts to watch the clock for as long as the store's snapshots are published.
    fn freshness(&self, snapshots: watch::Receiver<Arc<Snapshot>>) -> Arc<Freshness> {
        let stale_after = self.settings.windows.stale_after.duration();
        let freshness = Arc::new(Freshness::new(self.clock.clone(), stale_after));
        let (watched, report) = (freshness.clone(), self.clock_report.clone());
        tokio::spawn(async move { watched.watch(snapshots, report).await });
        freshness
    }

    /// Follows the in-process log, which is the store itself. If the store is damaged, this fails: the store cannot be
    /// rebuilt, because there is no other copy of the log.
    pub(crate) async fn follow_local(
        self,
        ingest: Ingest,
        log: impl LogReader + 'static,
    ) -> Result<(), TaskError> {
        let path = self.settings.store.path.display().to_string();
        // The ingest task is not cancelled by the stop token, because the writer still appends its last records on
        // shutdown. The task ends when the writer is dropped, which ends the log.
        match ingest.run(Box::new(log), CancellationToken::new()).await? {
            Ended::Stopped => Ok(()),
            Ended::Damaged(source) => Err(OpenError::OnlyCopy { path, source }.into()),
            Ended::Replaced(reason) => Err(reason.into()),
        }
    }

    /// Follows the log on NATS until `stop` is cancelled, starting with the copy that was `found`, if any.
    pub(crate) async fn follow(
        self,
        mut found: Option<Store>,
        bus: bus::Metrics,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        let mut nats = None;
        loop {
            let prepared = stop.run_until_cancelled(self.prepare(found.take(), &mut nats, &bus)).await;
            let ended = match prepared {
                None => return Ok(()),
                Some(Ok((ingest, log))) => ingest.run(log, stop.clone()).await?,
                Some(Err(FollowError::Store(error))) if error.is_damage() => Ended::Damaged(error),
                Some(Err(error)) => return Err(error.into()),
            };
            let (why, reason) = match ended {
                Ended::Stopped => return Ok(()),
                Ended::Replaced(reason) => (Rebuild::Replaced, format!("the log was replaced: {reason}")),
                Ended::Damaged(error) => {
                    (Rebuild::Damaged, format!("the store is damaged: {}", chain(&error)))
                }
            };
            if stop.run_until_cancelled(self.discard_store(why, &reason)).await.transpose()?.is_none() {
                return Ok(());
            }
        }
    }

    /// Serves the copy that was found, or creates a new one, and connects it to the log.
    async fn prepare(
        &self,
        found: Option<Store>,
        nats: &mut Option<Nats>,
        bus: &bus::Metrics,
    ) -> Result<(Ingest, Box<dyn LogReader>), FollowError> {
        let store = match found {
            Some(store) => store,
            None => {
                let log = self.connected(nats, bus, |error| self.wait_for_log(error)).await?;
                let identity = self.identity(log).await;
                let (path, now) = (self.settings.store.path.clone(), self.clock.now());
                unlocked(move || Store::open_copy(&path, &identity, now)).await?
            }
        };
        let ingest = self.serve(store.clone()).await?;
        let log = self.connected(nats, bus, |error| ingest.report_unavailable(error)).await?;
        let reader = log.follow(store.identity().clone(), store.cursor()?, newest(&store)?);
        Ok((ingest, Box::new(reader)))
    }

    /// Waits for the connection to NATS. Calls `report_delay` if that takes longer than [`CONNECT_PATIENCE`].
    async fn connected<'nats>(
        &self,
        nats: &'nats mut Option<Nats>,
        bus: &bus::Metrics,
        report_delay: impl FnOnce(&ReadError),
    ) -> Result<&'nats Nats, NatsError> {
        let connected = match nats.take() {
            Some(nats) => nats,
            None => {
                let mut connecting = Box::pin(Nats::connect(&self.settings.bus, Role::Api, bus));
                let connected = match timeout(CONNECT_PATIENCE, &mut connecting).await {
                    Ok(connected) => connected?,
                    Err(elapsed) => {
                        report_delay(&ReadError::Unavailable(elapsed.into()));
                        connecting.await?
                    }
                };
                connected.with_replica_check(&self.process.readiness)
            }
        };
        Ok(nats.insert(connected))
    }

    /// Waits until the log exists, and returns its identity.
    async fn identity(&self, nats: &Nats) -> LogIdentity {
        let failed = |error| {
            self.wait_for_log(&error);
            Ok::<(), Infallible>(())
        };
        let Ok(identity) = retry(|| nats.identity(), failed).await;
        identity
    }

    /// Reports that the pod is not ready: it has no copy to serve and waits for the log.
    fn wait_for_log(&self, error: &ReadError) {
        self.copy_metrics.trouble(error.trouble());
        self.checks.log.set(Condition::Unready(error.to_string()));
    }

    fn set_admin_endpoint(&self, endpoint: impl FnOnce() -> SharedEndpoint) {
        if let Some(operators) = &self.operators {
            operators.send_replace(endpoint());
        }
    }

    /// Stops serving the store and moves it aside.
    async fn discard_store(&self, why: Rebuild, reason: &str) -> Result<(), OpenError> {
        tracing::error!(
            event = "store_rebuilding",
            reason,
            "moving the store aside and rebuilding it from the log"
        );
        self.copy_metrics.rebuilt(why);
        self.checks.log.set(Condition::Unready(format!("rebuilding the store: {reason}")));
        self.endpoints.send_replace(server::starting_endpoint(
            &self.process,
            &self.settings.api,
            self.metrics.clone(),
        ));
        self.set_admin_endpoint(|| server::starting_admin_endpoint(&self.process));
        sleep(REBUILD_PAUSE).await;
        let (path, now) = (self.settings.store.path.clone(), self.clock.now());
        unlocked(move || Store::set_aside(&path, now)).await
    }
}

/// Why a pod cannot follow its log.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Nats(#[from] NatsError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the copy of a NATS log that a pod finds when it starts, if there is one.
pub(crate) async fn present_copy(path: &Path) -> Result<Option<Store>, OpenError> {
    let path = path.to_owned();
    unlocked(move || Store::open_present_copy(&path)).await
}

/// Calls `act`, and retries while the store is still locked.
async fn unlocked<T: Send + 'static>(
    act: impl Fn() -> Result<T, OpenError> + Clone + Send + 'static,
) -> Result<T, OpenError> {
    let begun = Instant::now();
    loop {
        match spawn_blocking(act.clone()).await {
            Ok(Err(OpenError::InUse { .. })) if begun.elapsed() < LOCK_PATIENCE => sleep(LOCK_PAUSE).await,
            Ok(done) => return done,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

/// The newest record in a store, as the log entry that it came from.
fn newest(store: &Store) -> Result<Option<Entry>, StoreError> {
    let sequence = store.pairs()?.into_iter().map(|(_, state)| state.newest).max();
    let Some(sequence) = sequence else { return Ok(None) };
    let record = store.record(sequence)?;
    Ok(record.map(|record| {
        let payload = wire::encode(&record).into();
        Entry { sequence, id: Some(record.id()), payload, trace: None }
    }))
}
