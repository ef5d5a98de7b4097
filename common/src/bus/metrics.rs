//! What can be watched about the connection to the log.

use prometheus::{IntCounter, IntGauge, Registry};

/// The metrics of every connection of a process. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// What the server refused for want of a permission, or a connection that it did not let in.
    pub violations: IntCounter,
    /// How many servers have all of the log.
    pub replicas_current: IntGauge,
    /// How many servers should have it.
    pub replicas_wanted: IntGauge,
}

impl Metrics {
    /// Adds the metrics to a registry, which must not have them yet.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let violations = IntCounter::new(
            "tickwell_bus_permission_violations_total",
            "What NATS refused this process: connections, and requests for want of a permission",
        )?;
        registry.register(Box::new(violations.clone()))?;
        let replicas_current = IntGauge::new(
            "tickwell_log_replicas_current",
            "NATS servers that have all of the log; 0 while it has no leader or does not answer",
        )?;
        let replicas_wanted =
            IntGauge::new("tickwell_log_replicas_wanted", "NATS servers that should have all of the log")?;
        registry.register(Box::new(replicas_current.clone()))?;
        registry.register(Box::new(replicas_wanted.clone()))?;
        Ok(Self { violations, replicas_current, replicas_wanted })
    }
}
