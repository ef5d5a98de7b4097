//! `tickwell log backup`: copies the stream to a directory.

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use common::{
    bus::nats::{Description, Role},
    clock::{Clock, SystemClock},
    domain::Timestamp,
};

use super::folder::{Growing, PART, moment, names};
use crate::{
    connect,
    output::unless_interrupted,
    progress::{MEGABYTE, Progress},
    settings::Settings,
    show,
};

/// Copies the stream to `folder`. With `keep`, copies it to a dated directory inside `folder`, and then deletes all but
/// the newest `keep` backups there.
pub(super) async fn run(settings: &Settings, folder: &Path, keep: Option<NonZeroUsize>) -> Result<()> {
    let stream = &settings.bus.stream;
    let name = dated(stream, SystemClock.now());
    let target = if keep.is_some() { folder.join(&name) } else { folder.to_owned() };
    let (description, bytes) = unless_interrupted(copy(settings, &target)).await?;
    show::print(&format!(
        "{stream}: {} in {}, {} MB\n",
        description.state,
        target.display(),
        bytes.div_ceil(MEGABYTE)
    ))?;
    match keep {
        Some(keep) => prune(folder, stream, &name, keep),
        None => Ok(()),
    }
}

async fn copy(settings: &Settings, target: &Path) -> Result<(Description, u64)> {
    let mut growing = Growing::begin(target)?;
    let nats = connect::to_starting_log(settings, Role::Maintenance).await?;
    let mut snapshot = nats.snapshot(connect::START_PATIENCE).await?;
    let mut progress = Progress::new();
    while let Some(piece) = snapshot.next().await? {
        growing.write(&piece)?;
        let whole = snapshot.description().state.bytes / MEGABYTE;
        // The server compresses the copy, so its final size is unknown.
        progress.show(|| format!("{} MB, of {whole} MB before compression", growing.bytes() / MEGABYTE));
    }
    let bytes = growing.bytes();
    growing.finish(snapshot.description())?;
    Ok((snapshot.description().clone(), bytes))
}

/// The name of a backup that is created at this time, such as TICKS-20261121T030000Z. Names sort by time, and contain
/// only characters that all file systems allow.
fn dated(stream: &str, now: Timestamp) -> String {
    let seconds = now.to_string();
    let seconds = seconds.split('.').next().unwrap_or_default();
    format!("{stream}-{}Z", seconds.replace(['-', ':'], ""))
}

/// The names to delete so that only the newest backups are kept: older backups, and incomplete ones that were interrupted
/// before `newest` was created.
fn superseded(names: Vec<String>, stream: &str, newest: &str, keep: NonZeroUsize) -> Vec<String> {
    let (parts, mut backups): (Vec<_>, Vec<_>) = names
        .into_iter()
        .filter(|name| moment(stream, name).is_some())
        .partition(|name| name.ends_with(PART));
    backups.sort();
    backups.truncate(backups.len().saturating_sub(keep.get()));
    backups.extend(parts.into_iter().filter(|part| part.as_str() < newest));
    backups
}

fn prune(folder: &Path, stream: &str, newest: &str, keep: NonZeroUsize) -> Result<()> {
    let names = names(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for name in superseded(names, stream, newest, keep) {
        let old: PathBuf = folder.join(name);
        fs::remove_dir_all(&old).with_context(|| format!("cannot delete {}", old.display()))?;
        show::print(&format!("deleted {}\n", old.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_backups_are_kept_and_nothing_else_is_touched() {
        let names = [
            "TICKS-20261119T030000Z",
            "TICKS-20261121T030000Z",
            "TICKS-20261120T030000Z",
            "TICKS-20261118T030000Z.part",
            "TICKS-20261121T030500Z.part",
            "TICKS-20261118",
            "TICKS-2026111ATT30000Z",
            "OTHER-20261101T030000Z",
            "TICKS-20261101T030000Z.old",
            "lost+found",
        ];
        let removed = |keep: usize| {
            let names = names.map(str::to_owned).to_vec();
            superseded(names, "TICKS", "TICKS-20261121T030000Z", NonZeroUsize::new(keep).unwrap())
        };
        let part = "TICKS-20261118T030000Z.part";
        assert_eq!(removed(1), ["TICKS-20261119T030000Z", "TICKS-20261120T030000Z", part]);
        assert_eq!(removed(2), ["TICKS-20261119T030000Z", part]);
        assert_eq!(removed(3), [part]);
        assert_eq!(removed(99), [part]);
    }

    #[test]
    fn a_dated_name_is_recognised_again_and_sorts_by_time() {
        let name = |text: &str| dated("TICKS", text.parse().unwrap());
        let (earlier, later) = (name("2026-11-21T03:00:00.999Z"), name("2026-11-21T13:00:00.000Z"));
        assert_eq!(earlier, "TICKS-20261121T030000Z");
        assert!(earlier < later && moment("TICKS", &earlier).is_some());
    }
}
