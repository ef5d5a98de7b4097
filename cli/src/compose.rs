//! Starts the parts that a mode needs and connects them: the listeners, the log, the pod that serves the log, and the
//! poller.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use api::{
    freshness::ClockReport,
    metrics::{ClockMetrics, Connections},
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
    metrics::{self, Prices},
    readiness::Condition,
    service::{self, Service, TaskError},
    telemetry::{self, LogFilter},
};
use ledger::{
    ingest::Checks,
    local_log,
    store::{OpenError, Store},
};
use prometheus::{IntGauge, Registry};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    follow::{self, Pod},
    mode::Mode,
    settings::Settings,
    show,
};

/// How long a pod keeps serving after SIGTERM, so that load balancers can take it out of rotation first.
const GRACE: Duration = Duration::from_secs(1);

/// How long the first requests to a starting pod wait until the pod serves its store. Most stores are loaded in much less
/// time, so that a restarted pod has its newest price for the first client. After this time, the pod responds that it is
/// starting.
const LOADING_PATIENCE: Duration = Duration::from_secs(2);

/// How often a poller checks where the log ends. A standby that takes over needs a recent position to detect whether
/// the log has lost records.
const OBSERVE_PAUSE: Duration = Duration::from_secs(2);

/// Runs one process until it receives a signal to stop, or one of its tasks fails.
pub(crate) fn run(mode: Mode, settings: Settings) -> Result<()> {
    let telemetry = telemetry::start(&settings.log, mode.service_name())?;
    let log_filter = telemetry.log_filter().clone();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let grace = if mode.has_api() { GRACE } else { Duration::ZERO };
    let ended = runtime.block_on(async {
        tracing::info!(
            event = "starting",
            mode = mode.describe(),
            version = show::VERSION_LINE,
            bus = common::text::redacted(&settings.bus.url),
            store = %settings.store.path.display(),
            "starting"
        );
        let ended =
            service::run(grace, async |service| build(mode, &settings, log_filter, service).await).await;
        tracing::info!(event = "stopped", "stopped");
        ended
    });
    telemetry.shut_down();
    Ok(ended?)
}

async fn build(
    mode: Mode,
    settings: &Settings,
    log_filter: LogFilter,
    service: &mut Service,
) -> Result<(), TaskError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registry = Registry::new();
    let (readiness, build) = (service.readiness().clone(), show::build());
    metrics::of_process(&registry, &build.version, &build.commit, &readiness)?;
    let prices = Prices::new(&registry)?;
    let connections = Connections::new(&registry)?;
    let has_admin = settings.admin.listen.get().is_some();
    let process = Process { readiness, registry, build, log_filter, has_admin };

    // These exist before the poller has reached the log, so that alerts fire if it never does.
    let poller_metrics = match mode.has_poller() {
        true => Some(poller::Metrics::new(&process.registry, prices.clone(), &settings.feed.pairs)?),
        false => None,
    };

    // Bind the addresses before anything else: if one is in use, nothing else has been started yet. Binding first also
    // makes the health routes available from the start, however long the process waits for the log.
    let pod = match mode.has_api() {
        true => {
            let metrics = PodMetrics {
                requests: api::Metrics::new(&process.registry)?,
                copy: ledger::Metrics::new(&process.registry, prices)?,
                clock: ClockMetrics::new(&process.registry)?,
                connections,
            };
            Some(listen(settings, clock.clone(), &process, metrics, service).await?)
        }
        false => {
            if !has_admin {
                tracing::warn!(
                    event = "metrics_not_served",
                    "this poller has no listener, so nothing can scrape its metrics or check its health; set admin.listen, \
                     for example to 127.0.0.1:9090"
                );
            }
            admin(settings, server::operations_endpoint(&process), connections.admin(), service).await?;
            None
        }
    };

    let log = match settings.bus.url.is_empty() {
        true => local(mode, settings, pod, service).await?,
        false => nats(mode, settings, pod, &process, service).await?,
    };
    if let Some((log, metrics)) = log.zip(poller_metrics) {
        poller::start(&settings.poller(), log, clock, metrics, service)?;
    }
    Ok(())
}

/// The metrics of a pod.
struct PodMetrics {
    requests: api::Metrics,
    copy: ledger::Metrics,
    clock: ClockMetrics,
    connections: Connections,
}

/// Starts the listeners of a pod. Until it has a store, the pod only serves health and metrics.
async fn listen(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    process: &Process,
    metrics: PodMetrics,
    service: &mut Service,
) -> Result<Pod, TaskError> {
    let places = server::max_api_connections();
    let listener = Listener::bind("api.listen", settings.api.listen.get().unwrap_or_default()).await?;
    let address = listener.address()?;
    tracing::info!(event = "listening", url = format!("http://{address}"), "listening for API requests");
    let PodMetrics { requests: metrics, copy: copy_metrics, clock: clock_metrics, connections } = metrics;
    let checks = Checks::new(service.readiness());
    let clock_check = service.readiness().check_that_is("time", Condition::Ready);
    let (endpoints, newest) =
        watch::channel(server::starting_endpoint(process, &settings.api, metrics.clone()));
    service.spawn("api", {
        let (mut loaded, stop, connections) = (newest.clone(), service.stop(), connections.api());
        async move {
            // Until then, the operating system holds the connections.
            let loading = timeout(LOADING_PATIENCE, loaded.changed());
            let _ = stop.run_until_cancelled(loading).await;
            listener.serve(newest, places, connections, stop).await
        }
    });
    let endpoint = server::starting_admin_endpoint(process);
    let operators = admin(settings, endpoint, connections.admin(), service).await?;
    let streams = Streams::new(places, service.stop(), checks.log.clone(), metrics.clone());
    service.spawn("streams", {
        let (streams, stop) = (streams.clone(), service.stop());
        async move {
            stop.cancelled().await;
            streams.ended().await;
            Ok(())
        }
    });
    let (settings, process) = (settings.clone(), process.clone());
    Ok(Pod {
        settings,
        clock,
        process,
        address,
        endpoints,
        operators,
        metrics,
        copy_metrics,
        streams,
        checks,
        clock_report: ClockReport { check: clock_check, metrics: clock_metrics },
    })
}

/// Opens the in-process log, which is the store itself, and lets the pod serve it.
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

/// Connects to the log on NATS, for the pod, the poller or both.
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
    // A process that only polls is not ready before it has reached the log. Otherwise a rolling update would replace a
    // working poller with one that cannot connect. A process that also serves needs no such check, because its pod has
    // one.
    let check = (!mode.has_api()).then(|| process.readiness.check("log"));
    let mut nats = Nats::connect(&settings.bus, Role::Poller, &metrics).await?;
    if !mode.has_api() {
        nats = nats.with_replica_check(&process.readiness);
    }
    let lease = Arc::new(NatsLease::open(nats.clone(), settings.bus.lease).await?);
    let writer = Arc::new(NatsWriter::open(nats, lease.clone()).await?);
    service.spawn("observe", observe(writer.clone(), service.stop()));
    if let Some(check) = check {
        check.set(Condition::Ready);
    }
    Ok(Some(poller::Log { writer, lease }))
}

/// Checks the log regularly, both while leading and while standing by, so that this poller knows where the log ends and
/// which servers have all of it.
async fn observe(writer: Arc<NatsWriter>, stop: CancellationToken) -> Result<(), TaskError> {
    while stop.run_until_cancelled(sleep(OBSERVE_PAUSE)).await.is_some() {
        if let Err(error) = writer.observe().await {
            tracing::debug!(
                event = "log_not_observed",
                error = telemetry::chain(&error),
                "checking the log failed; retrying"
            );
        }
    }
    Ok(())
}

/// Starts the admin listener if `admin.listen` is set. Returns the sender that replaces its endpoint.
async fn admin(
    settings: &Settings,
    endpoint: SharedEndpoint,
    connections: IntGauge,
    service: &mut Service,
) -> Result<Option<watch::Sender<SharedEndpoint>>, TaskError> {
    let Some(address) = settings.admin.listen.get() else { return Ok(None) };
    let listener = Listener::bind("admin.listen", address).await?;
    tracing::info!(
        event = "admin_listening",
        url = format!("http://{}", listener.address()?),
        "listening for requests of operators"
    );
    let (endpoints, newest) = watch::channel(endpoint);
    service
        .spawn("admin", listener.serve(newest, server::MAX_ADMIN_CONNECTIONS, connections, service.stop()));
    Ok(Some(endpoints))
}
