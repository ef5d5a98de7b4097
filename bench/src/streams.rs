//! Measures how much memory each stream client needs, and how long it takes until all clients have a tick. Compares
//! both with a server that only writes prepared bytes to the same number of sockets.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use common::{bus::Batch, domain::Sequence};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::{broadcast, mpsc},
};

use crate::{
    pod::{Pod, entry},
    report::{self, line, median},
};

/// The number of ticks that are sent.
const TICKS: usize = 50;

/// The pause between two ticks. It begins when all clients have received the first of the two.
const PAUSE: Duration = Duration::from_millis(20);

pub fn run(clients: u64) -> Result<()> {
    let count = usize::try_from(clients)?;
    let (servers, readers) =
        (Runtime::new()?, Builder::new_multi_thread().worker_threads(1).enable_all().build()?);
    let mut pod = servers.block_on(Pod::start())?;
    let alone = resident_kilobytes()?;
    let (seen, mut arrivals) = mpsc::unbounded_channel();
    readers.block_on(follow(pod.address, "/v1/stream", count, &seen))?;
    // Wait until all clients are connected. A client that has connected receives the newest tick of each pair.
    for _ in 0..count {
        readers.block_on(arrivals.recv()).context("a client")?;
    }
    let ours_memory = (resident_kilobytes()? - alone) / clients as f64;
    let mut ours = Vec::new();
    for _ in 0..TICKS {
        let stored = pod.year.next().context("a record")?;
        let sent = Instant::now();
        servers.block_on(pod.next.send(Batch {
            entries: vec![entry(&stored)],
            pending: 0,
            first: Sequence(1),
        }))?;
        ours.push(servers.block_on(all(&mut arrivals, count, sent))?);
        std::thread::sleep(PAUSE);
    }
    drop(arrivals);

    let (feed, address) = servers.block_on(raw())?;
    let before = resident_kilobytes()?;
    let (seen, mut arrivals) = mpsc::unbounded_channel();
    readers.block_on(follow(address, "/", count, &seen))?;
    for _ in 0..count {
        readers.block_on(arrivals.recv()).context("a client")?;
    }
    let raw_memory = (resident_kilobytes()? - before) / clients as f64;
    let event = vec![b'x'; 300];
    let mut theirs = Vec::new();
    for _ in 0..TICKS {
        let sent = Instant::now();
        feed.send(Arc::new(event.clone()))?;
        theirs.push(servers.block_on(all(&mut arrivals, count, sent))?);
        std::thread::sleep(PAUSE);
    }
    let about = [
        format!(
            "{clients} clients on one connection each, {TICKS} ticks; the clients' own memory counts for both"
        ),
        "Tickwell: from the message of the log to the last client, including ingesting and storing"
            .to_owned(),
        "the other: one write of prepared bytes per client".to_owned(),
        "the target is 12 kB a client".to_owned(),
    ];
    let lines = [
        line("a tick at all clients, median", "ms", median(ours), median(theirs)),
        line("memory a client", "kB", ours_memory, raw_memory),
    ];
    report::write("streams", "raw sockets", &about, &lines)
}

/// Connects this many clients. Each client sends the time to `seen` when it has received an event.
async fn follow(
    address: SocketAddr,
    path: &str,
    count: usize,
    seen: &mpsc::UnboundedSender<Instant>,
) -> Result<()> {
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes()).await?;
        let seen = seen.clone();
        tokio::spawn(async move {
            let mut bytes = [0; 2_048];
            let mut tail = Vec::new();
            while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                // An event may be split between reads, and a read may contain several events.
                tail.extend_from_slice(&bytes[..length]);
                let is_event =
                    |bytes: &[u8]| bytes.windows(6).any(|part| part == b"data: ") || bytes.contains(&b'x');
                if (tail.ends_with(b"\n\n\r\n") || tail.ends_with(b"xxxx")) && is_event(&tail) {
                    tail.clear();
                    if seen.send(Instant::now()).is_err() {
                        return;
                    }
                }
            }
        });
    }
    Ok(())
}

/// The time until all clients have the tick, in milliseconds.
async fn all(arrivals: &mut mpsc::UnboundedReceiver<Instant>, count: usize, sent: Instant) -> Result<f64> {
    let mut last = sent;
    for _ in 0..count {
        last = last.max(arrivals.recv().await.context("a client has disconnected")?);
    }
    Ok((last - sent).as_secs_f64() * 1_000.0)
}

/// A server that writes given bytes to all its connections.
async fn raw() -> Result<(broadcast::Sender<Arc<Vec<u8>>>, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (feed, _) = broadcast::channel::<Arc<Vec<u8>>>(16);
    let sender = feed.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut events = sender.subscribe();
            tokio::spawn(async move {
                let _ = stream.write_all(b"xxxx").await;
                while let Ok(event) = events.recv().await {
                    if stream.write_all(&event).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok((feed, address))
}

fn resident_kilobytes() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()?)
}
