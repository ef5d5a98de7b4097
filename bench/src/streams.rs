//! Measures what each stream client costs, and how long it takes until all clients have a tick. Compares both with a
//! server that only writes prepared bytes to the same number of sockets.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use common::{bus::Batch, domain::Sequence};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::{broadcast, mpsc},
    task::JoinSet,
};

use crate::{
    pod::{Pod, entry},
    report::{self, line, median},
    server::Server,
};

/// The number of ticks that are sent in each round.
const TICKS: usize = 30;

/// The pause between two ticks. It begins when all clients have received the first of the two.
const PAUSE: Duration = Duration::from_millis(50);

/// How long the clients wait for a tick.
const LIMIT: Duration = Duration::from_secs(60);

/// The argument of the server that only writes prepared bytes.
const RAW: &str = "raw";

/// The argument of the process with a pod.
pub const POD: &str = "pod";

/// How clients follow a pod: the name in the table, and the head of the request.
pub const WAYS: [(&str, &str); 3] = [
    ("server-sent events", "GET /v1/stream HTTP/1.1\r\nhost: bench\r\n\r\n"),
    ("NDJSON", "GET /v1/stream?format=ndjson HTTP/1.1\r\nhost: bench\r\n\r\n"),
    (
        "WebSocket",
        "GET /v1/ws HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ),
];

/// What was measured in a round.
struct Costs {
    /// Milliseconds until the last client has a tick.
    tick: f64,
    /// Resident memory, in kilobytes for each client.
    memory: f64,
    /// CPU time for each tick and client, in microseconds.
    cpu: f64,
}

pub fn run(clients: u64, rounds: u64) -> Result<()> {
    // Each round is divided by the raw sockets of the same round, because the load on the machine changes.
    let mut lines = Vec::new();
    let measured = (0..rounds)
        .map(|_| {
            let raw = measure(RAW, "GET / HTTP/1.1\r\n\r\n", clients)?;
            let ours = WAYS.iter().map(|(_, request)| measure(POD, request, clients));
            Ok((raw, ours.collect::<Result<Vec<_>>>()?))
        })
        .collect::<Result<Vec<_>>>()?;
    for (place, (name, _)) in WAYS.iter().enumerate() {
        let mut add = |what: &str, unit, of: fn(&Costs) -> f64| {
            let base = median(measured.iter().map(|(raw, _)| of(raw)).collect());
            let ratios = measured.iter().filter_map(|(raw, ours)| Some(of(ours.get(place)?) / of(raw)));
            lines.push(line(&format!("{name}: {what}"), unit, median(ratios.collect()) * base, base));
        };
        add("a tick at all clients", "ms", |costs| costs.tick);
        add("CPU time for a tick and client", "µs", |costs| costs.cpu);
        add("memory for a client", "kB", |costs| costs.memory);
    }
    let about = [
        format!("{clients} clients on one connection each, {TICKS} ticks; median of {rounds} rounds"),
        "each server is a process of its own; the clients share the machine with it".to_owned(),
        "Tickwell: from the message of the log to the last client, including ingesting and storing"
            .to_owned(),
        "the other: one write of prepared bytes per client".to_owned(),
        "the targets are 12 kB for a client, and a ratio of 1.2 for a tick".to_owned(),
    ];
    report::write("streams", "raw sockets", &about, &lines)
}

/// The memory of a process before there are clients, and what its clients cost.
fn measure(server: &str, request: &str, clients: u64) -> Result<Costs> {
    let readers = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut server = Server::start(&["streams-server", server])?;
    let alone = server.resident_kilobytes()?;
    let arrived = Arc::new(AtomicU64::new(0));
    let (ready, mut all) = mpsc::unbounded_channel();
    let mut connected = readers.block_on(connect(server.address, request, clients, &arrived, &ready))?;
    // A client that has connected receives the newest events. They may come in several pieces.
    readers.block_on(async { tokio::time::timeout(LIMIT, all.recv()).await })?.context("the clients")?;
    std::thread::sleep(Duration::from_secs(1));
    let memory = (server.resident_kilobytes()? - alone) / clients as f64;
    let (before, mut times) = (server.cpu_micros()?, Vec::new());
    for _ in 0..TICKS {
        while all.try_recv().is_ok() {}
        arrived.store(0, Ordering::SeqCst);
        let sent = Instant::now();
        server.tell("tick")?;
        let last = readers.block_on(async { tokio::time::timeout(LIMIT, all.recv()).await })?;
        times.push((last.context("a tick")? - sent).as_secs_f64() * 1_000.0);
        std::thread::sleep(PAUSE);
    }
    let cpu = (server.cpu_micros()? - before) / (TICKS as f64 * clients as f64);
    connected.abort_all();
    Ok(Costs { tick: median(times), memory, cpu })
}

/// Connects this many clients. Whenever `arrived` shows that as many events have arrived, sends the time.
pub async fn connect(
    address: SocketAddr,
    request: &str,
    clients: u64,
    arrived: &Arc<AtomicU64>,
    all: &mpsc::UnboundedSender<Instant>,
) -> Result<JoinSet<()>> {
    let mut connected = JoinSet::new();
    for _ in 0..clients {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let (arrived, all) = (arrived.clone(), all.clone());
        connected.spawn(async move {
            let mut bytes = [0; 1_024];
            while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                let last = bytes.iter().take(length).rfind(|byte| !matches!(byte, b'\r' | b'\n'));
                if last == Some(&b'}') && arrived.fetch_add(1, Ordering::SeqCst) + 1 == clients {
                    let _ = all.send(Instant::now());
                }
            }
        });
    }
    Ok(connected)
}

/// The process that [`measure`] starts. Sends a tick to all clients for each line of its standard input.
pub fn serve(kind: &str) -> Result<()> {
    let runtime = Runtime::new()?;
    let lines = BufReader::new(std::io::stdin()).lines();
    match kind {
        RAW => {
            let (feed, address) = runtime.block_on(raw())?;
            announce(address)?;
            let event = Arc::new([vec![b'x'; 299], vec![b'}']].concat());
            for _ in lines.map_while(Result::ok) {
                feed.send(event.clone())?;
            }
        }
        POD => {
            let mut pod = runtime.block_on(Pod::start())?;
            announce(pod.address)?;
            for _ in lines.map_while(Result::ok) {
                let stored = pod.year.next().context("a record")?;
                let entries = vec![entry(&stored)];
                runtime.block_on(pod.next.send(Batch { entries, pending: 0, first: Sequence(1) }))?;
            }
        }
        other => bail!("{other}: must be {RAW} or {POD}"),
    }
    Ok(())
}

fn announce(address: SocketAddr) -> Result<()> {
    println!("{address}");
    Ok(std::io::stdout().flush()?)
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
                let _ = stream.write_all(b"x}").await;
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
