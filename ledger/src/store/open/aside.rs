//! What is not used any more is moved out of the way, and not deleted while it is new.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use common::domain::Timestamp;

use super::{DATA_FILE, OpenError, prepare};
use crate::store::Store;

/// How many stores that were moved aside are kept.
const KEPT_ASIDE: usize = 3;

/// How the files begin in which sled keeps a shortcut to its data. It can do without them.
const SNAPSHOT: &str = "snap.";

impl Store {
    /// Moves the store that lies there out of the way, although it may well open: its log is no more, or it was found
    /// damaged. In use until the last handle to it has been dropped, and for a moment longer.
    pub fn set_aside(folder: &Path, now: Timestamp) -> Result<(), OpenError> {
        let path = prepare(folder)?;
        let error = |source| OpenError::Folder { path: path.display().to_string(), source };
        // sled's own lock: while it is held, sled may still write to files that it finds by their names.
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

/// Moves a store out of the way, never deleting the newest ones.
pub(super) fn move_aside(folder: &Path, path: &Path, now: Timestamp) -> Result<(), OpenError> {
    let error = |source| OpenError::Folder { path: folder.display().to_string(), source };
    let aside = folder.join(format!("damaged-{}", now.to_string().replace(':', "-")));
    fs::rename(path, &aside).map_err(error)?;
    tracing::warn!(path = %aside.display(), "moved the store aside; building it anew from the log");
    let mut kept: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(error)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            // Not the newest one, whatever the clock says.
            name.is_some_and(|name| name.starts_with("damaged-")) && path.is_dir() && *path != aside
        })
        .collect();
    kept.sort();
    for old in kept.iter().rev().skip(KEPT_ASIDE - 1) {
        fs::remove_dir_all(old).map_err(error)?;
    }
    Ok(())
}

/// Renames sled's snapshots, so that it reads its data from the beginning. Answers whether there were any.
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
