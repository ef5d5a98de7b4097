//! `tickwell log apply` and `tickwell log verify`: create or correct the stream and the lease bucket, and check them.

use std::time::Duration;

use anyhow::{Result, bail};
use common::{
    bus::nats::{Nats, NatsError, Presence, Role, StreamReport},
    retry::RETRY_PAUSE,
};
use tokio::time::{sleep, timeout};

use crate::{connect, runtime::block_on, settings::Settings, show};

/// How long creating the streams and copying them to all servers may take. The servers of a cluster that has just started
/// must find each other first.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the operator should do after compression was turned off.
const AFTER_COMPRESSION: &str = "    new blocks are no longer compressed; existing blocks stay compressed
    in a cluster, a server that was killed while compression was on may have a damaged block, which causes a failure at
    its next restart: make a backup, then replace the volume of each server, one at a time (docs/operations.md,
    \"A NATS server is not ready\")
";

/// Creates or corrects the streams, and waits until all servers have their copies. If `new_mirror` is set, the
/// mirror is deleted first.
pub(super) fn apply(settings: &Settings, max_bytes: Option<i64>, new_mirror: bool) -> Result<()> {
    let reports = run(settings, async |nats| {
        if new_mirror {
            nats.delete_mirror().await?;
        }
        let mut done = None;
        let apply = async || nats.apply(settings.bus.lease, max_bytes).await;
        let settled = timeout(PATIENCE, settle(apply, &mut done)).await;
        match (settled, done) {
            (Ok(Err(error)), _) => Err(error),
            (_, Some(done)) => Ok(done),
            // No attempt has succeeded in time. One more attempt returns the error that explains why.
            (_, None) => apply().await,
        }
    })?;
    print(&reports)?;
    match count_faults(&reports) {
        0 => Ok(()),
        _ if reports.iter().all(|report| report.differing.is_empty()) => {
            bail!(
                "a server of the cluster is down or not up to date: if another server fails now, the log may become \
                 unavailable"
            )
        }
        _ => bail!(
            "the remaining differences were not corrected, because correcting them is impossible or would lose records: \
             leave them, or change the options with `nats stream edit`"
        ),
    }
}

/// Applies the definitions until every server is up to date. `done` receives the latest state, with all corrections
/// made so far.
async fn settle(
    apply: impl AsyncFn() -> Result<Vec<StreamReport>, NatsError>,
    done: &mut Option<Vec<StreamReport>>,
) -> Result<(), NatsError> {
    loop {
        match apply().await {
            Ok(now) => {
                let now = match done.take() {
                    Some(earlier) => now.into_iter().zip(earlier).map(|(it, was)| it.after(was)).collect(),
                    None => now,
                };
                if done.insert(now).iter().all(|report| report.behind.is_empty()) {
                    return Ok(());
                }
            }
            Err(error) if !error.is_temporary() => return Err(error),
            Err(_) => {}
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// Compares the streams with their definitions.
pub(super) fn verify(settings: &Settings) -> Result<()> {
    let reports = run(settings, async |nats| nats.verify(settings.bus.lease).await)?;
    print(&reports)?;
    match count_faults(&reports) {
        0 => Ok(()),
        1 => bail!("there is 1 difference; `tickwell log apply` corrects it if possible"),
        count => bail!("there are {count} differences; `tickwell log apply` corrects them if possible"),
    }
}

fn run(
    settings: &Settings,
    act: impl AsyncFnOnce(&Nats) -> Result<Vec<StreamReport>, NatsError>,
) -> Result<Vec<StreamReport>> {
    block_on(async {
        let nats = connect::to_log(settings, Role::Admin).await?;
        Ok(act(&nats).await?)
    })
}

/// Prints a line for each stream, each corrected or differing option, and each server without a complete copy.
pub(super) fn print(reports: &[StreamReport]) -> Result<()> {
    let mut text = String::new();
    for StreamReport { stream, presence, corrected, differing, behind } in reports {
        let state = match presence {
            Presence::Missing => "missing",
            Presence::Created => "created",
            Presence::Outdated => "is a copy of an earlier log",
            Presence::LeftOut(reason) => &format!("left out, because {reason}"),
            Presence::Found if !corrected.is_empty() => "corrected",
            Presence::Found if differing.is_empty() && behind.is_empty() => "ok",
            Presence::Found if differing.is_empty() => "not complete on all servers",
            Presence::Found => "differs from its definition",
        };
        text.push_str(&format!("{stream}: {state}\n"));
        for it in corrected {
            text.push_str(&format!("  corrected: {it}\n"));
            if it.is_compression() {
                text.push_str(AFTER_COMPRESSION);
            }
        }
        for it in differing {
            text.push_str(&format!("  {it}\n"));
            it.reason().iter().for_each(|reason| text.push_str(&format!("    {reason}\n")));
        }
        behind.iter().for_each(|it| text.push_str(&format!("  no complete copy: {it}\n")));
    }
    show::print(&text)
}

fn count_faults(reports: &[StreamReport]) -> usize {
    let missing =
        |it: &StreamReport| usize::from(matches!(it.presence, Presence::Missing | Presence::Outdated));
    reports.iter().map(|it| missing(it) + it.differing.len() + it.behind.len()).sum()
}
