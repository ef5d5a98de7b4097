//! The poller: once a slot it asks every source, agrees on one price, and publishes a record.
//!
//! In reading order, which is also the order in which a tick comes to be:
//!
//! - [`source`]: who is asked, and how bytes become prices or a named failure.
//! - [`aggregate`]: quotes to a tick or a gap; a pure function, and the same once more for a stored record.
//! - [`poll`]: the slot loop, which wakes on the wall-clock grid and asks everybody at once.
//! - [`publish`]: the chain of records per pair, fenced, without holes.
//! - [`config`], [`metrics`]: what can be set, what can be watched.
//!
//! This crate never answers HTTP, never opens a store, and never uses a price twice.

pub mod aggregate;
pub mod config;
pub mod metrics;
pub mod poll;
pub mod publish;
pub mod source;

use std::sync::Arc;

use common::{bus::LogWriter, clock::Clock, service::Service};

pub use config::{AggregateConfig, FeedConfig, PollerConfig, SourceConfig};
pub use metrics::Metrics;

/// Adds the poller's tasks to a service.
pub fn start(
    config: &PollerConfig,
    writer: Arc<dyn LogWriter>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    service: &mut Service,
) -> Result<(), config::ConfigError> {
    let settings = config.resolve()?;
    let (queue, slots) = publish::queue();
    let publisher = publish::Publisher::new(&settings, writer, metrics.clone());
    let check = service.readiness().check("sources");
    let poll = poll::Poll::new(settings, clock, metrics, check);
    let stop = service.stop();
    service.spawn("poll", poll.run(queue, stop.clone()));
    service.spawn("publish", publisher.run(slots, stop));
    Ok(())
}
