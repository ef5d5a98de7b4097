//! Reads a server's health from its monitoring port and from its log.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::{NatsServer, read_log};

/// The timeout of a request. A server that is starting responds slowly.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// The response of `/healthz`.
#[derive(Debug, Deserialize)]
struct Health {
    status: String,
    #[serde(default)]
    error: String,
}

/// What a server logs when it cannot read its own copy of a stream. The server may then get a new copy from the other
/// servers of its cluster, and report that it is healthy.
const LOST_COPY: &str = "Error recreating stream";

impl NatsServer {
    /// The lines of the server's log about copies of streams that it could not read.
    #[must_use]
    pub fn lost_copies(&self) -> Vec<String> {
        let log = read_log(self.folder.path());
        log.lines().filter(|line| line.contains(LOST_COPY)).map(str::to_owned).collect()
    }

    /// Checks `/healthz`.
    ///
    /// A server can be `ok` although the stream's leader does not consider its replica current.
    /// [`replicas::wait_until_healthy`](super::replicas::wait_until_healthy) checks both.
    ///
    /// # Errors
    ///
    /// Fails if the server is not `ok` (with the reason that it returns), or if it does not respond.
    pub async fn health(&self) -> anyhow::Result<()> {
        ensure!(self.is_running(), "the server is not running");
        // Fails if a provider is already installed, which is fine.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(ANSWER_TIME).no_proxy().build()?;
        let url = format!("http://127.0.0.1:{}/healthz", self.monitoring_port);
        let body = client.get(url).send().await?.bytes().await?;
        let Health { status, error } = serde_json::from_slice(&body)
            .with_context(|| format!("/healthz: {}", String::from_utf8_lossy(&body)))?;
        ensure!(status == "ok", "{status}: {error}");
        Ok(())
    }
}
