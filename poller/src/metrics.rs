//! The metrics of the poller.

use common::domain::{Body, Epoch, Failure, Judged, SourceName, Verdict, Words};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::source::LeftOut;

common::words! {
    /// The state of a poller, as the label `standing`.
    pub enum LeadStateLabel ("standing") {
        /// Polls and publishes.
        Leading = "leading",
        /// Polls, but cannot publish at the moment.
        Suspended = "suspended",
        /// Neither polls nor publishes.
        Standby = "standby",
    }
}

/// The metrics of the poller. Clones share their values.
#[derive(Debug, Clone)]
pub struct Metrics {
    polls: IntCounterVec,
    rejected: IntCounterVec,
    published: IntCounterVec,
    state: IntGaugeVec,
    epoch: IntGauge,
    /// How many times the log showed that another poller leads.
    pub fenced: IntCounter,
    queued: IntGauge,
    resting: IntGaugeVec,
    left_out: IntGaugeVec,
    /// How many appends were retried.
    pub retries: IntCounter,
    /// How many polled slots were dropped because the queue was full.
    pub dropped: IntCounter,
}

impl Metrics {
    /// Registers the metrics. Fails if the registry already has them.
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
                "1 while the source is not asked, because of earlier failures or because it asked to wait",
                &["source"],
            )?,
            left_out: gauges(
                "tickwell_source_left_out_pairs",
                "Pairs that the source is not asked for: not in its list of markets (unlisted), or not traded (halted)",
                &["source", "reason"],
            )?,
            polls: counters(
                "tickwell_source_polls_total",
                "Results per source, pair and slot, by outcome: ok, the name of the failure, or backing_off if the source was not asked",
                &["source", "outcome"],
            )?,
            rejected: counters(
                "tickwell_quotes_rejected_total",
                "Quotes that were not used, by verdict",
                &["source", "reason"],
            )?,
            published: counters(
                "tickwell_bus_published_total",
                "Records that the log acknowledged, by kind",
                &["kind"],
            )?,
            state: gauges(
                "tickwell_poller_standing",
                "1 for the current state of this poller: leading, suspended or standby",
                &["standing"],
            )?,
            epoch: gauge("tickwell_poller_epoch", "The newest epoch in which this poller led")?,
            fenced: counter(
                "tickwell_poller_fenced_total",
                "How many times the log showed that another poller leads",
            )?,
            queued: gauge("tickwell_poll_queue_slots", "Polled slots that are waiting to be published")?,
            retries: counter("tickwell_bus_publish_retries_total", "Appends that were retried")?,
            dropped: counter(
                "tickwell_poll_slots_dropped_total",
                "Polled slots that were dropped because the publish queue was full; gaps are recorded instead",
            )?,
        };
        for kind in ["tick", "gap", "lead"] {
            metrics.published.with_label_values(&[kind]).reset();
        }
        Ok(metrics)
    }

    /// Creates all series of a source, with value 0.
    pub fn expect_source(&self, source: SourceName) {
        self.polls.with_label_values(&[source.as_str(), "ok"]).inc_by(0);
        self.resting(source, false);
        self.left_out(source, &LeftOut::new());
        for failure in Failure::ALL {
            self.polls.with_label_values(&[source.as_str(), failure.as_str()]).inc_by(0);
        }
        for verdict in Verdict::ON_QUOTES.iter().filter(|verdict| **verdict != Verdict::Used) {
            self.rejected.with_label_values(&[source.as_str(), verdict.as_str()]).inc_by(0);
        }
    }

    /// Sets whether a source is resting, which means that it is not asked for a while.
    pub fn resting(&self, source: SourceName, rests: bool) {
        self.resting.with_label_values(&[source.as_str()]).set(rests.into());
    }

    /// Sets how many pairs a source is not asked for.
    pub fn left_out(&self, source: SourceName, left_out: &LeftOut) {
        for reason in [Failure::Unlisted, Failure::Halted] {
            let count = left_out.values().filter(|found| **found == reason).count();
            let gauge = self.left_out.with_label_values(&[source.as_str(), reason.as_str()]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
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

    /// Sets the state of the poller.
    pub fn state(&self, now: LeadStateLabel) {
        for state in LeadStateLabel::ALL {
            self.state.with_label_values(&[state.as_str()]).set(i64::from(*state == now));
        }
    }

    /// Sets how many polled slots are waiting to be published.
    pub fn queued(&self, slots: usize) {
        self.queued.set(i64::try_from(slots).unwrap_or(i64::MAX));
    }

    /// Sets the epoch of a new term.
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
