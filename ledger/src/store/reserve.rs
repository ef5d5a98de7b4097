//! Space on the disk that is kept for later.
//!
//! sled cannot open a database on a full disk, because it writes a small file first. So a process that restarts on a full
//! disk would not come back. A file beside the store takes some space while there is enough of it, and is deleted when the
//! store cannot be opened without that space.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// The size of the reserve. sled needs about a megabyte to open the store of a year. The rest is for new records: those of two
/// pairs at the usual interval take about a megabyte a day at most.
const RESERVE_BYTES: u64 = 8 * 1024 * 1024;

/// The reserve is only made if at least this much is free, so that a reserve that was given up is not taken again at once.
const ENOUGH_BYTES: u64 = 4 * RESERVE_BYTES;

/// The file beside the store.
const NAME: &str = "reserve";

/// Makes the reserve if it is missing and there is enough space. Returns whether there is a reserve or enough space.
pub(super) fn keep(store: &Path) -> io::Result<bool> {
    let path = store.with_file_name(NAME);
    if fs::metadata(&path).is_ok_and(|about| about.len() == RESERVE_BYTES) {
        return Ok(true);
    }
    let system = statvfs(store)?;
    if system.f_bavail.saturating_mul(system.f_frsize) < ENOUGH_BYTES {
        return Ok(false);
    }
    // Some file systems cannot reserve space. On these, a process does not start while the disk is full.
    let reserved = fallocate(File::create(&path)?, FallocateFlags::empty(), 0, RESERVE_BYTES);
    if reserved.is_err() {
        give_up(store);
    }
    Ok(true)
}

/// Deletes the reserve. Returns whether there was one.
pub(super) fn give_up(store: &Path) -> bool {
    fs::remove_file(store.with_file_name(NAME)).is_ok()
}
