//! Metrics of the connection to the log.

use prometheus::{IntCounter, IntGauge, Registry};

use crate::metrics::{Define, DefineError};

/// The metrics of all connections of a process. Clones share the same values.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// How many connections there have been.
    pub connections: IntCounter,
    /// Requests and connections that the server denied.
    pub denials: IntCounter,
    /// How many servers have a complete copy of the log.
    pub replicas_current: IntGauge,
    /// How many servers should have a complete copy of the log.
    pub replicas_wanted: IntGauge,
}

impl Metrics {
    /// Registers the metrics. Fails if the registry already has them.
    pub fn new(registry: &Registry) -> Result<Self, DefineError> {
        let define = Define(registry);
        Ok(Self {
            connections: define.counter("tickwell_nats_connections_total", "Connections to NATS that were established; it grows with every reconnect")?,
            denials: define.counter(
                "tickwell_nats_denials_total",
                "Connections and requests that NATS denied to this process",
            )?,
            replicas_current: define.gauge(
                "tickwell_log_replicas_current",
                "NATS servers with a complete copy of the log; 0 while the log has no leader or does not respond",
            )?,
            replicas_wanted: define.gauge(
                "tickwell_log_replicas_wanted",
                "NATS servers that should have a complete copy of the log",
            )?,
        })
    }
}
