//! Polite clients that ask for the newest price, and what they saw. They have a thread of their own, so that hostile clients
//! of this process do not slow them down.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use chrono::DateTime;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::Instant,
};

use super::clients::send;
use crate::clock::now_ms;

/// How many clients there are.
const CLIENTS: u8 = 10;

/// The pause between two requests of one client. With it, a client stays below the default rate limit.
const PAUSE: Duration = Duration::from_millis(110);

/// A client gives up a request after this time. It counts as a failure.
const PATIENCE: Duration = Duration::from_secs(5);

/// The response of a price is far smaller.
const MAX_RESPONSE: usize = 64 * 1_024;

/// Clients that are running.
#[derive(Debug)]
pub struct Innocents {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Report>>,
}

/// What the clients saw.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// How long the responses took, in ascending order.
    pub latencies: Vec<Duration>,
    /// The failures.
    pub failures: Vec<String>,
    /// The highest age of a price, since the beginning of its slot.
    pub oldest: Duration,
}

impl Report {
    /// The latency that so many of a thousand responses did not exceed.
    #[must_use]
    pub fn permille(&self, permille: usize) -> Duration {
        let place = (self.latencies.len() * permille / 1_000).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(place).copied().unwrap_or_default()
    }

    /// Adds what others saw.
    pub fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.latencies.sort_unstable();
        self.failures.extend(other.failures);
        self.oldest = self.oldest.max(other.oldest);
    }
}

impl Innocents {
    /// Starts the clients.
    #[must_use]
    pub fn start(server: SocketAddr, pair: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, path) = (stop.clone(), format!("/v1/prices/{pair}"));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(run(server, &path, &stopped)))
        });
        Self { stop, thread }
    }

    /// Stops the clients and returns what they saw.
    ///
    /// # Errors
    ///
    /// Fails if they could not be started.
    pub fn finish(self) -> anyhow::Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_panic| anyhow::anyhow!("the clients panicked"))?
    }
}

async fn run(server: SocketAddr, path: &str, stop: &Arc<AtomicBool>) -> Report {
    let mut clients = JoinSet::new();
    for number in 1..=CLIENTS {
        let request = format!("GET {path} HTTP/1.1\r\nhost: innocent\r\n\r\n");
        clients.spawn(client(server, Ipv4Addr::new(127, 2, 0, number), request, stop.clone()));
    }
    let mut report = Report::default();
    while let Some(seen) = clients.join_next().await {
        match seen {
            Ok(seen) => report.add(seen),
            Err(error) => report.failures.push(error.to_string()),
        }
    }
    report
}

async fn client(server: SocketAddr, address: Ipv4Addr, request: String, stop: Arc<AtomicBool>) -> Report {
    let mut report = Report::default();
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let asked = tokio::time::timeout(PATIENCE, ask(server, address, &request, &mut connection)).await;
        match asked.context("no response within 5 s").flatten() {
            Ok(age) => {
                report.latencies.push(begun.elapsed());
                report.oldest = report.oldest.max(age);
            }
            Err(error) => {
                report.failures.push(format!("{error:#}"));
                connection = None;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    report
}

/// Asks for a price, and returns its age.
async fn ask(
    server: SocketAddr,
    address: Ipv4Addr,
    request: &str,
    connection: &mut Option<TcpStream>,
) -> anyhow::Result<Duration> {
    if connection.is_none() {
        *connection = Some(send(server, address, b"", false).await.context("connecting")?);
    }
    let stream = connection.as_mut().context("a connection")?;
    stream.write_all(request.as_bytes()).await?;
    let mut received = Vec::new();
    let body = loop {
        ensure!(received.len() < MAX_RESPONSE, "the response is too large");
        ensure!(stream.read_buf(&mut received).await? > 0, "the connection was closed");
        if let Some(body) = complete(&received) {
            break body;
        }
    };
    ensure!(received.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&received));
    let price: Value = serde_json::from_slice(body)?;
    let slot = DateTime::parse_from_rfc3339(price.get("slot").and_then(Value::as_str).context("a slot")?)?;
    Ok(Duration::from_millis(u64::try_from(now_ms() - slot.timestamp_millis()).unwrap_or_default()))
}

/// The body of a response, if all of it was received.
fn complete(received: &[u8]) -> Option<&[u8]> {
    let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let (head, body) = received.split_at_checked(end + 4)?;
    let head = std::str::from_utf8(head).ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    (body.len() >= length.parse().ok()?).then_some(body)
}
