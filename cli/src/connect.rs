//! The log on NATS, for a command that does something once and ends.

use std::time::Duration;

use anyhow::{Result, anyhow};
use common::bus::{
    Metrics,
    nats::{Nats, Role, redacted},
};
use prometheus::Registry;
use tokio::time::timeout;

use crate::settings::Settings;

/// How long NATS is waited for. A server that is there accepts a connection much sooner.
const PATIENCE: Duration = Duration::from_secs(3);

/// Connects to the server that the settings name, or says that it cannot be reached.
pub(crate) async fn to_log(settings: &Settings, role: Role) -> Result<Nats> {
    // Nobody asks a command for its metrics.
    let metrics = Metrics::new(&Registry::new())?;
    let connected = timeout(PATIENCE, Nats::connect(&settings.bus, role, &metrics)).await;
    let unreachable =
        |_elapsed| anyhow!("bus.url: NATS at {} cannot be reached", redacted(&settings.bus.url));
    Ok(connected.map_err(unreachable)??)
}
