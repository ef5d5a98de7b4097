//! How a pod follows its log for as long as it lives.
//!
//! A store is the copy of one log. What it holds is answered at once, whether the log can be had or not: the
//! reader finds out later whether it is still the same log. When it turns out to be another one, or the copy
//! damaged, the pod stops answering, moves the store aside, and begins anew with an empty one. It never goes on
//! in a log that it does not know, and it never ends or hangs because of one.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use api::{
    routes::{Process, Readers, State, Streams},
    server::{self, SharedEndpoint},
};
use common::{
    bus::{
        self, Entry, LogIdentity, LogReader, ReadError,
        nats::{Nats, NatsError, Role},
    },
    clock::Clock,
    readiness::{Check, Condition},
    service::TaskError,
    telemetry::chain,
    wire,
};
use ledger::{
    averages::Scans,
    ingest::{Ended, Ingest},
    metrics::Rebuild,
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

/// A NATS server that is there has accepted a connection by then.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// The pause between two questions for a log that is not there yet.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The pause before a store is begun anew, so that a disk that damages every one is not kept busy with it.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

/// How long the last requests may hold on to a store that is no longer served, and sled to its lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The pause between two looks at that lock.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A pod that listens already: what it answers with can still be changed.
pub(crate) struct Pod {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) endpoints: watch::Sender<SharedEndpoint>,
    /// What operators are answered with, where they have a listener of their own.
    pub(crate) operators: Option<watch::Sender<SharedEndpoint>>,
    pub(crate) metrics: api::Metrics,
    pub(crate) copy_metrics: ledger::Metrics,
    pub(crate) streams: Streams,
    pub(crate) check: Check,
}

impl Pod {
    /// Serves what a store holds. Answers what fills it.
    pub(crate) async fn serve(&self, store: Store) -> Result<Ingest, StoreError> {
        let keep = self.settings.windows.keep.duration();
        let retention = Retention {
            ticks: self.settings.store.retain_ticks.duration(),
            quotes: self.settings.store.retain_quotes.duration(),
        };
        let (metrics, check) = (self.copy_metrics.clone(), self.check.clone());
        let loading = spawn_blocking({
            let store = store.clone();
            move || Ingest::load(store, keep, retention, metrics, check)
        });
        // On some damage sled panics; it has said where.
        let loaded = loading.await.unwrap_or(Err(StoreError::Damaged("loading it panicked")));
        let (ingest, snapshots) = loaded?;
        let state = Arc::new(State {
            snapshots,
            store,
            clock: self.clock.clone(),
            stale_after: self.settings.windows.stale_after.duration(),
            keep_windows: keep,
            retain_ticks: retention.ticks,
            retain_quotes: retention.quotes,
            readers: Readers::default(),
            scans: Scans::default(),
            streams: self.streams.clone(),
            reports: Reports::default(),
        });
        let endpoint = server::endpoint(&state, &self.process, &self.settings.api, self.metrics.clone());
        self.endpoints.send_replace(endpoint);
        self.tell_operators(|| server::admin_endpoint(&state, &self.process));
        tracing::info!(url = format!("http://{}", self.address), "serving");
        Ok(ingest)
    }

    /// Follows the in-process log. There is no other copy of it, so nothing is begun anew.
    pub(crate) async fn follow_local(
        self,
        ingest: Ingest,
        log: impl LogReader + 'static,
    ) -> Result<(), TaskError> {
        let path = self.settings.store.path.display().to_string();
        // It ends with its writer, which still has something to say when it is told to stop.
        match ingest.run(Box::new(log), CancellationToken::new()).await? {
            Ended::Stopped => Ok(()),
            Ended::Damaged(source) => Err(OpenError::OnlyCopy { path, source }.into()),
            Ended::Replaced(reason) => Err(reason.into()),
        }
    }

    /// Follows the log on NATS, beginning with the copy that was `found`, until told to stop.
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
            if stop.run_until_cancelled(self.begin_anew(why, &reason)).await.transpose()?.is_none() {
                return Ok(());
            }
        }
    }

    /// Serves the copy that was found, or a new one of the log that there is, and connects it to the log.
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
        let log = self.connected(nats, bus, |error| ingest.tell_away(error)).await?;
        let reader = log.follow(store.identity().clone(), store.cursor()?, newest(&store)?);
        Ok((ingest, Box::new(reader)))
    }

    /// The connection, once there is one; `away` is told if that takes long.
    async fn connected<'nats>(
        &self,
        nats: &'nats mut Option<Nats>,
        bus: &bus::Metrics,
        away: impl FnOnce(&ReadError),
    ) -> Result<&'nats Nats, NatsError> {
        let connected = match nats.take() {
            Some(nats) => nats,
            None => {
                let mut connecting = Box::pin(Nats::connect(&self.settings.bus, Role::Api, bus));
                let connected = match timeout(CONNECT_PATIENCE, &mut connecting).await {
                    Ok(connected) => connected?,
                    Err(elapsed) => {
                        away(&ReadError::Unavailable(elapsed.into()));
                        connecting.await?
                    }
                };
                connected.with_replica_check(&self.process.readiness)
            }
        };
        Ok(nats.insert(connected))
    }

    /// Which log there is, once there is one.
    async fn identity(&self, nats: &Nats) -> LogIdentity {
        loop {
            match nats.identity().await {
                Ok(identity) => return identity,
                Err(error) => self.wait_for_log(&error),
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Without any copy there is nothing to serve.
    fn wait_for_log(&self, error: &ReadError) {
        self.copy_metrics.trouble(error.trouble());
        self.check.set(Condition::Unready(error.to_string()));
    }

    fn tell_operators(&self, endpoint: impl FnOnce() -> SharedEndpoint) {
        if let Some(operators) = &self.operators {
            operators.send_replace(endpoint());
        }
    }

    /// Stops serving the store, and moves it out of the way.
    async fn begin_anew(&self, why: Rebuild, reason: &str) -> Result<(), OpenError> {
        tracing::error!(reason, "moving the store aside and building it anew from the log");
        self.copy_metrics.rebuilt(why);
        self.check.set(Condition::Unready(format!("building the store anew: {reason}")));
        self.endpoints.send_replace(server::starting_endpoint(&self.process));
        self.tell_operators(|| server::starting_admin_endpoint(&self.process));
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

/// The copy of a NATS log that a pod finds when it starts.
pub(crate) async fn present_copy(path: &Path) -> Result<Option<Store>, OpenError> {
    let path = path.to_owned();
    unlocked(move || Store::open_present_copy(&path)).await
}

/// Does something with a store that may still be in use for a moment.
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

/// The newest record that a store holds, as the message that it came from.
fn newest(store: &Store) -> Result<Option<Entry>, StoreError> {
    let sequence = store.pairs()?.into_iter().map(|(_, heads)| heads.newest).max();
    let Some(sequence) = sequence else { return Ok(None) };
    let record = store.record(sequence)?;
    Ok(record.map(|record| Entry { sequence, id: Some(record.id()), payload: wire::encode(&record).into() }))
}
