//! The metrics of a pod's copy of the log.

use common::{
    bus::Trouble,
    domain::{Pair, Timestamp, Words},
};
use prometheus::{
    GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};
use rust_decimal::prelude::ToPrimitive;

use crate::snapshot::{NewestTick, Rejection};

/// The metrics of following the log. Clones share the same values.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Records read from the log and accepted.
    pub ingested: IntCounter,
    rejected: IntCounterVec,
    /// The newest sequence that is served.
    pub sequence: IntGauge,
    /// Records in the log that were not read yet.
    pub pending: IntGauge,
    /// 1 while the store cannot be written.
    pub store_closed: IntGauge,
    trouble: IntGaugeVec,
    rebuilds: IntCounterVec,
    price: GaugeVec,
    price_timestamp: GaugeVec,
}

common::words! {
    /// Why a pod rebuilt its store.
    pub enum Rebuild ("reason") {
        /// Another log has replaced the one that the store was a copy of.
        Replaced = "replaced",
        /// The store was damaged.
        Damaged = "damaged",
    }
}

impl Metrics {
    /// Registers the metrics. Fails if the registry has them already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let rejected =
            Opts::new("tickwell_ingest_rejected_total", "Messages of the log that were rejected, by reason");
        let trouble = Opts::new(
            "tickwell_bus_trouble",
            "1 while the log cannot be followed, by reason: silent, gone, reconfigured, refused, restoring or in_doubt; the pod serves what it has",
        );
        let rebuilds =
            Opts::new("tickwell_store_rebuilds_total", "Stores that were moved aside and rebuilt, by reason");
        let price = Opts::new("tickwell_price", "The newest agreed price");
        let price_timestamp = Opts::new(
            "tickwell_price_timestamp_seconds",
            "The slot of the newest agreed price, in seconds since the Unix epoch",
        );
        let metrics = Self {
            ingested: registered(
                registry,
                IntCounter::new("tickwell_ingest_records_total", "Records read from the log and accepted"),
            )?,
            rejected: registered(registry, IntCounterVec::new(rejected, &["reason"]))?,
            sequence: registered(
                registry,
                IntGauge::new("tickwell_ingest_sequence", "The newest sequence that was read from the log"),
            )?,
            pending: registered(
                registry,
                IntGauge::new("tickwell_ingest_pending_records", "Records in the log that were not read yet"),
            )?,
            store_closed: registered(
                registry,
                IntGauge::new(
                    "tickwell_store_closed",
                    "1 while the store cannot be written, for example because the disk is full; prices are served from memory",
                ),
            )?,
            trouble: registered(registry, IntGaugeVec::new(trouble, &["trouble"]))?,
            rebuilds: registered(registry, IntCounterVec::new(rebuilds, &["reason"]))?,
            price: registered(registry, GaugeVec::new(price, &["pair"]))?,
            price_timestamp: registered(registry, GaugeVec::new(price_timestamp, &["pair"]))?,
        };
        for reason in Rejection::ALL {
            metrics.rejected.with_label_values(&[reason.as_str()]).inc_by(0);
        }
        for reason in Rebuild::ALL {
            metrics.rebuilds.with_label_values(&[reason.as_str()]).inc_by(0);
        }
        metrics.trouble(None);
        Ok(metrics)
    }

    /// Sets why the log cannot be followed; `None` if it can.
    pub fn trouble(&self, now: Option<Trouble>) {
        for trouble in Trouble::ALL {
            self.trouble.with_label_values(&[trouble.as_str()]).set((Some(*trouble) == now).into());
        }
    }

    /// Counts a rebuild of the store and clears the prices.
    pub fn rebuilt(&self, reason: Rebuild) {
        self.price.reset();
        self.price_timestamp.reset();
        self.rebuilds.with_label_values(&[reason.as_str()]).inc();
    }

    /// Counts messages that were rejected.
    pub fn rejected(&self, reason: Rejection, count: u64) {
        self.rejected.with_label_values(&[reason.as_str()]).inc_by(count);
    }

    /// Sets a pair's newest price.
    pub fn price(&self, pair: Pair, newest: &NewestTick) {
        let pair = pair.to_string();
        // Prometheus gauges are floats, so the price is not exact here. Nothing is computed from it.
        if let Some(price) = newest.tick.price.decimal().to_f64() {
            self.price.with_label_values(&[pair.as_str()]).set(price);
        }
        let seconds = newest.tick.slot.start().since(Timestamp::EPOCH).as_secs_f64();
        self.price_timestamp.with_label_values(&[pair.as_str()]).set(seconds);
    }
}

/// Registers a metric and returns it.
pub fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: Result<C, prometheus::Error>,
) -> Result<C, prometheus::Error> {
    let collector = collector?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
