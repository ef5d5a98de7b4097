//! Makes the wall clock of a running process jump, while its monotonic clock continues. Uses libfaketime, which is loaded
//! before the libraries of a dynamically linked program.
//!
//! `scripts/tools` installs it. If it is missing, there are no jumps, and tests that need them are skipped with a message.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::workspace_root;

/// The environment variable with the path of the library. Overrides the one that `scripts/tools` installs.
const LIBRARY_VARIABLE: &str = "TICKWELL_FAKETIME";

/// Where `scripts/tools` installs Python packages, under the workspace root: a directory for each version of Python.
const INSTALLED: &str = ".tools/venv/lib";

/// The library in its package.
const IN_PACKAGE: &str = "site-packages/libfaketime/vendor/libfaketime/src/libfaketime.so.1";

/// Where the library keeps the state that a process's threads share, by process id. A killed process leaves this state
/// behind.
const SHARED_MEMORY: &str = "/dev/shm";

/// The path of the library.
#[derive(Debug, Clone)]
pub struct FakeTime {
    library: PathBuf,
}

/// The clock of one process. Its offset from the real time can be changed while the process runs.
#[derive(Debug)]
pub struct FakeClock {
    time: FakeTime,
    file: PathBuf,
}

impl FakeTime {
    /// The library, if it is installed.
    #[must_use]
    pub fn find() -> Option<Self> {
        let named = std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from);
        let library = named.or_else(|| installed(&workspace_root()))?;
        Some(Self { library })
    }

    /// Like [`FakeTime::find`], but prints a message if the library is not installed.
    ///
    /// # Panics
    ///
    /// Panics if the library is not installed and the variable `CI` is set. In CI, no test may be skipped.
    #[must_use]
    pub fn find_or_skip() -> Option<Self> {
        let found = Self::find();
        if found.is_none() {
            assert!(std::env::var_os("CI").is_none(), "libfaketime not found, and CI does not skip tests");
            println!("no clock jumps: libfaketime not found; run scripts/test to install it");
        }
        found
    }

    /// Creates a clock that shows the real time until [`FakeClock::set`] is called. `file` contains the clock's offset.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn clock(&self, file: &Path) -> anyhow::Result<FakeClock> {
        let clock = FakeClock { time: self.clone(), file: file.to_path_buf() };
        clock.set(0)?;
        Ok(clock)
    }
}

impl FakeClock {
    /// The environment variables with which a process uses this clock.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.time.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            // Read the file at every call.
            ("FAKETIME_NO_CACHE", "1".into()),
            // Only the wall clock jumps; monotonic clocks never do.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]
    }

    /// Sets the clock ahead of the real time, or behind it if the offset is negative.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn set(&self, ahead_seconds: i64) -> anyhow::Result<()> {
        // Replace the file atomically, so that no reader sees a part of it.
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{ahead_seconds:+}\n"))?;
        std::fs::rename(next, &self.file)?;
        Ok(())
    }
}

/// Removes the state that the library left behind for a killed process. If the state stayed, a later process with the
/// same id would fail.
pub fn forget(process_id: u32) {
    for name in [format!("faketime_shm_{process_id}"), format!("sem.faketime_sem_{process_id}")] {
        // Fails if there is no such file, because the process exited normally.
        let _gone = std::fs::remove_file(Path::new(SHARED_MEMORY).join(name));
    }
}

fn installed(workspace: &Path) -> Option<PathBuf> {
    let versions = workspace.join(INSTALLED).read_dir().ok()?.filter_map(Result::ok);
    versions.map(|version| version.path().join(IN_PACKAGE)).find(|library| library.is_file())
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::clock::now_ms;

    /// The time that a system program reads, in seconds.
    fn date(clock: &FakeClock) -> i64 {
        let output = Command::new("date").arg("+%s").envs(clock.environment()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    #[test]
    fn a_clock_jumps_and_comes_back() {
        let Some(time) = FakeTime::find_or_skip() else { return };
        let folder = tempfile::tempdir().unwrap();
        let clock = time.clock(&folder.path().join("clock")).unwrap();
        for ahead in [0, 3_600, -3_600, 0] {
            clock.set(ahead).unwrap();
            let (before, date) = (now_ms() / 1_000, date(&clock));
            let late = Duration::from_secs(u64::try_from(date - before - ahead).unwrap());
            assert!(late < Duration::from_secs(60), "{date} is not {ahead} ahead of {before}");
        }
    }

    #[test]
    fn the_library_is_found_with_any_python_version() {
        let workspace = tempfile::tempdir().unwrap();
        assert_eq!(installed(workspace.path()), None);
        let library = workspace.path().join(INSTALLED).join("python3.99").join(IN_PACKAGE);
        std::fs::create_dir_all(library.parent().unwrap()).unwrap();
        assert_eq!(installed(workspace.path()), None);
        std::fs::write(&library, "").unwrap();
        assert_eq!(installed(workspace.path()), Some(library));
    }
}
