//! Operates a server as an operator does: changes its settings, and saves and restores its store.

use std::path::Path;

use anyhow::{Context as _, ensure};
use async_nats::jetstream;
use serde_json::Value;
use tempfile::TempDir;

use super::{NatsServer, connect};
use crate::workspace_root;

/// The name of the server's configuration file.
pub(super) const CONFIGURATION: &str = "nats.conf";

/// The name of the configuration file of a server in a cluster. This file includes [`CONFIGURATION`].
pub(super) const CLUSTER_CONFIGURATION: &str = "cluster.conf";

/// The definition of the log's stream that we ship. The path is relative to the workspace root.
pub const STREAM_DEFINITION: &str = "nats/stream.json";

/// The name of the file that contains the keys. The configuration file includes it.
const KEYS: &str = "keys.conf";

/// The path of the store in the configuration that we ship.
const SHIPPED_STORE: &str = "\"/data/jetstream\"";

/// The server reserves a stream's `max_bytes` when the stream is created. This setting allows the server to reserve
/// that much, even if this machine's disk has less space left. A test's own settings come later in the file and
/// override it.
const ROOM: &str = "jetstream { max_file_store: 64GB }\n";

impl NatsServer {
    /// Changes the server's settings, in the format of its configuration file. A running server reloads them shortly
    /// afterwards.
    ///
    /// # Errors
    ///
    /// Fails if the settings cannot be written, or the server cannot be signalled.
    pub fn configure(&mut self, settings: &str) -> anyhow::Result<()> {
        self.write(CONFIGURATION, &format!("{ROOM}{settings}"))
    }

    /// Changes the public keys of a server that was started with the configuration that we ship. The server reloads
    /// them shortly afterwards.
    ///
    /// # Errors
    ///
    /// Fails if the keys cannot be written, or the server cannot be signalled.
    pub fn configure_keys(&mut self, keys: &str) -> anyhow::Result<()> {
        self.write(KEYS, keys)
    }

    /// Writes the configuration that we ship, with these keys and the path of this server's store.
    pub(super) fn write_shipped(&mut self, keys: &str) -> anyhow::Result<()> {
        let shipped = |name| std::fs::read_to_string(workspace_root().join("nats").join(name));
        let settings = shipped(CONFIGURATION)?;
        ensure!(
            settings.contains(SHIPPED_STORE),
            "nats/{CONFIGURATION} does not contain the path {SHIPPED_STORE}"
        );
        let store = format!("\"{}\"", self.store().display());
        self.write(KEYS, keys)?;
        self.write(CLUSTER_CONFIGURATION, &shipped(CLUSTER_CONFIGURATION)?)?;
        self.write(CONFIGURATION, &settings.replace(SHIPPED_STORE, &store))
    }

    fn write(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        std::fs::write(self.folder.path().join(name), text)?;
        self.signal("HUP")
    }

    /// Copies the server's store, settings and log as they are now.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be copied.
    pub fn copy_folder(&self, to: &Path) -> anyhow::Result<()> {
        copy_folder(self.folder.path(), to)
    }

    /// Kills the server, and returns a copy of its store.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be copied.
    pub fn save(&mut self) -> anyhow::Result<TempDir> {
        self.kill();
        let saved = tempfile::Builder::new().prefix("tickwell-nats-saved-").tempdir()?;
        copy_folder(&self.store(), &saved.path().join("store"))?;
        Ok(saved)
    }

    /// Kills the server, and replaces its store with a copy from [`NatsServer::save`].
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be replaced.
    pub fn restore(&mut self, saved: &TempDir) -> anyhow::Result<()> {
        self.kill();
        let store = self.store();
        std::fs::remove_dir_all(&store)?;
        copy_folder(&saved.path().join("store"), &store)
    }

    /// Kills the server, and replaces one stream of an account with the one in a copy from [`NatsServer::save`].
    ///
    /// # Errors
    ///
    /// Fails if the stream's files cannot be replaced.
    pub fn restore_stream(&mut self, saved: &TempDir, account: &str, stream: &str) -> anyhow::Result<()> {
        self.kill();
        let files = Path::new("jetstream").join(account).join("streams").join(stream);
        std::fs::remove_dir_all(self.store().join(&files))?;
        copy_folder(&saved.path().join("store").join(&files), &self.store().join(&files))
    }
}

/// Creates the log's stream from the definition that we ship. `options` replace the definition's options with the same
/// names.
///
/// # Errors
///
/// Fails if the definition lacks one of these options, or the server does not create the stream.
pub async fn create_stream(url: &str, options: &[(&str, Value)]) -> anyhow::Result<()> {
    let shipped = std::fs::read(workspace_root().join(STREAM_DEFINITION))?;
    let mut definition: Value = serde_json::from_slice(&shipped)?;
    for (name, value) in options {
        *definition.get_mut(name).with_context(|| format!("{STREAM_DEFINITION} has no {name}"))? =
            value.clone();
    }
    let context = jetstream::new(connect(url).await.context("no connection")?);
    context.create_stream(serde_json::from_value::<jetstream::stream::Config>(definition)?).await?;
    Ok(())
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
