//! What can be watched about the poller.

use common::domain::{Body, Epoch, Failure, Judged, SourceName, Verdict, Words};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

common::words! {
    /// How a poller can stand, as a label.
    pub enum StandingLabel ("standing") {
        /// It polls and publishes.
        Leading = "leading",
        /// It polls, and waits to publish.
        Suspended = "suspended",
        /// It does neither.
        Standby = "standby",
    }
}

/// The poller's metrics. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    polls: IntCounterVec,
    rejected: IntCounterVec,
    published: IntCounterVec,
    standing: IntGaugeVec,
    epoch: IntGauge,
    /// Times that the log showed another leader.
    pub fenced: IntCounter,
    queued: IntGauge,
    resting: IntGaugeVec,
    /// Appends that had to be tried again.
    pub retries: IntCounter,
    /// Slots that were polled and could not be queued.
    pub dropped: IntCounter,
}

impl Metrics {
    /// Adds the metrics to a registry, which must not have them yet.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let metrics = Self {
            resting: gauges(
                "tickwell_source_resting",
                "1 while a source is not asked: it rests after failures, or until the time it named",
                &["source"],
            )?,
            polls: counters(
                "tickwell_source_polls_total",
                "What came of each source, pair and slot, by outcome: ok or the failure's name, backing_off where it was not asked",
                &["source", "outcome"],
            )?,
            rejected: counters(
                "tickwell_quotes_rejected_total",
                "Quotes that were not used, by verdict",
                &["source", "reason"],
            )?,
            published: counters(
                "tickwell_bus_published_total",
                "Records the log acknowledged, by kind",
                &["kind"],
            )?,
            standing: gauges(
                "tickwell_poller_standing",
                "1 for how this poller stands: leading, suspended or standby",
                &["standing"],
            )?,
            epoch: gauge("tickwell_poller_epoch", "The epoch in which this poller led last")?,
            fenced: counter("tickwell_poller_fenced_total", "Times that the log showed another leader")?,
            queued: gauge("tickwell_poll_queue_slots", "Polled slots that wait for the log")?,
            retries: counter("tickwell_bus_publish_retries_total", "Appends that had to be tried again")?,
            dropped: counter(
                "tickwell_poll_slots_dropped_total",
                "Slots that were polled while the queue to the log was full; a gap covers them",
            )?,
        };
        for kind in ["tick", "gap", "lead"] {
            metrics.published.with_label_values(&[kind]).reset();
        }
        Ok(metrics)
    }

    /// Makes every series of a source exist, at zero.
    pub fn expect_source(&self, source: SourceName) {
        self.polls.with_label_values(&[source.as_str(), "ok"]).inc_by(0);
        self.resting(source, false);
        for failure in Failure::ALL {
            self.polls.with_label_values(&[source.as_str(), failure.as_str()]).inc_by(0);
        }
        for verdict in Verdict::ON_QUOTES.iter().filter(|verdict| **verdict != Verdict::Used) {
            self.rejected.with_label_values(&[source.as_str(), verdict.as_str()]).inc_by(0);
        }
    }

    /// Tells whether a source rests.
    pub fn resting(&self, source: SourceName, rests: bool) {
        self.resting.with_label_values(&[source.as_str()]).set(rests.into());
    }

    /// Counts one judged quote.
    pub fn judged(&self, judged: &Judged) {
        let source = judged.source;
        let outcome = match judged.verdict {
            Verdict::Failed(failure) => failure.as_str(),
            Verdict::Used => "ok",
            rejected => {
                self.rejected.with_label_values(&[source.as_str(), rejected.as_str()]).inc();
                "ok"
            }
        };
        self.polls.with_label_values(&[source.as_str(), outcome]).inc();
    }

    /// Shows how the poller stands.
    pub fn standing(&self, now: StandingLabel) {
        for standing in StandingLabel::ALL {
            self.standing.with_label_values(&[standing.as_str()]).set(i64::from(*standing == now));
        }
    }

    /// Shows how many polled slots wait for the log.
    pub fn queued(&self, slots: usize) {
        self.queued.set(i64::try_from(slots).unwrap_or(i64::MAX));
    }

    /// Shows the epoch of a new term.
    pub fn epoch(&self, epoch: Epoch) {
        self.epoch.set(i64::try_from(epoch.0).unwrap_or(i64::MAX));
    }

    /// Counts one acknowledged record.
    pub fn published(&self, body: &Body) {
        let kind = match body {
            Body::Tick(_) => "tick",
            Body::Gap(_) => "gap",
            Body::Lead(_) => "lead",
        };
        self.published.with_label_values(&[kind]).inc();
    }
}
