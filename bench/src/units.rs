//! What a request, a tick and a stream client cost a pod, and a tick in the log, on disk and in memory.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use async_nats::jetstream;
use common::domain::{Body, Tick};
use ledger::{
    summary::Point,
    window::{Window, WindowTick},
};
use poller::PollerConfig;
use serde_json::{Value, json};
use testkit::nats::NatsServer;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::timeout,
};

use crate::{
    http::{ask, fill, load},
    rebuild::publish,
    report::{self, digits, median},
    server::Server,
    store::resident_bytes,
    streams,
    year::{self, Year},
};

/// The requests: the name in the table, the path, the same path as the pod has not kept its response, and whether the
/// client already has the response.
const ROUTES: [(&str, &str, Option<&str>, bool); 6] = [
    ("newest price", "/v1/prices/BTC-USD", Some("?min_sources=1"), false),
    ("newest price, not modified", "/v1/prices/BTC-USD", None, true),
    ("all prices", "/v1/prices", Some("?"), false),
    ("averages of 10m, 1h, 24h", "/v1/prices/BTC-USD/averages?window=10m,1h,24h", Some("&"), false),
    ("history, 100 ticks", "/v1/prices/BTC-USD/history", Some("?limit=100"), false),
    ("48 candles of an hour", "/v1/prices/BTC-USD/candles?interval=1h", Some("&limit=100"), false),
];

/// How many ticks a pod ingests, one after the other.
const TICKS: u64 = 2_000;

/// The number of messages in the log whose size is measured.
const MESSAGES: u64 = 20_000;

/// The number of ticks in memory whose size is measured.
const POINTS: usize = 500_000;

/// How long a client waits for a tick.
const LIMIT: Duration = Duration::from_secs(10);

/// A line of the results.
struct Unit {
    about: &'static str,
    name: String,
    unit: &'static str,
    value: f64,
}

pub fn run(seconds: u64, rounds: u64) -> Result<()> {
    // First, because it compares the memory of this process before and after.
    let in_memory = memory_of_a_tick()?;
    let mut units = requests(Duration::from_secs(seconds), rounds)?;
    let mut add = |about, name: &str, unit, value| {
        units.push(Unit { about, name: name.to_owned(), unit, value });
    };
    add("a tick", "CPU time of a pod, from the log to one stream client", "µs", cpu_of_a_tick()?);
    add("a tick", "in the log, on each NATS server", "B", Runtime::new()?.block_on(bytes_in_the_log())?);
    add("a tick", "on the disk of a pod, after a year", "B", result_of("store", "on disk, a record")?);
    add("a tick", "in the memory of a pod, for 24 hours", "B", in_memory);
    for way in ["server-sent events", "NDJSON", "WebSocket"] {
        let of = |what: &str| result_of("streams", &format!("{way}: {what}"));
        add(
            "a stream client",
            &format!("CPU time for a tick, {way}"),
            "µs",
            of("CPU time for a tick and client")?,
        );
        add("a stream client", &format!("memory, {way}"), "kB", of("memory for a client")?);
    }
    add("a day", "requests to exchanges, for any number of pods and clients", "", upstream_requests()?);
    write(seconds, rounds, &units)
}

/// The CPU time of requests. The pod responds first with responses that it has kept, and then with computed ones.
fn requests(time: Duration, rounds: u64) -> Result<Vec<Unit>> {
    let clients = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let server = Server::start(&["telemetry-pod", "logging"])?;
    let measure = |path: &str, known: bool| -> Result<f64> {
        let (request, answer) = clients.block_on(ask(server.address, path, known))?;
        let mut costs = Vec::new();
        for _ in 0..rounds {
            let before = server.cpu_micros()?;
            let rate = clients.block_on(load(server.address, &request, answer.len(), time))?;
            costs.push((server.cpu_micros()? - before) / (rate * time.as_secs_f64()));
        }
        Ok(median(costs))
    };
    let mut units = Vec::new();
    for (name, path, _, known) in ROUTES {
        let (name, value) = (name.to_owned(), measure(path, known)?);
        units.push(Unit { about: "a request, response kept", name, unit: "µs", value });
    }
    clients.block_on(fill(server.address))?;
    for (name, path, other, _) in ROUTES {
        if let Some(other) = other {
            let (name, value) = (name.to_owned(), measure(&format!("{path}{other}"), false)?);
            units.push(Unit { about: "a request, response computed", name, unit: "µs", value });
        }
    }
    Ok(units)
}

/// The CPU time of a pod that ingests one tick after the other and sends each to one client.
fn cpu_of_a_tick() -> Result<f64> {
    let readers = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut server = Server::start(&["streams-server", streams::POD])?;
    let arrived = Arc::new(AtomicU64::new(0));
    let (ready, mut all) = mpsc::unbounded_channel();
    let (_, request) = streams::WAYS[0];
    let _connected = readers.block_on(streams::connect(server.address, request, 1, &arrived, &ready))?;
    readers.block_on(async { timeout(LIMIT, all.recv()).await })?.context("the client")?;
    let before = server.cpu_micros()?;
    for _ in 0..TICKS {
        while all.try_recv().is_ok() {}
        arrived.store(0, Ordering::SeqCst);
        server.tell("tick")?;
        readers.block_on(async { timeout(LIMIT, all.recv()).await })?.context("a tick")?;
    }
    Ok((server.cpu_micros()? - before) / TICKS as f64)
}

/// The size of a tick in the log, with its headers, as a NATS server reports it.
async fn bytes_in_the_log() -> Result<f64> {
    let server = NatsServer::start().await?;
    publish(&server, MESSAGES).await?;
    let context = jetstream::new(async_nats::connect(server.url()).await?);
    let state = context.get_stream("TICKS").await?.get_info().await?.state;
    Ok(state.bytes as f64 / state.messages as f64)
}

/// By how much a window of many ticks makes this process larger, for each tick.
fn memory_of_a_tick() -> Result<f64> {
    let before = resident_bytes()?;
    let ticks = Year::new(365).filter_map(|stored| match stored.record.body {
        Body::Tick(Tick { slot, interval, price, backfilled, .. })
            if stored.record.pair.to_string() == year::PAIRS[0] =>
        {
            let point = Point { slot, interval, price, backfilled };
            Some(WindowTick { point, sequence: stored.sequence })
        }
        _ => None,
    });
    let window = ticks.take(POINTS).fold(Window::default(), Window::push);
    let after = resident_bytes()?;
    drop(window);
    Ok((after - before) as f64 / POINTS as f64)
}

/// The requests for prices that a poller with default settings sends in a day, to all exchanges together.
fn upstream_requests() -> Result<f64> {
    // Fails only if there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = PollerConfig::default().resolve()?;
    let requests: usize = settings.members.iter().map(|member| member.source.about().requests).sum();
    Ok(requests as f64 * 86_400_000.0 / settings.interval.millis() as f64)
}

/// The value of a line in the results of another benchmark.
fn result_of(scenario: &str, name: &str) -> Result<f64> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("results/{scenario}.json"));
    let results: Value = serde_json::from_slice(&fs::read(file)?)?;
    let lines = results["lines"].as_array().context("lines")?;
    let line = lines.iter().find(|line| line["name"] == name);
    line.and_then(|line| line["tickwell"].as_f64())
        .with_context(|| format!("{scenario} has no result {name}"))
}

fn write(seconds: u64, rounds: u64, units: &[Unit]) -> Result<()> {
    let about = [
        format!(
            "requests: 64 connections, one request at a time each; median of {rounds} rounds of {seconds} s"
        ),
        "CPU time is that of the pod's whole process, with the time that the kernel spends for it".to_owned(),
        "stream clients and the disk of a pod: from the results of `streams` and `store`".to_owned(),
        "ticks have the quotes of three sources, without order books".to_owned(),
        "requests to exchanges: for prices, with the default settings (two pairs, three sources, 10 s)"
            .to_owned(),
    ];
    let mut table = "# units\n\n".to_owned();
    about.iter().for_each(|fact| table.push_str(&format!("- {fact}\n")));
    table.push_str("\n| of | what | |\n|---|---|--:|\n");
    for Unit { about, name, unit, value } in units {
        table.push_str(&format!("| {about} | {name} | {} {unit} |\n", digits(*value)));
    }
    println!("{table}");
    let line = |unit: &Unit| json!({ "of": unit.about, "name": unit.name, "unit": unit.unit, "tickwell": unit.value });
    let json = json!({
        "scenario": "units", "commit": report::commit(), "about": about,
        "lines": units.iter().map(line).collect::<Vec<_>>(),
    });
    report::save("units", &table, &json)
}
