//! A real nats-server with JetStream, in its own directory.
//!
//! Tests that need one begin with [`require_nats!`](crate::require_nats). Without nats-server they are skipped, so that
//! `cargo test` works on a fresh clone. In CI they fail instead.

mod binary;
mod blocks;
mod cluster;
mod late;
mod monitor;
mod operate;
mod ports;
pub mod replicas;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

pub use binary::{available_or_skip, nats_available};
pub use blocks::{Messages, ReplicaFiles, StoredMessage};
pub use cluster::NatsCluster;
pub use late::LateServer;
pub use operate::{STREAM_DEFINITION, create_stream};

use crate::process::send_signal;
use crate::wait::poll_until;
use ports::{Ports, read_ports};

/// How long a server may take to accept connections. It usually takes well under a second.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// How long a server may take to end after SIGTERM. It usually takes well under a second.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// A nats-server process. Dropping this kills the process and removes the store.
#[derive(Debug)]
pub struct NatsServer {
    binary: PathBuf,
    /// Contains the store, the log and the ports file. Deleted when this is dropped.
    folder: TempDir,
    /// The port for clients. The server chooses it at the first start, and keeps it at later ones.
    port: u16,
    /// The port of the server's monitoring endpoints. The port differs after each start.
    monitoring_port: u16,
    /// The name of the configuration file in `folder`.
    configuration: &'static str,
    /// Additional arguments.
    arguments: Vec<String>,
    /// `None` while the server is not running.
    child: Option<Child>,
}

impl NatsServer {
    /// Starts a server with an empty store on a free port of 127.0.0.1, and waits until it accepts
    /// connections and has JetStream.
    ///
    /// # Errors
    ///
    /// Fails if nats-server is not found or does not start. The error contains its log.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with("", Vec::new()).await
    }

    /// Starts a server on a free port of 127.0.0.1 with `nats/nats.conf`, the configuration that we ship, and these
    /// public keys. Only the path of the store differs from the shipped configuration.
    ///
    /// # Errors
    ///
    /// Fails if nats-server is not found or does not start. The error contains its log.
    pub async fn start_shipped(keys: &str) -> anyhow::Result<Self> {
        Self::start_shipped_with(keys, operate::CONFIGURATION, Vec::new()).await
    }

    async fn start_shipped_with(
        keys: &str,
        configuration: &'static str,
        arguments: Vec<String>,
    ) -> anyhow::Result<Self> {
        let mut server = Self::new(configuration)?;
        server.write_shipped(keys)?;
        server.arguments = arguments;
        server.run(None).await?;
        Ok(server)
    }

    async fn start_with(settings: &str, cluster_arguments: Vec<String>) -> anyhow::Result<Self> {
        let mut server = Self::new(operate::CONFIGURATION)?;
        server.configure(settings)?;
        let store = server.store().display().to_string();
        let own = ["--jetstream".to_owned(), "--store_dir".to_owned(), store];
        server.arguments = own.into_iter().chain(cluster_arguments).collect();
        server.run(None).await?;
        Ok(server)
    }

    /// A server that is not running yet.
    fn new(configuration: &'static str) -> anyhow::Result<Self> {
        let binary = binary::find().context("nats-server not found; run scripts/test to install it")?;
        let folder = tempfile::Builder::new().prefix("tickwell-nats-").tempdir()?;
        Ok(Self {
            binary,
            folder,
            port: 0,
            monitoring_port: 0,
            configuration,
            arguments: Vec::new(),
            child: None,
        })
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The address for clients, `nats://127.0.0.1:PORT`. It stays the same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port of the server's monitoring endpoints (`/healthz`, `/jsz`). The port differs after each start. `None`
    /// while the server is not running.
    #[must_use]
    pub fn monitor_port(&self) -> Option<u16> {
        self.child.as_ref().map(|_running| self.monitoring_port)
    }

    /// Whether the process is running. A paused server counts as running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Pauses the process (SIGSTOP): its connections stay open, but it does not respond.
    ///
    /// # Errors
    ///
    /// Fails if the signal cannot be sent.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Resumes a paused process (SIGCONT).
    ///
    /// # Errors
    ///
    /// Fails if the signal cannot be sent.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        // A killed server has no process to signal.
        self.child.as_ref().map_or(Ok(()), |child| send_signal(child.id(), signal))
    }

    /// Kills the server as a crash would (SIGKILL), and returns when it has exited. Does nothing if it is not running.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if the process has already exited.
            let _killed = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Tells the server to exit (SIGTERM), as a clean restart does, and returns when it has exited. Does nothing if it
    /// is not running.
    ///
    /// # Errors
    ///
    /// Fails if it does not exit in time. The error contains its log.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let Some(child) = &mut self.child else { return Ok(()) };
        let ended = poll_until(STOP_DEADLINE, async || child.try_wait().transpose()).await;
        let folder = self.folder.path();
        ended.with_context(|| {
            format!("still running {STOP_DEADLINE:?} after SIGTERM:\n{}", read_log(folder))
        })??;
        self.child = None;
        Ok(())
    }

    /// Starts the server again on the same port and with the same store. Kills it first if it is running.
    ///
    /// # Errors
    ///
    /// Fails if it does not start. The error contains its log.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        self.run(Some(self.port)).await
    }

    /// Starts the process on this port, or on one that the server chooses, and waits until it is ready.
    async fn run(&mut self, port: Option<u16>) -> anyhow::Result<()> {
        let folder = self.folder.path();
        let mut child = self.spawn(port)?;
        let outcome = poll_until(START_DEADLINE, async || match child.try_wait() {
            Ok(None) => {
                let ports = read_ports(folder, child.id())?;
                is_ready(ports.clients).await.then_some(Ok(ports))
            }
            Ok(Some(status)) => Some(Err(anyhow!("it ended with {status}"))),
            Err(error) => Some(Err(error.into())),
        })
        .await;
        // Store the child before checking the outcome, so that a server that failed to start is killed too.
        self.child = Some(child);
        let outcome = outcome.unwrap_or_else(|| Err(anyhow!("not ready after {START_DEADLINE:?}")));
        let Ports { clients, monitoring } =
            outcome.with_context(|| format!("nats-server did not start; its log:\n{}", read_log(folder)))?;
        (self.port, self.monitoring_port) = (clients, monitoring);
        Ok(())
    }

    fn spawn(&self, port: Option<u16>) -> anyhow::Result<Child> {
        let folder = self.folder.path();
        // With -1, the server chooses a free port and writes it to the ports file.
        let port = port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
        Command::new(&self.binary)
            .args(["--addr", "127.0.0.1", "--port", port.as_str(), "--http_port", "-1"])
            .arg("--config")
            .arg(folder.join(self.configuration))
            .arg("--ports_file_dir")
            .arg(folder)
            .arg("--log")
            .arg(log_file(folder))
            .args(&self.arguments)
            // The configuration that we ship uses this variable.
            .env("SERVER_NAME", "node-0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", self.binary.display()))
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// If nats-server is not available, ends the test with `return`, or with `return $value` if a value is given.
#[macro_export]
macro_rules! require_nats {
    () => {
        if !$crate::nats::available_or_skip() {
            return;
        }
    };
    ($value:expr) => {
        if !$crate::nats::available_or_skip() {
            return $value;
        }
    };
}

/// Whether the server accepts a client and has JetStream.
async fn is_ready(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return false;
    };
    let mut greeting = String::new();
    if BufReader::new(stream).read_line(&mut greeting).await.is_err() {
        return false;
    }
    let info = greeting.strip_prefix("INFO ").and_then(|info| serde_json::from_str::<Value>(info).ok());
    info.is_some_and(|info| info.get("jetstream") == Some(&Value::Bool(true)))
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("nats-server.log")
}

fn read_log(folder: &Path) -> String {
    std::fs::read_to_string(log_file(folder)).unwrap_or_else(|error| format!("(no log: {error})"))
}

/// Connects to the servers at these addresses, which are separated by commas.
async fn connect(url: &str) -> Option<async_nats::Client> {
    let servers: Vec<&str> = url.split(',').collect();
    async_nats::connect(servers.as_slice()).await.ok()
}

#[cfg(test)]
mod tests;
