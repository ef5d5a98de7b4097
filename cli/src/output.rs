//! Files that are written whole or not at all.

use std::{
    fs::{File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;
use tokio::signal::unix::{SignalKind, signal};

/// A file in the making: under a name of its own until it is whole, and gone if it never is.
pub(crate) struct Output {
    file: NamedTempFile,
    path: PathBuf,
    force: bool,
}

impl Output {
    /// Begins a file with this name. One that is there already is only replaced with `force`, and only at the
    /// end.
    pub(crate) fn begin(path: &Path, force: bool) -> Result<Self> {
        let name = path.display();
        ensure!(force || !path.exists(), "{name} is there already: name another file, or give --force");
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut builder = tempfile::Builder::new();
        // As any other file of this user; a temporary one would be nobody else's to read.
        let builder = builder.prefix(".tickwell-").suffix(".part").permissions(Permissions::from_mode(0o666));
        let file = builder.tempfile_in(folder.unwrap_or(Path::new(".")));
        let file = file.with_context(|| format!("cannot write beside {name}"))?;
        Ok(Self { file, path: path.to_owned(), force })
    }

    /// What was written so far, from its beginning.
    pub(crate) fn reread(&mut self) -> Result<File> {
        self.file.flush()?;
        Ok(self.file.reopen()?)
    }

    /// Gives the file its name, once it is on the disk.
    pub(crate) fn finish(self) -> Result<()> {
        let name = self.path.display().to_string();
        let cannot = || format!("cannot write {name}");
        self.file.as_file().sync_all().with_context(cannot)?;
        let kept = match self.force {
            true => self.file.persist(&self.path),
            false => self.file.persist_noclobber(&self.path),
        };
        kept.map(drop).map_err(|error| error.error).with_context(cannot)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Does something that may be interrupted between two of its steps, from the keyboard or by SIGTERM. What it has begun is
/// dropped then, and nothing is left behind.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = work => done,
        interrupted = interruption() => {
            interrupted?;
            anyhow::bail!("interrupted; what was begun was removed")
        }
    }
}

/// Waits until the process is told to stop.
pub(crate) async fn interruption() -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_never_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ticks.csv");
        let names = || folder.path().read_dir().unwrap().count();
        let mut output = Output::begin(&path, false).unwrap();
        output.write_all(b"first").unwrap();
        assert!(!path.exists(), "not before it is whole");
        // Somebody else is quicker.
        std::fs::write(&path, "precious").unwrap();
        assert!(output.finish().is_err());
        assert!(Output::begin(&path, false).is_err());
        assert_eq!(
            (std::fs::read(&path).unwrap(), names()),
            (b"precious".to_vec(), 1),
            "and nothing is left over"
        );
        drop(Output::begin(&path, true).unwrap());
        assert_eq!((std::fs::read(&path).unwrap(), names()), (b"precious".to_vec(), 1));
        let mut output = Output::begin(&path, true).unwrap();
        output.write_all(b"second").unwrap();
        output.finish().unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), names()), (b"second".to_vec(), 1));
    }
}
