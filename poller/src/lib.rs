//! The poller: in every slot it asks all sources, combines their quotes into one price per pair, and publishes
//! a record per pair to the log.
//!
//! The modules, in the order in which a tick is produced:
//!
//! - [`source`]: asks upstreams, and turns their responses into prices or named failures.
//! - [`aggregate`]: turns quotes into a tick or a gap, with a pure function. Stored records are checked with the
//!   same function.
//! - `backfill`: turns sources' candles into the ticks and gaps before a pair's first live slot.
//! - [`poll`]: the slot loop, which wakes up at the start of each slot and asks all sources at once.
//! - `markets`: keeps the sources' lists of markets up to date, beside the slot loop.
//! - [`lead`]: takes and keeps the lease, so that only one poller publishes at a time.
//! - [`publish`]: appends records to each pair's chain in the log, without holes or repeats.
//! - [`import`]: a user's own history, before a pair's first live slot.
//! - [`config`], [`metrics`]: the settings and the metrics.
//!
//! This crate neither serves HTTP nor opens a store. A slot's price is computed only from quotes of that slot;
//! an earlier price is never used again.

pub mod aggregate;
mod backfill;
pub mod config;
pub mod import;
pub mod lead;
mod markets;
pub mod metrics;
pub mod poll;
pub mod publish;
pub mod source;

use std::sync::Arc;

use common::{
    bus::{LogWriter, lease::Lease},
    clock::Clock,
    domain::Origin,
    service::{DRAIN_LIMIT, Service},
};
use tokio_util::sync::CancellationToken;

pub use config::{
    AggregateConfig, BackfillConfig, BackfillSpan, FeedConfig, PairConfig, PollerConfig, ReplayConfig,
    SourceConfig, SourcesConfig,
};
pub use metrics::Metrics;

// When a poller is stopped, it finishes the current poll, publishes it, and releases the lease. All of that
// must fit into the drain limit.
const _: () = assert!(
    poll::LAST_POLL_TIME.as_millis() < publish::LAST_PUBLISH_TIME.as_millis()
        && publish::LAST_PUBLISH_TIME.as_millis() + lead::RELEASE_TIME.as_millis() < DRAIN_LIMIT.as_millis()
);

/// The log, as a poller uses it.
#[derive(Clone)]
pub struct Log {
    /// Appends records.
    pub writer: Arc<dyn LogWriter>,
    /// Decides which poller may append.
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
    let (keeper, leadership) = lead::LeaseKeeper::new(log.lease, metrics.clone(), readiness.check("lead"));
    let (queue, slots) = publish::queue();
    let publisher = publish::Publisher::new(
        &settings,
        backfill::Backfill::new(&settings, clock.clone()),
        log.writer.clone(),
        leadership.clone(),
        metrics.clone(),
        readiness.check("publish"),
        stop.clone(),
    );
    let takeovers = publisher.takeovers();
    if settings.origin == Origin::Live {
        warn_of_monthly_limits(&settings);
        let markets = markets::Markets {
            members: settings.members.clone(),
            interval: settings.interval,
            clock: clock.clone(),
            leadership: leadership.clone(),
            metrics: metrics.clone(),
            check: readiness.check("markets"),
        };
        service.spawn("markets", markets.run(stop.clone()));
    }
    let poll = poll::Poll::new(
        settings,
        clock,
        leadership,
        takeovers,
        log.writer,
        metrics,
        readiness.check("sources"),
    );
    service.spawn("poll", poll.run(queue, stop));
    // The lease keeper releases the lease when this token is cancelled, which is after the publisher has ended.
    let finished = CancellationToken::new();
    service.spawn("lead", keeper.run(finished.clone()));
    service.spawn("publish", async move {
        let _finished = finished.drop_guard();
        publisher.run(slots).await
    });
    Ok(())
}

/// Warns if a fallback source would exceed its monthly limit if it were asked in every slot.
fn warn_of_monthly_limits(settings: &config::Settings) {
    for member in &settings.members {
        let about = member.source.about();
        let checked = about.limit.map(|limit| limit.check_month(about.requests, settings.interval));
        if let Some(Err(excess)) = checked {
            let (asked, allowed) = (excess.asked, excess.allowed);
            tracing::warn!(
                event = "monthly_limit", source = %member.source.name(), asked, allowed,
                "if this fallback source were asked in every slot of a month, that would be more requests than its plan \
                 allows; it may stop returning prices when it is needed for a long time"
            );
        }
    }
}
