//! Which parts each command starts, and how they are joined. What `main` and the tests run is the same.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use api::{
    routes::{Process, Streams},
    server::{self, Listener, SharedEndpoint},
};
use common::{
    bus::{
        self,
        lease::Uncontested,
        nats::{Nats, NatsLease, NatsWriter, Role},
    },
    clock::{Clock, SystemClock},
    readiness::Condition,
    service::{self, Service, TaskError},
    telemetry,
};
use ledger::{
    local_log,
    store::{OpenError, Store},
};
use prometheus::Registry;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    follow::{self, Pod},
    settings::Settings,
    show,
};

/// How long a pod goes on serving after SIGTERM, so that balancers can turn away.
const GRACE: Duration = Duration::from_secs(1);

/// The pause between two looks of a poller at the log: often enough for a standby to know about where the log ended, should
/// the log be damaged when it has to take over.
const OBSERVE_PAUSE: Duration = Duration::from_secs(2);

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

async fn build(mode: Mode, settings: &Settings, service: &mut Service) -> Result<(), TaskError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registry = Registry::new();
    let process = Process { readiness: service.readiness().clone(), registry, build: show::build() };

    // The addresses come first: if one is taken, nothing else should have begun. And health is answered
    // from the first moment, however long the log is waited for.
    let pod = match mode.has_api() {
        true => Some(listen(settings, clock.clone(), &process, service).await?),
        false => {
            admin(settings, server::operations_endpoint(&process), &process, service).await?;
            None
        }
    };

    let log = match settings.bus.url.is_empty() {
        true => local(mode, settings, pod, service).await?,
        false => nats(mode, settings, pod, &process, service).await?,
    };
    if let Some(log) = log {
        let metrics = poller::Metrics::new(&process.registry)?;
        poller::start(&settings.poller(), log, clock, metrics, service)?;
    }
    Ok(())
}

/// A pod that answers its operators, and nothing else yet.
async fn listen(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    process: &Process,
    service: &mut Service,
) -> Result<Pod, TaskError> {
    let places = server::max_api_connections();
    let listener = Listener::bind("api.listen", settings.api.listen.get().unwrap_or_default()).await?;
    let address = listener.address()?;
    tracing::info!(url = format!("http://{address}"), "listening");
    let metrics = api::Metrics::new(&process.registry)?;
    let copy_metrics = ledger::Metrics::new(&process.registry)?;
    let check = service.readiness().check("log");
    let (endpoints, newest) = watch::channel(server::starting_endpoint(process));
    service.spawn("api", listener.serve(newest, places, metrics.connections.clone(), service.stop()));
    let operators = admin(settings, server::starting_admin_endpoint(process), process, service).await?;
    let streams = Streams::new(places, service.stop(), metrics.clone());
    service.spawn("streams", {
        let (streams, stop) = (streams.clone(), service.stop());
        async move {
            stop.cancelled().await;
            streams.ended().await;
            Ok(())
        }
    });
    let (settings, process) = (settings.clone(), process.clone());
    Ok(Pod { settings, clock, process, address, endpoints, operators, metrics, copy_metrics, streams, check })
}

/// Everything in one process: the store is the log.
async fn local(
    mode: Mode,
    settings: &Settings,
    pod: Option<Pod>,
    service: &mut Service,
) -> Result<Option<poller::Log>, TaskError> {
    let store = Store::open_local(&settings.store.path)?;
    let (writer, reader) = local_log::open(&store)?;
    if let Some(pod) = pod {
        let path = store.path().display().to_string();
        let serving = pod.serve(store).await;
        let ingest = serving.map_err(|source| OpenError::OnlyCopy { path, source })?;
        show::welcome(mode, settings, pod.address);
        service.spawn("follow", pod.follow_local(ingest, reader));
    }
    Ok(Some(poller::Log { writer, lease: Arc::new(Uncontested::new()) }))
}

async fn nats(
    mode: Mode,
    settings: &Settings,
    pod: Option<Pod>,
    process: &Process,
    service: &mut Service,
) -> Result<Option<poller::Log>, TaskError> {
    let metrics = bus::Metrics::new(&process.registry)?;
    if let Some(pod) = pod {
        let found = follow::present_copy(&settings.store.path).await?;
        if mode.has_poller() {
            show::welcome(mode, settings, pod.address);
        }
        service.spawn("follow", pod.follow(found, metrics.clone(), service.stop()));
    }
    if !mode.has_poller() {
        return Ok(None);
    }
    // A poller alone is not ready before it has reached the log: a version that cannot must not replace one that can.
    // A pod that polls as well has a copy to answer from, and a check of its own.
    let check = (!mode.has_api()).then(|| process.readiness.check("log"));
    let mut nats = Nats::connect(&settings.bus, Role::Poller, &metrics).await?;
    if !mode.has_api() {
        nats = nats.with_replica_check(&process.readiness);
    }
    let writer = Arc::new(NatsWriter::open(nats.clone()).await?);
    service.spawn("observe", observe(writer.clone(), service.stop()));
    let lease = Arc::new(NatsLease::open(nats, settings.bus.lease).await?);
    if let Some(check) = check {
        check.set(Condition::Ready);
    }
    Ok(Some(poller::Log { writer, lease }))
}

/// Looks at the log regularly, whether this poller leads or stands by: so it knows where the log ended and which servers
/// have it.
async fn observe(writer: Arc<NatsWriter>, stop: CancellationToken) -> Result<(), TaskError> {
    while stop.run_until_cancelled(sleep(OBSERVE_PAUSE)).await.is_some() {
        if let Err(error) = writer.observe().await {
            tracing::debug!(
                event = "log_not_observed",
                error = telemetry::chain(&error),
                "cannot look at the log"
            );
        }
    }
    Ok(())
}

/// Listens for operators, where that is set. What they are answered with can still be changed.
async fn admin(
    settings: &Settings,
    endpoint: SharedEndpoint,
    process: &Process,
    service: &mut Service,
) -> Result<Option<watch::Sender<SharedEndpoint>>, TaskError> {
    let Some(address) = settings.admin.listen.get() else { return Ok(None) };
    let listener = Listener::bind("admin.listen", address).await?;
    tracing::info!(url = format!("http://{}", listener.address()?), "admin serving");
    let connections =
        prometheus::IntGauge::new("tickwell_admin_connections", "Open connections of operators")?;
    process.registry.register(Box::new(connections.clone()))?;
    let (endpoints, newest) = watch::channel(endpoint);
    service
        .spawn("admin", listener.serve(newest, server::MAX_ADMIN_CONNECTIONS, connections, service.stop()));
    Ok(Some(endpoints))
}
