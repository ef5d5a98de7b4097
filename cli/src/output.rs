//! Files that are written completely or not at all.

use std::{
    fs::{File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;
use tokio::signal::unix::{SignalKind, signal};

/// A file that is being written. It has a temporary name until it is complete. If the `Output` is dropped before that,
/// the file is deleted.
pub(crate) struct Output {
    file: NamedTempFile,
    path: PathBuf,
    force: bool,
}

impl Output {
    /// Starts writing a file. An existing file is only replaced with `force`, and only in [`Self::finish`].
    pub(crate) fn begin(path: &Path, force: bool) -> Result<Self> {
        let name = path.display();
        ensure!(
            force || !path.exists(),
            "{name} already exists; choose another name, or replace it with --force"
        );
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut builder = tempfile::Builder::new();
        // Use the usual permissions of new files. By default, only its owner can read a temporary file.
        let builder = builder.prefix(".tickwell-").suffix(".part").permissions(Permissions::from_mode(0o666));
        let file = builder.tempfile_in(folder.unwrap_or(Path::new(".")));
        let file = file.with_context(|| format!("cannot create a file in the directory of {name}"))?;
        Ok(Self { file, path: path.to_owned(), force })
    }

    /// Opens what has been written so far, from its start.
    pub(crate) fn reread(&mut self) -> Result<File> {
        self.file.flush()?;
        Ok(self.file.reopen()?)
    }

    /// Flushes the file to disk and gives it its final name.
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

/// Runs `work` until it ends, Ctrl-C is pressed or SIGTERM arrives. An interrupted `work` is dropped at its next await,
/// which deletes unfinished files.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = work => done,
        interrupted = interruption() => {
            interrupted?;
            anyhow::bail!("interrupted; unfinished files were deleted")
        }
    }
}

/// Whether an error or one of its causes shows that the reader of a pipe has closed the pipe.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        let csv = cause.downcast_ref::<csv::Error>().and_then(|error| match error.kind() {
            csv::ErrorKind::Io(error) => Some(error.kind()),
            _ => None,
        });
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        csv.or(json).or_else(|| cause.downcast_ref::<io::Error>().map(io::Error::kind))
    };
    error.chain().any(|cause| kind(cause) == Some(io::ErrorKind::BrokenPipe))
}

/// Waits until Ctrl-C is pressed or SIGTERM arrives.
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
    fn a_file_is_only_replaced_with_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ticks.csv");
        let names = || folder.path().read_dir().unwrap().count();
        let mut output = Output::begin(&path, false).unwrap();
        output.write_all(b"first").unwrap();
        assert!(!path.exists(), "not before it is complete");
        // Another process creates the file first.
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
