//! The metrics of the poller.
//!
//! [`Sources`] has those of sources and of the newest slot. The others are about leading and publishing.

mod sources;

use std::time::Duration;

use common::{
    domain::{Body, Epoch, GapCause, Interval, Pair, Record, Slot, Words},
    metrics::{Define, DefineError, Prices, count, seconds},
};
use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

pub use sources::Sources;

common::words! {
    /// The state of a poller, as the label `state`.
    pub enum LeadStateLabel ("state") {
        /// Polls and publishes.
        Leading = "leading",
        /// Polls, but cannot publish at the moment.
        Suspended = "suspended",
        /// Neither polls nor publishes.
        Standby = "standby",
    }
}

/// The outcome of a slot that has a price. The outcome of another slot is the cause of its gap.
const PRICE: &str = "price";

/// The metrics of the poller. Clones share their values.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Sources, their quotes, and the newest slot.
    pub sources: Sources,
    prices: Prices,
    slots: IntCounterVec,
    newest_slot: Gauge,
    state: IntGaugeVec,
    epoch: IntGauge,
    terms: IntCounter,
    /// How many times the log showed that another poller leads.
    pub fenced: IntCounter,
    queued: IntGauge,
    /// How many polled slots were dropped because the queue was full.
    pub dropped: IntCounter,
    /// How far this machine's clock seems to be ahead, in seconds.
    pub clock_ahead: Gauge,
    publish_duration: Histogram,
    backfilled: IntCounter,
    /// How many appends were retried.
    pub retries: IntCounter,
}

impl Metrics {
    /// Registers the metrics. Fails if the registry already has them. Creates the series of these pairs, so that an alert
    /// also fires if a pair never gets a price, for example because the poller never reaches the log.
    pub fn new(registry: &Registry, prices: Prices, pairs: &[Pair]) -> Result<Self, DefineError> {
        let define = Define(registry);
        let metrics = Self {
            sources: Sources::new(registry)?,
            prices,
            slots: define.counters(
                "tickwell_slots_total",
                "Slots of which the log has acknowledged a record from this poller, by outcome: price, or the cause of the gap",
                &["pair", "outcome"],
            )?,
            newest_slot: define.fraction(
                "tickwell_publish_slot_timestamp_seconds",
                "The newest slot of which the log has acknowledged a record from this poller, in seconds since the Unix epoch",
            )?,
            state: define.gauges(
                "tickwell_lead_state",
                "1 for the current state of this poller: leading, suspended (it polls, but cannot publish) or standby",
                &["state"],
            )?,
            epoch: define.gauge("tickwell_lead_epoch", "The newest epoch in which this poller led")?,
            terms: define.counter("tickwell_lead_terms_total", "How many times this poller began to lead")?,
            fenced: define.counter(
                "tickwell_lead_fenced_total",
                "How many times the log showed that another poller leads",
            )?,
            queued: define
                .gauge("tickwell_publish_queue_slots", "Polled slots that are waiting to be published")?,
            dropped: define.counter(
                "tickwell_publish_dropped_slots_total",
                "Polled slots that were dropped because the publish queue was full; gaps are recorded instead",
            )?,
            clock_ahead: define.fraction(
                "tickwell_poll_clock_ahead_seconds",
                "How far this machine's clock seems to be ahead; nothing is published while it is above 0. 0 on a standby",
            )?,
            publish_duration: define.duration(
                "tickwell_publish_duration_seconds",
                "Time from the first attempt to append a record until the log has acknowledged it",
            )?,
            backfilled: define.counter(
                "tickwell_publish_backfilled_records_total",
                "Records of slots before a pair's first live one of which the log has acknowledged a record from this poller; they are not counted in tickwell_slots_total",
            )?,
            retries: define.counter("tickwell_publish_retries_total", "Appends that were retried")?,
        };
        metrics.state(LeadStateLabel::Standby);
        pairs.iter().for_each(|pair| metrics.expect_pair(*pair));
        Ok(metrics)
    }

    /// Metrics that nobody reads.
    #[cfg(test)]
    pub(crate) fn unregistered() -> Self {
        let registry = Registry::new();
        Self::new(&registry, Prices::new(&registry).unwrap(), &[]).unwrap()
    }

    fn expect_pair(&self, pair: Pair) {
        self.prices.expect(pair);
        let causes = GapCause::ALL.iter().filter(|cause| cause.is_of_log()).map(|cause| cause.as_str());
        for outcome in causes.chain([PRICE]) {
            self.slots.with_label_values(&[&pair.to_string(), outcome]);
        }
    }

    /// Sets the state of the poller.
    pub fn state(&self, now: LeadStateLabel) {
        for state in LeadStateLabel::ALL {
            self.state.with_label_values(&[state.as_str()]).set(i64::from(*state == now));
        }
    }

    /// Records the beginning of a term.
    pub fn term(&self, epoch: Epoch) {
        self.epoch.set(count(epoch.0));
        self.terms.inc();
    }

    /// Sets how many polled slots are waiting to be published.
    pub fn queued(&self, slots: usize) {
        self.queued.set(count(slots));
    }

    /// Records that the log has acknowledged these backfilled records.
    pub fn backfilled(&self, records: &[Record]) {
        self.backfilled.inc_by(u64::try_from(records.len()).unwrap_or(u64::MAX));
    }

    /// Records that the log has acknowledged a record, and how long that took.
    pub fn published(&self, record: &Record, took: Duration) {
        self.publish_duration.observe(took.as_secs_f64());
        let (newest, outcome, slots) = match &record.body {
            Body::Tick(tick) => {
                self.prices.set(record.pair, tick.price, tick.slot);
                (tick.slot, PRICE, 1)
            }
            Body::Gap(gap) => (gap.slot, gap.cause.as_str(), slots_between(gap.from, gap.slot, gap.interval)),
            Body::Lead(_) => return,
        };
        self.newest_slot.set(seconds(newest.start()));
        self.slots.with_label_values(&[&record.pair.to_string(), outcome]).inc_by(slots);
    }
}

/// How many slots there are from one to another, including both.
fn slots_between(from: Slot, to: Slot, interval: Interval) -> u64 {
    to.start().millis_since(from.start()) / interval.millis() + 1
}

#[cfg(test)]
mod tests {
    use common::domain::{Gap, Origin, Timestamp};

    use super::*;

    #[test]
    fn each_slot_of_a_gap_is_counted_once_and_the_pair_exists_before_its_first_price() {
        let registry = Registry::new();
        let pair: Pair = "BTC-USD".parse().unwrap();
        let metrics = Metrics::new(&registry, Prices::new(&registry).unwrap(), &[pair]).unwrap();
        let text = |registry: &Registry| prometheus::TextEncoder::new().encode_to_string(&registry.gather());
        let before = text(&registry).unwrap();
        assert!(before.contains("tickwell_price_timestamp_seconds{pair=\"BTC-USD\"} 0\n"), "{before}");
        assert!(!before.contains("tickwell_price{"), "{before}");

        let interval: Interval = "10s".parse().unwrap();
        let slot = |seconds: i64| interval.slot_at(Timestamp::from_unix_millis(seconds * 1_000).unwrap());
        let gap = Gap {
            from: slot(100),
            slot: slot(130),
            interval,
            cause: GapCause::Missed,
            backfilled: false,
            evidence: None,
        };
        let record = Record { pair, epoch: Epoch(1), origin: Origin::Live, body: Body::Gap(gap) };
        metrics.published(&record, Duration::from_millis(3));
        let after = text(&registry).unwrap();
        for line in [
            "tickwell_slots_total{outcome=\"missed\",pair=\"BTC-USD\"} 4\n",
            "tickwell_slots_total{outcome=\"price\",pair=\"BTC-USD\"} 0\n",
            "tickwell_publish_slot_timestamp_seconds 130\n",
            "tickwell_publish_duration_seconds_count 1\n",
        ] {
            assert!(after.contains(line), "{line}: {after}");
        }
    }
}
