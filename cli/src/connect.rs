//! Connects a command to the log on NATS.

use std::time::Duration;

use anyhow::{Result, anyhow};
use common::bus::{
    Metrics,
    nats::{Nats, Role, redacted},
};
use prometheus::Registry;
use tokio::time::timeout;

use crate::settings::Settings;

/// How long to wait for NATS. A healthy server accepts a connection much sooner.
const PATIENCE: Duration = Duration::from_secs(3);

/// Connects to the server in `bus.url`. Unlike a service, a command fails if the server cannot be reached soon.
pub(crate) async fn to_log(settings: &Settings, role: Role) -> Result<Nats> {
    // A command does not export its metrics.
    let metrics = Metrics::new(&Registry::new())?;
    let connected = timeout(PATIENCE, Nats::connect(&settings.bus, role, &metrics)).await;
    let unreachable = |_elapsed| {
        anyhow!(
            "bus.url: cannot reach NATS at {}; check the address and that the server is running",
            redacted(&settings.bus.url)
        )
    };
    Ok(connected.map_err(unreachable)??)
}
