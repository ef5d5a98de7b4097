//! Moving a store out of the way instead of deleting it, so that it can still be examined.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use common::domain::Timestamp;

use super::{OpenError, create_folder};
use crate::store::{Store, files::DATA_FILE};

/// How many of the stores that were moved aside are kept.
const KEPT_ASIDE: usize = 3;

/// The prefix of sled's snapshot files. sled can rebuild them from its data.
const SNAPSHOT: &str = "snap.";

impl Store {
    /// Moves the store in a directory out of the way, even if the store can be opened. Callers do this if the store's
    /// log no longer exists, or if the store turned out to be damaged. sled closes its file shortly after the last
    /// handle is dropped. Until then, this fails with [`OpenError::InUse`].
    pub fn set_aside(folder: &Path, now: Timestamp) -> Result<(), OpenError> {
        let path = create_folder(folder)?;
        let error = |source| OpenError::Folder { path: path.display().to_string(), source };
        // While sled holds its lock, it may still write to files that it opens by name.
        let _held = match fs::File::open(path.join(DATA_FILE)) {
            Ok(file) => match file.try_lock() {
                Ok(()) => Some(file),
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(OpenError::InUse { path: path.display().to_string() });
                }
                Err(fs::TryLockError::Error(source)) => return Err(error(source)),
            },
            Err(source) if source.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(error(source)),
        };
        if path.exists() { move_aside(folder, &path, now) } else { Ok(()) }
    }
}

/// Renames a store to `damaged-<now>`, and deletes all but the newest stores that were moved aside before.
pub(super) fn move_aside(folder: &Path, path: &Path, now: Timestamp) -> Result<(), OpenError> {
    let error = |source| OpenError::Folder { path: folder.display().to_string(), source };
    let aside = folder.join(format!("damaged-{}", now.to_string().replace(':', "-")));
    fs::rename(path, &aside).map_err(error)?;
    tracing::warn!(
        event = "store_moved_aside", path = %aside.display(),
        "moved the store aside; rebuilding it from the log"
    );
    let mut kept: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(error)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            // The store that was just moved is kept even if the clock was set back and others have later times.
            name.is_some_and(|name| name.starts_with("damaged-")) && path.is_dir() && *path != aside
        })
        .collect();
    kept.sort();
    for old in kept.iter().rev().skip(KEPT_ASIDE - 1) {
        fs::remove_dir_all(old).map_err(error)?;
    }
    Ok(())
}

/// Renames sled's snapshots, so that sled reads its data from the beginning. Returns whether there were any.
pub(super) fn set_snapshots_aside(path: &Path) -> Result<bool, OpenError> {
    let error = |source| OpenError::Folder { path: path.display().to_string(), source };
    let mut any = false;
    for entry in fs::read_dir(path).map_err(error)? {
        let file = entry.map_err(error)?.path();
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(SNAPSHOT) {
            fs::rename(&file, file.with_file_name(format!("damaged-{name}"))).map_err(error)?;
            any = true;
        }
    }
    Ok(any)
}
