//! Metrics of a pod's HTTP side.

use std::time::Duration;

use common::domain::Words;
use ledger::metrics::registered;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::stream_end::{StreamEnd, Transport};

/// Metrics of connections, requests and streams. Clones share the same counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Open connections.
    pub connections: IntGauge,
    requests: HistogramVec,
    stream_clients: IntGaugeVec,
    stream_ends: IntCounterVec,
}

impl Metrics {
    /// Creates the metrics and registers them. Fails if the registry already has metrics with these names.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let stream_clients = Opts::new("tickwell_stream_clients", "Open streams, by transport");
        let stream_ends =
            Opts::new("tickwell_stream_ends_total", "Streams that this pod ended, by transport and reason");
        let requests =
            HistogramOpts::new("http_server_request_duration_seconds", "Time taken to respond to a request")
                .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]);
        let labels = ["http_request_method", "http_route", "http_response_status_code"];
        let metrics = Self {
            connections: registered(
                registry,
                IntGauge::new("tickwell_http_connections", "Open connections"),
            )?,
            requests: registered(registry, HistogramVec::new(requests, &labels))?,
            stream_clients: registered(registry, IntGaugeVec::new(stream_clients, &["transport"]))?,
            stream_ends: registered(registry, IntCounterVec::new(stream_ends, &["transport", "reason"]))?,
        };
        for transport in Transport::ALL {
            metrics.stream_clients(*transport).set(0);
            for reason in StreamEnd::ALL {
                metrics.stream_ends.with_label_values(&[transport.as_str(), reason.as_str()]).inc_by(0);
            }
        }
        Ok(metrics)
    }

    /// The number of open streams of a transport.
    pub fn stream_clients(&self, transport: Transport) -> IntGauge {
        self.stream_clients.with_label_values(&[transport.as_str()])
    }

    /// Counts a stream that this pod ended.
    pub fn stream_ended(&self, transport: Transport, reason: StreamEnd) {
        self.stream_ends.with_label_values(&[transport.as_str(), reason.as_str()]).inc();
    }

    /// Records the response to a request: its status, and the time it took.
    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let status = status.to_string();
        self.requests.with_label_values(&[method, route, status.as_str()]).observe(took.as_secs_f64());
    }
}
