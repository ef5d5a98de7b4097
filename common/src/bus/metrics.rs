//! What can be watched about the connection to the log.

use prometheus::{IntCounter, Registry};

/// The metrics of every connection of a process. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// What the server refused for want of a permission, or a connection that it did not let in.
    pub violations: IntCounter,
}

impl Metrics {
    /// Adds the metrics to a registry, which must not have them yet.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let violations = IntCounter::new(
            "tickwell_bus_permission_violations_total",
            "What NATS refused this process: connections, and requests for want of a permission",
        )?;
        registry.register(Box::new(violations.clone()))?;
        Ok(Self { violations })
    }
}
