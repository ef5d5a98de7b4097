//! The servers' copies of the log, made the same again.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::bus::nats::{LeadersCopy, Role};
use tokio::time::timeout;

use crate::{connect, settings::Settings, show};

/// How long copying the log to the other servers may take: the largest one is some tens of gigabytes.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Says what would be done, or does it.
pub(super) fn repair(settings: &Settings, yes: bool) -> Result<()> {
    if settings.bus.url.is_empty() {
        bail!("bus.url: name the NATS servers, such as nats://127.0.0.1:4222");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(async {
        let nats = connect::to_log(settings, Role::Admin).await?;
        let copy = nats.leaders_copy().await?;
        if copy.replicas == 1 {
            bail!("{}: the log has one copy, so there is nothing to repair it from", settings.bus.stream);
        }
        show::print(&describe(&settings.bus.stream, &copy))?;
        if !yes {
            bail!("nothing was changed; with --yes, every other server's copy is deleted and made again from this one");
        }
        let repaired = timeout(PATIENCE, nats.repair()).await;
        let copy = repaired.context("the copies took too long; `tickwell log apply` goes on with it")??;
        show::print(&format!(
            "{}: {} servers have the leader's copy, up to position {}\n",
            settings.bus.stream, copy.replicas, copy.last
        ))
    })
}

fn describe(stream: &str, copy: &LeadersCopy) -> String {
    let LeadersCopy { server, behind, messages, last, .. } = copy;
    let behind = match behind.as_slice() {
        [] => String::new(),
        behind => format!("  behind or away: {}\n", behind.join(", ")),
    };
    format!("{stream}: led by {server}, which has {messages} messages, up to position {last}\n{behind}")
}
