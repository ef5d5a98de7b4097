//! Compares a pod with a bare hyper server that returns the same bytes. Both use the same HTTP library and number of
//! connections, and are measured in turns. The difference is the work that Tickwell does for a response.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use crate::{
    pod::Pod,
    report::{self, line, median},
};

/// The number of concurrent connections.
const CONNECTIONS: usize = 64;

/// The requests that clients repeat: the name in the table, the path, and whether the client already has the response.
const REPEATED: [(&str, &str, bool); 5] = [
    ("newest price", NEWEST, false),
    ("newest price, not modified", NEWEST, true),
    ("all prices", "/v1/prices", false),
    ("averages of 10m, 1h, 24h", "/v1/prices/BTC-USD/averages?window=10m,1h,24h", false),
    ("history, 100 ticks", "/v1/prices/BTC-USD/history", false),
];

/// The same requests with other parameters, so that the pod has not kept their responses.
const COMPUTED: [(&str, &str, bool); 3] = [
    ("newest price, computed", "/v1/prices/BTC-USD?min_sources=1", false),
    ("averages, computed", "/v1/prices/BTC-USD/averages?window=10m,1h,1d", false),
    ("history, computed", "/v1/prices/BTC-USD/history?limit=100", false),
];

/// The path of the newest price.
const NEWEST: &str = "/v1/prices/BTC-USD";

/// The maximum number of responses that a pod keeps.
const KEPT: usize = 4_096;

pub fn run(seconds: u64, rounds: u64) -> Result<()> {
    // The servers and the clients have separate threads, so that they do not wait for each other.
    let (servers, clients) =
        (Runtime::new()?, Builder::new_multi_thread().worker_threads(1).enable_all().build()?);
    let pod = servers.block_on(Pod::start())?;
    let mut lines = Vec::new();
    for (place, (name, path, known)) in REPEATED.into_iter().chain(COMPUTED).enumerate() {
        if place == REPEATED.len() {
            clients.block_on(fill(pod.address))?;
        }
        let (request, answer) = clients.block_on(ask(pod.address, path, known))?;
        let bare = servers.block_on(bare(&answer))?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            for (address, rates) in [(pod.address, &mut ours), (bare, &mut theirs)] {
                let length = clients.block_on(exchange(address, &request))?.len();
                rates.push(clients.block_on(load(
                    address,
                    &request,
                    length,
                    Duration::from_secs(seconds),
                ))?);
            }
        }
        eprintln!("{name}: {} bytes", answer.len());
        lines.push(line(name, "/s", median(ours), median(theirs)));
    }
    let about = [
        format!(
            "{CONNECTIONS} connections, one request at a time each; clients have their own thread on the same machine"
        ),
        format!("median of {rounds} rounds of {seconds} s, in turns"),
        "Tickwell: default settings, with limits, metrics, ETags and validation of parameters".to_owned(),
        "the other: hyper, which returns prepared responses of the same length".to_owned(),
        "the pod keeps the responses to repeated requests; the targets are ratios of 0.85, and of 0.5 for computed ones".to_owned(),
    ];
    report::write("http", "bare hyper", &about, &lines)
}

/// Makes the pod keep so many other responses that it computes all further ones for each request.
pub async fn fill(address: SocketAddr) -> Result<()> {
    for number in 0..KEPT {
        ask(address, &format!("{NEWEST}?max_spread=0.5{number:04}"), false).await?;
    }
    Ok(())
}

/// Returns the request for a path, and the pod's response. If `known`, the request contains the `ETag` of the response
/// that the client already has, so the pod responds with 304.
pub async fn ask(address: SocketAddr, path: &str, known: bool) -> Result<(String, String)> {
    let plain = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
    let answer = exchange(address, &plain).await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    if !known {
        return Ok((plain, answer));
    }
    let tag = answer.lines().find_map(|line| line.strip_prefix("etag: ")).context("a tag")?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nif-none-match: {tag}\r\n\r\n");
    let answer = exchange(address, &request).await?;
    ensure!(answer.starts_with("HTTP/1.1 304"), "{answer}");
    Ok((request, answer))
}

/// A server that returns a prepared status, headers and body.
async fn bare(answer: &str) -> Result<SocketAddr> {
    let (head, body) = answer.split_once("\r\n\r\n").context("a head")?;
    let mut lines = head.lines();
    let status: u16 = lines.next().and_then(|line| line.split(' ').nth(1)).context("a status")?.parse()?;
    let skipped = ["date", "content-length"];
    let mut ready = Response::new(Full::new(Bytes::from(body.to_owned())));
    *ready.status_mut() = StatusCode::from_u16(status)?;
    let headers = lines.filter_map(|line| line.split_once(": ")).filter(|(name, _)| !skipped.contains(name));
    for (name, value) in headers {
        ready.headers_mut().append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let ready = ready.clone();
            let service = service_fn(move |_request| std::future::ready(Ok::<_, Infallible>(ready.clone())));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

/// Sends a request and reads the whole response.
async fn exchange(address: SocketAddr, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    // The responses in `load` do not have this header, because their connections stay open.
    Ok(answer.replace("connection: close\r\n", ""))
}

/// Sends requests over all connections for this time. Returns how many responses arrived per second.
pub async fn load(address: SocketAddr, request: &str, length: usize, time: Duration) -> Result<f64> {
    let (answered, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (answered, over, request) = (answered.clone(), over.clone(), request.to_owned());
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut answer = vec![0; length];
            while !over.load(Ordering::Relaxed) {
                stream.write_all(request.as_bytes()).await?;
                stream.read_exact(&mut answer).await?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    let begun = std::time::Instant::now();
    tokio::time::sleep(time).await;
    let rate = answered.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(rate)
}
