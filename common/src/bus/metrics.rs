//! Metrics of the connection to the log.

use prometheus::{IntCounter, IntGauge, Registry};

/// The metrics of all connections of a process. Clones share the same counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Requests and connections that the server denied.
    pub violations: IntCounter,
    /// How many servers have a complete copy of the log.
    pub replicas_current: IntGauge,
    /// How many servers should have a complete copy of the log.
    pub replicas_wanted: IntGauge,
}

impl Metrics {
    /// Registers the metrics. Fails if the registry already has them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let violations = IntCounter::new(
            "tickwell_bus_permission_violations_total",
            "Connections and requests that NATS denied to this process",
        )?;
        registry.register(Box::new(violations.clone()))?;
        let replicas_current = IntGauge::new(
            "tickwell_log_replicas_current",
            "NATS servers with a complete copy of the log; 0 while the log has no leader or does not respond",
        )?;
        let replicas_wanted = IntGauge::new(
            "tickwell_log_replicas_wanted",
            "NATS servers that should have a complete copy of the log",
        )?;
        registry.register(Box::new(replicas_current.clone()))?;
        registry.register(Box::new(replicas_wanted.clone()))?;
        Ok(Self { violations, replicas_current, replicas_wanted })
    }
}
