//! What the operator of a server does to it: other settings, and a store that is put back.

use std::{path::Path, process::Command};

use anyhow::ensure;
use tempfile::TempDir;

use super::NatsServer;

/// The server's settings, but for those that are arguments, in its folder.
pub(super) const CONFIGURATION: &str = "nats.conf";

impl NatsServer {
    /// Gives the server other settings, in the words of its configuration file. One that runs takes them over
    /// a moment later.
    ///
    /// # Errors
    ///
    /// When they cannot be written, or the server cannot be told.
    pub fn configure(&mut self, settings: &str) -> anyhow::Result<()> {
        std::fs::write(self.folder.path().join(CONFIGURATION), settings)?;
        if let Some(child) = &self.child {
            let kill = format!("kill -s HUP {}", child.id());
            let status = Command::new("/bin/sh").arg("-c").arg(&kill).status()?;
            ensure!(status.success(), "{kill}: {status}");
        }
        Ok(())
    }

    /// Kills the server, and keeps what is in its store now.
    ///
    /// # Errors
    ///
    /// When the store cannot be copied.
    pub fn save(&mut self) -> anyhow::Result<TempDir> {
        self.kill();
        let saved = tempfile::Builder::new().prefix("tickwell-nats-saved-").tempdir()?;
        copy_folder(&self.folder.path().join("store"), &saved.path().join("store"))?;
        Ok(saved)
    }

    /// Kills the server, and puts back what its store held when it was saved.
    ///
    /// # Errors
    ///
    /// When the store cannot be put back.
    pub fn restore(&mut self, saved: &TempDir) -> anyhow::Result<()> {
        self.kill();
        let store = self.folder.path().join("store");
        std::fs::remove_dir_all(&store)?;
        copy_folder(&saved.path().join("store"), &store)
    }
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in from.read_dir()? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
