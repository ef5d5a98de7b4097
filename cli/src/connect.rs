//! Connects a command to the log on NATS.

use std::{pin::pin, time::Duration};

use anyhow::{Result, anyhow, bail};
use common::{
    bus::{
        Metrics,
        nats::{Nats, Role},
    },
    text::redacted,
};
use prometheus::Registry;
use tokio::time::timeout;

use crate::{settings::Settings, show};

/// How long to wait for NATS. A healthy server accepts a connection much sooner.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long to wait for a server that is starting, or for a cluster that has lost a server.
pub(crate) const START_PATIENCE: Duration = Duration::from_secs(60);

/// Connects to the server in `bus.url`. Unlike a service, a command fails if the server cannot be reached soon.
pub(crate) async fn to_log(settings: &Settings, role: Role) -> Result<Nats> {
    let connected = timeout(PATIENCE, connect(settings, role)).await;
    connected.map_err(|_elapsed| unreachable(settings))?
}

/// Like [`to_log`], but also waits for a server that is still starting, and prints that it is waiting.
pub(crate) async fn to_starting_log(settings: &Settings, role: Role) -> Result<Nats> {
    let mut connecting = pin!(connect(settings, role));
    if let Ok(connected) = timeout(PATIENCE, &mut connecting).await {
        return connected;
    }
    let (url, seconds) = (redacted(&settings.bus.url), START_PATIENCE.as_secs());
    show::step(&format!("waiting for NATS at {url}, for at most {seconds} s"));
    timeout(START_PATIENCE, connecting).await.map_err(|_elapsed| unreachable(settings))?
}

async fn connect(settings: &Settings, role: Role) -> Result<Nats> {
    if settings.bus.url.is_empty() {
        bail!("bus.url: missing; set it to your NATS server, such as nats://127.0.0.1:4222");
    }
    // A command does not export its metrics.
    let metrics = Metrics::new(&Registry::new())?;
    Ok(Nats::connect(&settings.bus, role, &metrics).await?)
}

fn unreachable(settings: &Settings) -> anyhow::Error {
    anyhow!(
        "bus.url: cannot reach NATS at {}; check the address and that the server is running",
        redacted(&settings.bus.url)
    )
}
