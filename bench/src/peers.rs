//! Compares a pod with what people would run instead, and with a web server that only sends a file. Each of them runs in
//! processes of its own, and the same clients request the newest price from one after the other.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::{Venue, market::WalkMarket, upstream::FakeUpstream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use crate::{
    report::{self, digits, median},
    server::Server,
};

/// The number of concurrent connections.
const CONNECTIONS: usize = 64;

/// The interval of the fake exchange's prices.
const INTERVAL: Duration = Duration::from_secs(10);

const REQUEST: &str = "GET /v1/prices/BTC-USD HTTP/1.1\r\nhost: bench\r\n\r\n";

/// The name in the table, and the argument of `peers/start.py`. The pod is not started by it.
const PEERS: [(&str, Option<&str>); 4] = [
    ("Flask + SQLite, a call to the exchange for each request", Some("flask")),
    ("FastAPI + Redis, a task that asks the exchange", Some("fastapi")),
    ("nginx, a file", Some("nginx")),
    ("Tickwell", None),
];

struct Peer {
    name: &'static str,
    server: Server,
    rates: Vec<f64>,
    /// The 99th percentiles of the time until a response has arrived, in milliseconds.
    slowest: Vec<f64>,
    /// Microseconds of CPU time per request.
    costs: Vec<f64>,
    /// The resident memory after the last round, in megabytes.
    memory: f64,
}

pub fn run(seconds: u64, rounds: u64) -> Result<()> {
    let (upstream, clients) =
        (Runtime::new()?, Builder::new_multi_thread().worker_threads(1).enable_all().build()?);
    let market = Arc::new(WalkMarket::new(1, INTERVAL)?);
    let upstream = upstream.block_on(FakeUpstream::start(market, "127.0.0.1:0"))?;
    let exchange = upstream.venue_url(Venue::Bitstamp);
    let mut peers = PEERS
        .into_iter()
        .map(|(name, peer)| Peer::start(name, peer, &exchange))
        .collect::<Result<Vec<_>>>()?;
    for _ in 0..rounds {
        for peer in &mut peers {
            peer.measure(&clients, Duration::from_secs(seconds))?;
        }
    }
    write(seconds, rounds, &peers)
}

impl Peer {
    fn start(name: &'static str, peer: Option<&str>, exchange: &str) -> Result<Self> {
        let server = match peer {
            Some(peer) => {
                let python = std::env::var("BENCH_PYTHON").context("BENCH_PYTHON; run `just bench peers`")?;
                let start = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/start.py");
                Server::spawn(Command::new(python).arg(start).arg(peer).env("BENCH_UPSTREAM", exchange), true)
            }
            None => Server::start(&["telemetry-pod", "logging"]),
        };
        let server = server.with_context(|| name)?;
        Ok(Self { name, server, rates: Vec::new(), slowest: Vec::new(), costs: Vec::new(), memory: 0.0 })
    }

    fn measure(&mut self, clients: &Runtime, time: Duration) -> Result<()> {
        // Connections, caches and interpreters are warm when the measurement begins.
        clients.block_on(load(self.server.address, time / 5))?;
        let (before, begun) = (self.server.cpu_micros()?, Instant::now());
        let mut took = clients.block_on(load(self.server.address, time))?;
        let elapsed = begun.elapsed().as_secs_f64();
        let count = took.len() as f64;
        self.costs.push((self.server.cpu_micros()? - before) / count);
        self.rates.push(count / elapsed);
        took.sort();
        let slowest = took.get(took.len() * 99 / 100).context("a response")?;
        self.slowest.push(slowest.as_secs_f64() * 1_000.0);
        self.memory = self.server.resident_kilobytes()? / 1_000.0;
        Ok(())
    }
}

/// Sends requests over all connections for this time. Returns how long each response took.
async fn load(address: SocketAddr, time: Duration) -> Result<Vec<Duration>> {
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let over = over.clone();
        clients.spawn(async move {
            let (mut took, mut bytes) = (Vec::new(), Vec::new());
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            while !over.load(Ordering::Relaxed) {
                let sent = Instant::now();
                stream.write_all(REQUEST.as_bytes()).await?;
                read(&mut stream, &mut bytes).await?;
                took.push(sent.elapsed());
            }
            anyhow::Ok(took)
        });
    }
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    while let Some(ended) = clients.join_next().await {
        all.append(&mut ended??);
    }
    Ok(all)
}

/// Reads a response, whose length is that in its head.
async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<()> {
    bytes.clear();
    let head = loop {
        ensure!(stream.read_buf(bytes).await? > 0, "the connection was closed");
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = std::str::from_utf8(bytes.get(..head).context("a head")?)?;
    ensure!(text.starts_with("HTTP/1.1 200"), "{text}");
    let lengths = text.lines().filter_map(|line| line.split_once(':'));
    let length =
        lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value);
    let whole = head + length.last().context("a length")?.trim().parse::<usize>()?;
    while bytes.len() < whole {
        ensure!(stream.read_buf(bytes).await? > 0, "the connection was closed");
    }
    Ok(())
}

fn write(seconds: u64, rounds: u64, peers: &[Peer]) -> Result<()> {
    let about = [
        format!("the newest price; {CONNECTIONS} connections, one request at a time each, which never pause"),
        format!("median of {rounds} rounds of {seconds} s, in turns; memory after the last round"),
        "CPU time and memory are those of all processes of a server (with Redis), without the clients".to_owned(),
        "the exchange is on the same machine and responds at once; a real one takes 50 to 300 ms".to_owned(),
        "Flask runs in gunicorn (2 processes, 32 threads each), FastAPI in uvicorn (2 processes), nginx has 2 workers"
            .to_owned(),
    ];
    let ours = peers.last().map_or(0.0, |peer| median(peer.rates.clone()));
    let mut table = "# peers\n\n".to_owned();
    about.iter().for_each(|fact| table.push_str(&format!("- {fact}\n")));
    table.push_str("\n| | requests | Tickwell has | 99 % within | CPU time of a request | memory |\n");
    table.push_str("|---|--:|--:|--:|--:|--:|\n");
    let mut rows = Vec::new();
    for peer in peers {
        let (rate, slowest, cost) =
            (median(peer.rates.clone()), median(peer.slowest.clone()), median(peer.costs.clone()));
        table.push_str(&format!(
            "| {} | {rate:.0} /s | {} × | {} ms | {} µs | {:.0} MB |\n",
            peer.name,
            digits(ours / rate),
            digits(slowest),
            digits(cost),
            peer.memory
        ));
        rows.push(json!({
            "name": peer.name, "requests_per_second": rate, "p99_ms": slowest, "cpu_micros": cost,
            "memory_mb": peer.memory, "tickwell_ratio": ours / rate,
        }));
    }
    println!("{table}");
    let json: Value =
        json!({ "scenario": "peers", "commit": report::commit(), "about": about, "lines": rows });
    report::save("peers", &table, &json)
}
