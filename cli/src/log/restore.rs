//! `tickwell log restore`: copies a backup of the stream to NATS.

use std::{io::Read, num::NonZeroUsize, path::Path, time::Duration};

use anyhow::{Result, bail, ensure};
use common::{
    bus::nats::{Copies, Cut, Found, Nats, PIECE_BYTES, Restore, Role},
    clock::{Clock, SystemClock},
    domain::Timestamp,
};
use tokio::time::{sleep, timeout};

use super::folder::{Backup, CHECKSUMS, CONTENT, DESCRIPTION};
use crate::{
    connect,
    output::{interruption, unless_interrupted},
    progress::{Progress, far},
    settings::Settings,
    show,
};

/// How long it may take until a majority of the servers has copied the restored stream, which may have tens of gigabytes.
/// Until then nothing may be written to the log, because losing a single server could mean losing the log.
const UNTIL_SAFE: Duration = Duration::from_secs(3_600);

/// How long to wait for the copies on the remaining servers. In the meantime, pollers and pods already use the log.
const UNTIL_COMPLETE: Duration = Duration::from_secs(300);

/// The pause between two checks of the copies.
const CHECK_PAUSE: Duration = Duration::from_millis(500);

/// How long to wait for the server to delete the partial stream of an interrupted restore.
const CLEAN_UP_TIME: Duration = Duration::from_secs(10);

const PARTIAL_STREAM: &str = "if the server has kept a part of the stream, that part is marked as incomplete: pollers \
                           and pods wait until a restore succeeds, and the next restore replaces the part. If the \
                           server has kept nothing, a poller may start a new log; then repeat the restore with --replace";

/// Copies a backup to a server.
pub(super) async fn run(
    settings: &Settings,
    folder: &Path,
    replicas: Option<NonZeroUsize>,
    replace: bool,
    until: Option<Timestamp>,
) -> Result<()> {
    let (stream, name) = (&settings.bus.stream, folder.display());
    let mut backup = Backup::open(folder, stream)?;
    if !backup.is_checked {
        // A damaged backup is noticed only while the server reads it, and by then the existing log is deleted.
        ensure!(
            !replace,
            "{name} has no {CHECKSUMS}, so it cannot be checked before the existing log is deleted; if you trust it, \
             create the file: cd {name} && sha256sum {DESCRIPTION} {CONTENT} > {CHECKSUMS}"
        );
        show::step(&format!(
            "the backup {name} has no checksums, so only the NATS server can detect whether it is damaged"
        ));
    }
    if let Some(replicas) = replicas {
        backup.description = backup.description.with_replicas(replicas.get());
    }
    let nats = unless_interrupted(connect::to_starting_log(settings, Role::Maintenance)).await?;
    let mut restore = unless_interrupted(prepare(&nats, settings, &backup, replace)).await?.until(until);
    let filled = tokio::select! {
        filled = fill(&mut restore, &mut backup) => filled,
        _ = interruption() => {
            if !matches!(timeout(CLEAN_UP_TIME, restore.discard()).await, Ok(Ok(()))) {
                show::step(PARTIAL_STREAM);
            }
            bail!("interrupted");
        }
    };
    let (expired, cuts) = match filled {
        Ok(filled) => filled,
        Err(error) => {
            // The stream is kept although it is incomplete. Without it, a poller might create a new, empty log.
            let _released = timeout(CLEAN_UP_TIME, restore.release()).await;
            show::step(PARTIAL_STREAM);
            return Err(error);
        }
    };
    // All records have arrived. From here on the restored stream is kept, whatever happens.
    let safe = copied(&nats, UNTIL_SAFE, |copies| copies.is_safe).await;
    restore.complete().await?;
    for Cut { pair, from, messages } in cuts {
        show::step(&format!("{pair}: left out {messages} records, from sequence {from} on"));
    }
    let dropped = match expired {
        0 => String::new(),
        count => format!(" ({count} of them had expired)"),
    };
    show::print(&format!(
        "{stream}: {}{dropped} restored from {name}\n\
         Pollers continue automatically, and each pod rebuilds its store from the log.\n\
         Next, run `tickwell log apply` with the admin key to update the stream's options for this version.\n",
        backup.description.state
    ))?;
    let complete = copied(&nats, UNTIL_COMPLETE, |copies| copies.behind.is_empty()).await;
    match safe.and(complete) {
        Ok(()) => Ok(()),
        Err(behind) => bail!(
            "the log is restored and in use, but not all servers have a complete copy yet: {behind}. Check again with \
             `tickwell log verify`"
        ),
    }
}

async fn prepare(nats: &Nats, settings: &Settings, backup: &Backup, replace: bool) -> Result<Restore> {
    let description = backup.description.clone();
    let preparing = nats.prepare_restore(description, settings.bus.lease, replace, connect::START_PATIENCE);
    let restore = preparing.await?;
    if let Some(poller) = restore.taken_from() {
        show::step(&format!(
            "took the lease from the poller {poller}, which waits until the log is restored"
        ));
    }
    match restore.found() {
        Found::Nothing => {}
        Found::Empty => show::step("deleted a stream that never had a record"),
        Found::Log { messages, last } => {
            show::step(&format!(
                "deleted the existing stream, with {messages} messages up to sequence {last}"
            ));
        }
        Found::Remnant => show::step("deleted the partial stream of an interrupted restore"),
    }
    Ok(restore)
}

/// Sends the backup. Returns how many messages had expired, and what was left out.
async fn fill(restore: &mut Restore, backup: &mut Backup) -> Result<(u64, Vec<Cut>)> {
    restore.begin().await?;
    let (mut progress, mut done) = (Progress::new(), 0);
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let limit = u64::try_from(PIECE_BYTES)?;
    while Read::by_ref(&mut backup.content).take(limit).read_to_end(&mut piece)? > 0 {
        done += u64::try_from(piece.len())?;
        restore.send(std::mem::take(&mut piece).into()).await?;
        progress.show(|| far(done, Some(backup.bytes)));
    }
    let expired = restore.finish(SystemClock.now()).await?;
    Ok((expired, restore.cut().await?))
}

/// Waits until enough servers have a complete copy. If that takes too long, the error lists the servers whose copy is
/// not complete.
async fn copied(nats: &Nats, patience: Duration, is_enough: impl Fn(&Copies) -> bool) -> Result<(), String> {
    let mut behind = String::new();
    let mut progress = Progress::new();
    let waiting = async {
        loop {
            behind = match nats.copies().await {
                Ok(copies) if is_enough(&copies) => return,
                Ok(copies) if copies.behind.is_empty() => "the stream has no leader".to_owned(),
                Ok(copies) => copies.behind.join(", "),
                Err(error) => error.to_string(),
            };
            progress.show(|| format!("waiting for the other servers to copy the log: {behind}"));
            sleep(CHECK_PAUSE).await;
        }
    };
    let done = tokio::select! {
        done = timeout(patience, waiting) => done.is_ok(),
        _ = interruption() => false,
    };
    if done { Ok(()) } else { Err(behind) }
}
