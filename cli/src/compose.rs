//! Which parts each command starts, and how they are joined. What `main` and the tests run is the same.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use api::{
    ingest::Ingest,
    local_log,
    routes::{Process, State},
    server::{self, Listener, SharedEndpoint},
    store::Store,
};
use common::{
    bus::{
        LogReader,
        lease::Uncontested,
        nats::{Nats, NatsLease, NatsWriter, Role},
    },
    clock::{Clock, SystemClock},
    readiness::Check,
    service::{self, Service, TaskError},
    telemetry,
};
use prometheus::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{settings::Settings, show};

/// How long a pod goes on serving after SIGTERM, so that balancers can turn away.
const GRACE: Duration = Duration::from_secs(1);

/// What one process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Poller and API.
    Run,
    /// Poller and API, with a simulated market.
    Demo,
    /// The poller alone.
    Poller,
    /// The API alone.
    Api,
}

impl Mode {
    fn has_poller(self) -> bool {
        self != Self::Api
    }

    fn has_api(self) -> bool {
        self != Self::Poller
    }

    /// The mode in words.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Run => "poller and API in one process",
            Self::Demo => "a demo: every price is SIMULATED",
            Self::Poller => "poller",
            Self::Api => "API",
        }
    }
}

/// Runs one process until it is told to stop.
pub(crate) fn run(mode: Mode, settings: Settings) -> Result<()> {
    telemetry::start(&settings.log)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let grace = if mode.has_api() { GRACE } else { Duration::ZERO };
    runtime.block_on(async {
        tracing::info!(
            mode = mode.describe(),
            version = show::VERSION_LINE,
            bus = common::bus::nats::redacted(&settings.bus.url),
            store = %settings.store.path.display(),
            "starting"
        );
        let ended = service::run(grace, async |service| build(mode, &settings, service).await).await;
        tracing::info!("stopped");
        ended
    })?;
    Ok(())
}

/// The log, from both of its ends.
struct Log {
    writer: Option<poller::Log>,
    reader: Option<Reader>,
}

/// The reading end, and the store that it fills.
struct Reader {
    store: Store,
    log: Box<dyn LogReader>,
    /// When to stop reading.
    stop: CancellationToken,
}

async fn build(mode: Mode, settings: &Settings, service: &mut Service) -> Result<(), TaskError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registry = Registry::new();
    let process = Process { readiness: service.readiness().clone(), registry, build: show::build() };

    // The addresses come first: if one is taken, nothing else should have begun. And health is answered
    // from the first moment, however long the log is waited for.
    let doors = match mode.has_api() {
        true => Some(Doors::open(settings.api.listen.get(), &process, service).await?),
        false => None,
    };
    admin(settings, &process, service).await?;

    let log = match settings.bus.url.is_empty() {
        true => local(settings)?,
        false => nats(mode, settings, &*clock, service.stop()).await?,
    };
    if let (Some(doors), Some(reader)) = (doors, log.reader) {
        let state = follow(settings, reader, &clock, &doors, service)?;
        let endpoint = server::endpoint(&state, &process, settings.api.rate_limit, doors.metrics);
        doors.endpoints.send_replace(endpoint);
        tracing::info!(url = format!("http://{}", doors.address), "serving");
        if matches!(mode, Mode::Run | Mode::Demo) {
            show::welcome(mode, settings, doors.address);
        }
    }
    if let Some(writer) = log.writer {
        let metrics = poller::Metrics::new(&process.registry)?;
        poller::start(&settings.poller(), writer, clock, metrics, service)?;
    }
    Ok(())
}

/// A pod that listens already: what it answers can still be changed.
struct Doors {
    address: SocketAddr,
    endpoints: watch::Sender<SharedEndpoint>,
    metrics: api::Metrics,
    check: Check,
}

impl Doors {
    async fn open(
        address: Option<&str>,
        process: &Process,
        service: &mut Service,
    ) -> Result<Self, TaskError> {
        let listener = Listener::bind("api.listen", address.unwrap_or_default()).await?;
        let address = listener.address()?;
        tracing::info!(url = format!("http://{address}"), "listening");
        let metrics = api::Metrics::new(&process.registry)?;
        let check = service.readiness().check("log");
        let (endpoints, newest) = watch::channel(server::starting_endpoint(process));
        service.spawn("api", listener.serve(newest, metrics.connections.clone(), service.stop()));
        Ok(Self { address, endpoints, metrics, check })
    }
}

fn local(settings: &Settings) -> Result<Log, TaskError> {
    let store = Store::open_local(&settings.store.path)?;
    let (writer, reader) = local_log::open(&store)?;
    let writer = poller::Log { writer, lease: Arc::new(Uncontested::new()) };
    // It ends with its writer, which still has something to say when it is told to stop.
    let stop = CancellationToken::new();
    Ok(Log { writer: Some(writer), reader: Some(Reader { store, log: Box::new(reader), stop }) })
}

async fn nats(
    mode: Mode,
    settings: &Settings,
    clock: &dyn Clock,
    stop: CancellationToken,
) -> Result<Log, TaskError> {
    let mut log = Log { writer: None, reader: None };
    if mode.has_poller() {
        let nats = Nats::connect(&settings.bus, Role::Poller).await?;
        let writer = Arc::new(NatsWriter::open(nats.clone()).await?);
        let lease = Arc::new(NatsLease::open(nats, settings.bus.lease).await?);
        log.writer = Some(poller::Log { writer, lease });
    }
    if mode.has_api() {
        let nats = Nats::connect(&settings.bus, Role::Api).await?;
        let identity = nats.identity().await;
        let store = Store::open_copy(&settings.store.path, &identity, clock.now())?;
        let reader = nats.follow(identity, store.cursor()?);
        log.reader = Some(Reader { store, log: Box::new(reader), stop });
    }
    Ok(log)
}

/// Starts to follow the log into the store.
fn follow(
    settings: &Settings,
    reader: Reader,
    clock: &Arc<dyn Clock>,
    doors: &Doors,
    service: &mut Service,
) -> Result<Arc<State>, TaskError> {
    let Reader { store, log, stop } = reader;
    let (keep, retain) = (settings.windows.keep.duration(), settings.store.retain_ticks.duration());
    let (metrics, check) = (doors.metrics.clone(), doors.check.clone());
    let (ingest, snapshots) = Ingest::load(store.clone(), keep, retain, metrics, check)?;
    service.spawn("ingest", ingest.run(log, stop));
    Ok(Arc::new(State {
        snapshots,
        store,
        clock: clock.clone(),
        stale_after: settings.windows.stale_after.duration(),
        keep_windows: keep,
        retain_ticks: retain,
        retain_quotes: settings.store.retain_quotes.duration(),
        scans: api::averages::Scans::default(),
    }))
}

async fn admin(settings: &Settings, process: &Process, service: &mut Service) -> Result<(), TaskError> {
    let Some(address) = settings.admin.listen.get() else { return Ok(()) };
    let listener = Listener::bind("admin.listen", address).await?;
    tracing::info!(url = format!("http://{}", listener.address()?), "admin serving");
    let connections =
        prometheus::IntGauge::new("tickwell_admin_connections", "Open connections of operators")?;
    process.registry.register(Box::new(connections.clone()))?;
    let (_, endpoints) = watch::channel(server::operations_endpoint(process));
    service.spawn("admin", listener.serve(endpoints, connections, service.stop()));
    Ok(())
}
