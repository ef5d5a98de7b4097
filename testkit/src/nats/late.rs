//! A server whose reports of the end of the log are late.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the server reports, what clients get instead, and how many times.
type Change = (String, String, usize);

/// Stands between clients and a server. Clients can be made to believe that the log is shorter than it is, as a leader
/// reports it while many messages arrive. Dropping this closes the port.
#[derive(Debug)]
pub struct LateServer {
    url: String,
    change: Arc<Mutex<Option<Change>>>,
    accepting: JoinHandle<()>,
}

impl LateServer {
    /// Connects clients to the server at this address, which is a URL such as `nats://127.0.0.1:4222`.
    ///
    /// # Errors
    ///
    /// Fails if no port can be bound.
    pub async fn start(server: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("late server: bind")?;
        let url = format!("nats://{}", listener.local_addr()?);
        let address = server.trim_start_matches("nats://").to_owned();
        let change: Arc<Mutex<Option<Change>>> = Arc::default();
        let shared = Arc::clone(&change);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (address, change) = (address.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    // Ends when either side closes the connection.
                    let _closed = relay(client, &address, &change).await;
                });
            }
        });
        Ok(Self { url, change, accepting })
    }

    /// The address for clients.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reports the end of the log as `reported` instead of `last`, this many times. Both must have the same number of
    /// digits.
    pub fn report(&self, last: u64, reported: u64, times: usize) {
        let text = |sequence: u64| format!("\"last_seq\":{sequence},");
        *self.change.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((text(last), text(reported), times));
    }

    /// How many more times the end is reported wrongly.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.change.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |(.., times)| *times)
    }
}

impl Drop for LateServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(client: TcpStream, server: &str, change: &Mutex<Option<Change>>) -> anyhow::Result<()> {
    let server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let upwards = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from_server.read(&mut buffer).await?;
        if count == 0 {
            upwards.abort();
            return Ok(());
        }
        let bytes = buffer.get_mut(..count).context("the bytes that were read")?;
        if let Some((found, replacement, times)) =
            change.lock().unwrap_or_else(PoisonError::into_inner).as_mut().filter(|(.., times)| *times > 0)
            && let Some(begin) = bytes.windows(found.len()).position(|part| part == found.as_bytes())
            && let Some(part) = bytes.get_mut(begin..begin + found.len())
        {
            part.copy_from_slice(replacement.as_bytes());
            *times -= 1;
        }
        to_client.write_all(bytes).await?;
    }
}
