//! A pod in this process, with default settings and two days of records.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, anyhow};
use api::{
    ApiConfig,
    config::RateLimit,
    freshness::Freshness,
    metrics::Connections,
    routes::{Build, Process, State, Streams},
    server::{self, Listener},
    work::Workers,
};
use async_trait::async_trait;
use common::{
    bus::{Batch, Entry, LogReader, ReadError},
    clock::{Clock, SystemClock},
    domain::{Record, Sequence, Timestamp},
    metrics::Prices,
    readiness::Readiness,
    telemetry::LogFilter,
    wire,
};
use ledger::{
    averages::Scans,
    ingest::{Checks, Ingest},
    sources::Reports,
    store::Store,
};
use prometheus::Registry;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    contender::KEEP,
    ours::{identity, retention},
    year::{self, Year},
};

/// Two days, so that requests for the last day have data.
const DAYS: u64 = 2;

/// The maximum number of connections.
const PLACES: usize = 12_000;

/// A pod that listens on its own port.
pub struct Pod {
    pub address: std::net::SocketAddr,
    /// Sends a batch of records to the pod, which ingests it.
    pub next: mpsc::Sender<Batch>,
    /// The records that have not been ingested yet.
    pub year: Box<dyn Iterator<Item = ledger::store::Stored> + Send>,
    _folder: tempfile::TempDir,
}

struct Sent(mpsc::Receiver<Batch>);

#[async_trait]
impl LogReader for Sent {
    async fn next(&mut self) -> Result<Batch, ReadError> {
        self.0.recv().await.ok_or(ReadError::Closed)
    }

    async fn stored(&mut self, _sequence: Sequence) {}

    async fn newest_slot(&mut self) -> Option<Timestamp> {
        None
    }

    async fn require(&mut self, _sequence: Sequence, _record: &Record) -> Result<(), ReadError> {
        Ok(())
    }

    async fn rewind(&mut self, _sequence: Sequence) {}
}

/// A record as a message of the log.
pub fn entry(stored: &ledger::store::Stored) -> Entry {
    let payload = wire::encode(&stored.record).into();
    Entry { sequence: stored.sequence, id: Some(stored.record.id()), payload, trace: None }
}

impl Pod {
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = Store::open_copy(folder.path(), &identity(), year::begin())?;
        let mut year = Year::new(DAYS + 1);
        let records: Vec<_> = year.by_ref().take(usize::try_from(DAYS * year::SLOTS_A_DAY * 2)?).collect();
        for batch in records.chunks(1_000) {
            let cursor = batch.last().map(|stored| stored.sequence).unwrap_or_default();
            store.commit(batch, cursor, &[], Timestamp::EPOCH)?;
        }
        let (registry, readiness) = (Registry::new(), Readiness::default());
        let metrics = api::Metrics::new(&registry)?;
        let checks = Checks::new(&readiness);
        let (ingest, snapshots) = Ingest::load(
            store.clone(),
            KEEP,
            retention(),
            ledger::Metrics::new(&registry, Prices::new(&registry)?)?,
            checks.clone(),
        )?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stop = CancellationToken::new();
        let state = Arc::new(State {
            snapshots,
            store,
            clock: clock.clone(),
            freshness: Arc::new(Freshness::new(clock, Duration::from_secs(30))),
            keep_windows: KEEP,
            retain_ticks: retention().ticks,
            retain_quotes: retention().quotes,
            workers: Workers::default(),
            scans: Scans::default(),
            reports: Reports::default(),
            streams: Streams::new(PLACES, stop.clone(), checks.log.clone(), metrics.clone()),
        });
        let text = String::new;
        let build = Build { version: text(), description: text(), commit: text(), build_time: text() };
        // The benchmark never reaches this limit, but checking it takes as long as checking the default limit.
        let rate_limit: RateLimit = "1000000000/s".parse().map_err(|error| anyhow!("{error}"))?;
        let config = ApiConfig { rate_limit, ..ApiConfig::default() };
        let log_filter = LogFilter::of_nothing();
        let connections = Connections::new(&registry)?.api();
        let process = Process { readiness, registry, build, log_filter, has_admin: false };
        let endpoint = server::endpoint(&state, &process, &config, metrics.clone());
        let listener = Listener::bind("bench", "127.0.0.1:0").await?;
        let address = listener.address()?;
        let (next, batches) = mpsc::channel(1);
        tokio::spawn(ingest.run(Box::new(Sent(batches)), stop.clone()));
        let (_, endpoints) = watch::channel(endpoint);
        tokio::spawn(listener.serve(endpoints, PLACES, connections, stop));
        Ok(Self { address, next, year: Box::new(year), _folder: folder })
    }
}
