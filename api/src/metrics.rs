//! What can be watched about a pod.

use std::time::Duration;

use common::{
    bus::Trouble,
    domain::{Pair, Timestamp, Words},
};
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};
use rust_decimal::prelude::ToPrimitive;

use crate::{
    events::{StreamEnd, Transport},
    snapshot::{NewestTick, Rejection},
};

/// The API's metrics. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Records taken in from the log.
    pub ingested: IntCounter,
    rejected: IntCounterVec,
    /// The newest sequence that answers are made of.
    pub sequence: IntGauge,
    /// Records the log holds that were not taken in yet.
    pub pending: IntGauge,
    /// Open connections.
    pub connections: IntGauge,
    /// 1 while the store takes no records.
    pub store_closed: IntGauge,
    trouble: IntGaugeVec,
    rebuilds: IntCounterVec,
    price: GaugeVec,
    price_timestamp: GaugeVec,
    requests: HistogramVec,
    stream_clients: IntGaugeVec,
    stream_ends: IntCounterVec,
}

common::words! {
    /// Why a pod began its store anew.
    pub enum Rebuild ("reason") {
        /// Another log has taken the place of the one that it was a copy of.
        Replaced = "replaced",
        /// It could not be read any more.
        Damaged = "damaged",
    }
}

impl Metrics {
    /// Adds the metrics to a registry, which must not have them yet.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        fn add<C: Collector + Clone + 'static>(
            registry: &Registry,
            collector: Result<C, prometheus::Error>,
        ) -> Result<C, prometheus::Error> {
            let collector = collector?;
            registry.register(Box::new(collector.clone()))?;
            Ok(collector)
        }
        let rejected =
            Opts::new("tickwell_ingest_rejected_total", "Messages of the log passed over, by reason");
        let trouble = Opts::new(
            "tickwell_bus_trouble",
            "1 while the log cannot be had: silent, gone, reconfigured or refused; the pod serves what it has",
        );
        let rebuilds =
            Opts::new("tickwell_store_rebuilds_total", "Stores moved aside and begun anew, by reason");
        let price = Opts::new("tickwell_price", "The newest agreed price");
        let price_timestamp = Opts::new(
            "tickwell_price_timestamp_seconds",
            "The slot of the newest agreed price, in unix seconds",
        );
        let stream_clients = Opts::new("tickwell_stream_clients", "Clients that follow the log now");
        let stream_ends = Opts::new("tickwell_stream_ends_total", "Streams that this pod ended, by reason");
        let requests = HistogramOpts::new("http_server_request_duration_seconds", "Time to answer a request")
            .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]);
        let metrics = Self {
            ingested: add(
                registry,
                IntCounter::new("tickwell_ingest_records_total", "Records taken in from the log"),
            )?,
            rejected: add(registry, IntCounterVec::new(rejected, &["reason"]))?,
            sequence: add(
                registry,
                IntGauge::new("tickwell_ingest_sequence", "The newest sequence taken in"),
            )?,
            pending: add(
                registry,
                IntGauge::new(
                    "tickwell_ingest_pending_records",
                    "Records in the log that were not taken in yet",
                ),
            )?,
            connections: add(registry, IntGauge::new("tickwell_http_connections", "Open connections"))?,
            store_closed: add(
                registry,
                IntGauge::new(
                    "tickwell_store_closed",
                    "1 while the store takes no records, as on a full disk; prices are served from memory",
                ),
            )?,
            trouble: add(registry, IntGaugeVec::new(trouble, &["trouble"]))?,
            rebuilds: add(registry, IntCounterVec::new(rebuilds, &["reason"]))?,
            price: add(registry, GaugeVec::new(price, &["pair"]))?,
            price_timestamp: add(registry, GaugeVec::new(price_timestamp, &["pair"]))?,
            requests: add(
                registry,
                HistogramVec::new(
                    requests,
                    &["http_request_method", "http_route", "http_response_status_code"],
                ),
            )?,
            stream_clients: add(registry, IntGaugeVec::new(stream_clients, &["transport"]))?,
            stream_ends: add(registry, IntCounterVec::new(stream_ends, &["transport", "reason"]))?,
        };
        for transport in Transport::ALL {
            metrics.stream_clients(*transport).set(0);
            for reason in StreamEnd::ALL {
                metrics.stream_ends.with_label_values(&[transport.as_str(), reason.as_str()]).inc_by(0);
            }
        }
        for reason in Rejection::ALL {
            metrics.rejected.with_label_values(&[reason.as_str()]).inc_by(0);
        }
        for reason in Rebuild::ALL {
            metrics.rebuilds.with_label_values(&[reason.as_str()]).inc_by(0);
        }
        metrics.trouble(None);
        Ok(metrics)
    }

    /// Shows why the log cannot be had, or that it can.
    pub fn trouble(&self, now: Option<Trouble>) {
        for trouble in Trouble::ALL {
            self.trouble.with_label_values(&[trouble.as_str()]).set((Some(*trouble) == now).into());
        }
    }

    /// Counts a store that is begun anew, and forgets its prices.
    pub fn rebuilt(&self, reason: Rebuild) {
        self.price.reset();
        self.price_timestamp.reset();
        self.rebuilds.with_label_values(&[reason.as_str()]).inc();
    }

    /// Counts messages that were passed over.
    pub fn rejected(&self, reason: Rejection, count: u64) {
        self.rejected.with_label_values(&[reason.as_str()]).inc_by(count);
    }

    /// Shows a pair's newest price.
    pub fn price(&self, pair: Pair, newest: &NewestTick) {
        let pair = pair.to_string();
        // A gauge is a float in Prometheus's own format; nothing is computed from it here.
        if let Some(price) = newest.tick.price.decimal().to_f64() {
            self.price.with_label_values(&[pair.as_str()]).set(price);
        }
        let seconds = newest.tick.slot.start().since(Timestamp::EPOCH).as_secs_f64();
        self.price_timestamp.with_label_values(&[pair.as_str()]).set(seconds);
    }

    /// How many clients follow the log now.
    pub fn stream_clients(&self, transport: Transport) -> IntGauge {
        self.stream_clients.with_label_values(&[transport.as_str()])
    }

    /// Counts a stream that this pod ended.
    pub fn stream_ended(&self, transport: Transport, reason: StreamEnd) {
        self.stream_ends.with_label_values(&[transport.as_str(), reason.as_str()]).inc();
    }

    /// Counts an answered request.
    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let status = status.to_string();
        self.requests.with_label_values(&[method, route, status.as_str()]).observe(took.as_secs_f64());
    }
}
