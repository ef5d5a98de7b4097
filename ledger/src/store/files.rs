//! The directories of databases.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

/// The size of sled's page cache. sled's default is 1 GB; more than 8 MB costs memory and hardly speeds up scans.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// sled's data file. sled holds a lock on it while the database is open.
pub(super) const DATA_FILE: &str = "db";

/// The largest number of rows that are written at once.
const BATCH_ROWS: usize = 1_000;

/// Rows are also written once they have this many bytes, so that a few large rows do not take too much memory.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How long sled may take to close a database. It usually takes a few milliseconds.
const CLOSE_LIMIT: Duration = Duration::from_secs(60);

/// The pause between two checks whether sled has closed a database.
const CLOSE_PAUSE: Duration = Duration::from_millis(1);

/// Opens a database, and creates it if it does not exist.
pub(super) fn open(path: &Path) -> sled::Result<sled::Db> {
    sled::Config::new().path(path).cache_capacity(CACHE_BYTES).open()
}

/// Whether a process has a database open.
pub(super) fn is_in_use(path: &Path) -> bool {
    File::open(path.join(DATA_FILE)).is_ok_and(|file| file.try_lock().is_err())
}

/// Waits until sled has closed a database, which it does shortly after the last handle is dropped. Until then, it may
/// write to this path. Returns false if it takes too long.
pub(super) fn wait_until_closed(path: &Path) -> bool {
    let started = Instant::now();
    while is_in_use(path) {
        if started.elapsed() > CLOSE_LIMIT {
            return false;
        }
        std::thread::sleep(CLOSE_PAUSE);
    }
    true
}

/// Groups rows into batches that are worth a write.
pub(super) fn batches<R: AsRef<[u8]>, E>(
    rows: impl Iterator<Item = Result<(R, R), E>>,
) -> impl Iterator<Item = Result<sled::Batch, E>> {
    let mut rows = rows.fuse().peekable();
    std::iter::from_fn(move || {
        rows.peek()?;
        let (mut batch, mut count, mut bytes) = (sled::Batch::default(), 0, 0);
        while count < BATCH_ROWS && bytes < BATCH_BYTES {
            let (name, value) = match rows.next() {
                Some(Ok(row)) => row,
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            };
            count += 1;
            bytes += name.as_ref().len() + value.as_ref().len();
            batch.insert(name.as_ref(), value.as_ref());
        }
        Some(Ok(batch))
    })
}

/// The directory in which a store is rewritten.
pub(super) fn rewriting(store: &Path) -> PathBuf {
    store.with_file_name("rewriting")
}

/// Lets two directories change places in one step.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// Lets two directories change places in one step, which this system cannot do.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(super) fn exchange(_one: &Path, _other: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
