//! The stream and the lease's bucket, made and checked.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::bus::nats::{Nats, NatsError, Presence, Role, Standing};
use tokio::time::{sleep, timeout};

use crate::{connect, settings::Settings, show};

/// How long making and copying the streams may take. The servers of a cluster that has just been started must find
/// each other first.
const PATIENCE: Duration = Duration::from_secs(30);

/// What turning compression off leaves for the operator to do.
const AFTER_COMPRESSION: &str = "    new blocks are not compressed; blocks that are compressed already stay so
    in a cluster, a server that was killed while compression was on may have a damaged block, which shows at its
    next restart: make a backup, then replace the volume of each server, one at a time (docs/operations.md,
    \"A NATS server is not ready\")
";

/// The pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Makes the streams, or sets them right, and waits until each server that is to have them does.
pub(super) fn apply(settings: &Settings, max_bytes: Option<i64>) -> Result<()> {
    let standings = run(settings, async |nats| {
        let mut done = None;
        let apply = async || nats.apply(settings.bus.lease, max_bytes).await;
        let settled = timeout(PATIENCE, settle(apply, &mut done)).await;
        match (settled, done) {
            (Ok(Err(error)), _) => Err(error),
            (_, Some(done)) => Ok(done),
            // What is the matter says one more try.
            (_, None) => apply().await,
        }
    })?;
    tell(&standings)?;
    match faults(&standings) {
        0 => Ok(()),
        _ if standings.iter().all(|standing| standing.differing.is_empty()) => {
            bail!("a server of the cluster is behind or away: losing another one now may stop the log")
        }
        _ => bail!(
            "what still differs cannot be changed, or records would be lost by it: leave it, or change it by hand \
             (nats stream edit)"
        ),
    }
}

/// Applies the definitions until no server is behind. `done` is what has been reached, and all that was done for it.
async fn settle(
    apply: impl AsyncFn() -> Result<Vec<Standing>, NatsError>,
    done: &mut Option<Vec<Standing>>,
) -> Result<(), NatsError> {
    loop {
        match apply().await {
            Ok(now) => {
                let now = match done.take() {
                    Some(earlier) => now.into_iter().zip(earlier).map(|(it, was)| it.after(was)).collect(),
                    None => now,
                };
                if done.insert(now).iter().all(|standing| standing.behind.is_empty()) {
                    return Ok(());
                }
            }
            Err(error) if !error.may_pass() => return Err(error),
            Err(_) => {}
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// Says how the streams stand.
pub(super) fn verify(settings: &Settings) -> Result<()> {
    let standings = run(settings, async |nats| nats.verify(settings.bus.lease).await)?;
    tell(&standings)?;
    match faults(&standings) {
        0 => Ok(()),
        1 => bail!("1 difference; `tickwell log apply` sets right what it can"),
        count => bail!("{count} differences; `tickwell log apply` sets right what it can"),
    }
}

/// Connects, and does something with the connection.
fn run(
    settings: &Settings,
    act: impl AsyncFnOnce(&Nats) -> Result<Vec<Standing>, NatsError>,
) -> Result<Vec<Standing>> {
    if settings.bus.url.is_empty() {
        bail!("bus.url: name the NATS server, such as nats://127.0.0.1:4222");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(async {
        let nats = connect::to_log(settings, Role::Admin).await?;
        Ok(act(&nats).await?)
    })
}

/// A line for each stream, and one for each option that was set right or differs.
fn tell(standings: &[Standing]) -> Result<()> {
    let mut text = String::new();
    for Standing { stream, presence, corrected, differing, behind } in standings {
        let state = match presence {
            Presence::Missing => "is missing",
            Presence::Made => "made",
            Presence::Found if !corrected.is_empty() => "changed",
            Presence::Found if differing.is_empty() && behind.is_empty() => "as it should be",
            Presence::Found => "differs",
        };
        text.push_str(&format!("{stream}: {state}\n"));
        for it in corrected {
            text.push_str(&format!("  set right: {it}\n"));
            if it.is_compression() {
                text.push_str(AFTER_COMPRESSION);
            }
        }
        for it in differing {
            text.push_str(&format!("  {it}\n"));
            it.reason().iter().for_each(|reason| text.push_str(&format!("    {reason}\n")));
        }
        behind.iter().for_each(|it| text.push_str(&format!("  not all of it is on {it}\n")));
    }
    show::print(&text)
}

fn faults(standings: &[Standing]) -> usize {
    let missing = |it: &Standing| usize::from(it.presence == Presence::Missing);
    standings.iter().map(|it| missing(it) + it.differing.len() + it.behind.len()).sum()
}
