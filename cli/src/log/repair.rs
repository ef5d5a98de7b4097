//! `tickwell log repair`: replaces the copies of the log on all other servers with the leader's copy.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::bus::nats::{LeadersCopy, Role};
use tokio::time::timeout;

use super::setup;
use crate::{connect, runtime::block_on, settings::Settings, show};

/// How long copying the log to the other servers may take. The log may have tens of gigabytes.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Repairs the copies. If `yes` is not set, only prints which server's copy would be kept.
pub(super) fn repair(settings: &Settings, yes: bool) -> Result<()> {
    block_on(async {
        let nats = connect::to_log(settings, Role::Admin).await?;
        let copy = nats.leaders_copy().await?;
        if copy.replicas == 1 {
            bail!("{}: the log has only one copy, so there are no others to replace", settings.bus.stream);
        }
        show::print(&describe(&settings.bus.stream, &copy))?;
        if !yes {
            bail!(
                "nothing was changed; use --yes to replace the copies on all other servers with the leader's copy"
            );
        }
        let repaired = timeout(PATIENCE, nats.repair(show::step)).await;
        let copy =
            repaired.context("timed out waiting for the copies; run `tickwell log apply` to finish")??;
        show::print(&format!(
            "{}: {} servers have the leader's copy, up to sequence {}\n",
            settings.bus.stream, copy.replicas, copy.last
        ))?;
        // The mirror may still have the records that were given up.
        nats.delete_mirror().await?;
        setup::print(&[nats.apply_mirror().await?])
    })
}

fn describe(stream: &str, copy: &LeadersCopy) -> String {
    let LeadersCopy { server, behind, messages, last, .. } = copy;
    let behind = match behind.as_slice() {
        [] => String::new(),
        behind => format!("  down or not up to date: {}\n", behind.join(", ")),
    };
    format!("{stream}: the leader is {server}, which has {messages} messages up to sequence {last}\n{behind}")
}
