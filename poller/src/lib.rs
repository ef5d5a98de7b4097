//! The poller: once a slot it asks every source, agrees on one price, and publishes a record.
//!
//! In reading order, which is also the order in which a tick comes to be:
//!
//! - [`source`]: who is asked, and how bytes become prices or a named failure.
//! - [`aggregate`]: quotes to a tick or a gap; a pure function, and the same once more for a stored record.
//! - [`lead`]: who leads; the lease, and standing by, leading or suspended.
//! - [`publish`]: the chain of records per pair, fenced, without holes.
//! - [`poll`]: the slot loop, which wakes on the wall-clock grid and asks everybody at once.
//! - [`config`], [`metrics`]: what can be set, what can be watched.
//!
//! This crate never answers HTTP, never opens a store, and never uses a price twice.

pub mod aggregate;
pub mod config;
pub mod lead;
pub mod metrics;
pub mod poll;
pub mod publish;
pub mod source;

use std::sync::Arc;

use common::{
    bus::{LogWriter, lease::Lease},
    clock::Clock,
    service::{DRAIN_LIMIT, Service},
};
use tokio_util::sync::CancellationToken;

pub use config::{AggregateConfig, FeedConfig, PollerConfig, ReplayConfig, SourceConfig};
pub use metrics::Metrics;

// Told to stop, a poller polls to the end, publishes that, and gives the lease back, all before it is cut off.
const _: () = assert!(
    poll::LAST_POLL_TIME.as_millis() < publish::LAST_PUBLISH_TIME.as_millis()
        && publish::LAST_PUBLISH_TIME.as_millis() + lead::RELEASE_TIME.as_millis() < DRAIN_LIMIT.as_millis()
);

/// The log from its writing end.
#[derive(Clone)]
pub struct Log {
    /// Appends to it.
    pub writer: Arc<dyn LogWriter>,
    /// Says who may.
    pub lease: Arc<dyn Lease>,
}

/// Adds the poller's tasks to a service.
pub fn start(
    config: &PollerConfig,
    log: Log,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    service: &mut Service,
) -> Result<(), config::ConfigError> {
    let settings = config.resolve()?;
    let clock = settings.clock.clone().unwrap_or(clock);
    let (stop, readiness) = (service.stop(), service.readiness().clone());
    let (lead, leadership) = lead::Lead::new(log.lease, metrics.clone(), readiness.check("lead"));
    let (queue, slots) = publish::queue();
    let publisher = publish::Publisher::new(
        &settings,
        log.writer,
        leadership.clone(),
        metrics.clone(),
        readiness.check("publish"),
        stop.clone(),
    );
    let takeovers = publisher.takeovers();
    let poll = poll::Poll::new(settings, clock, leadership, takeovers, metrics, readiness.check("sources"));
    service.spawn("poll", poll.run(queue, stop));
    // The lease is given back once everything that was polled is published.
    let finished = CancellationToken::new();
    service.spawn("lead", lead.run(finished.clone()));
    service.spawn("publish", async move {
        let _finished = finished.drop_guard();
        publisher.run(slots).await
    });
    Ok(())
}
