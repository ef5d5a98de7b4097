//! Measures how long a backup of the generated year blocks commits, and how long restoring the backup takes.

use std::{io::BufReader, path::Path, time::Instant};

use anyhow::Result;
use ledger::store::{
    Store,
    backup::{Backup, restore},
};

use crate::{ours::identity, report::size, year};

/// Measures a backup of the store in `folder`, and describes it for the report.
pub fn measure(folder: &Path) -> Result<Vec<String>> {
    let store = Store::open_copy(folder, &identity(), year::begin())?;
    let Backup { file, summary, held } = store.backup(year::begin())?;
    let place = tempfile::tempdir_in(folder)?;
    let started = Instant::now();
    restore(place.path(), BufReader::new(file))?;
    Ok(vec![format!(
        "a backup: {} rows, {:.0} MB, commits blocked for {:.2} s; restored in {:.1} s to {:.0} MB on disk",
        summary.rows,
        summary.bytes as f64 / 1e6,
        held.as_secs_f64(),
        started.elapsed().as_secs_f64(),
        size(place.path()) as f64 / 1e6
    )])
}
