//! `EventSource` clients, which never reconnect after a response other than 200: none of them gives up, and none loses an
//! event or receives one twice.

use std::process::Stdio;

use async_nats::jetstream;
use serde_json::Value;
use testkit::{nats::NatsServer, require_nats};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
    time::timeout,
};

use crate::{
    agreement::PAIR,
    author::Author,
    client_streams::same_events,
    harness::{DEADLINE, Pod, Scene},
    tools::{browser_script, node_packages},
};

/// How many times the pod is killed. The environment variable overrides this number.
const RESTARTS: usize = 8;
const RESTARTS_VARIABLE: &str = "TICKWELL_EVENT_SOURCE_RESTARTS";

const PAIRS: [&str; 2] = [PAIR, "ETH-USD"];

/// The first slot of the log, and that of the log that replaces it: 1 October and 1 November 2026.
const FIRST_SLOTS: [i64; 2] = [1_790_812_800_000, 1_793_491_200_000];

/// A process with one client.
struct Client {
    name: &'static str,
    lines: Lines<BufReader<ChildStdout>>,
    /// The events, without those about the connection.
    events: Vec<Heard>,
    connections: usize,
    /// The codes of the streams' ends.
    ends: Vec<String>,
    _process: Child,
}

struct Heard {
    kind: String,
    data: Value,
}

impl Client {
    /// Starts a client of each implementation that is installed.
    fn start_all(url: &str) -> Vec<Self> {
        let has_package = node_packages("eventsource").is_some();
        let names = [has_package.then_some("npm"), Some("browser")].into_iter().flatten();
        names.filter_map(|name| Self::start(name, url)).collect()
    }

    fn start(name: &'static str, url: &str) -> Option<Self> {
        let mut process =
            browser_script("event_source.mjs")?.args([name, url]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Some(Self { name, lines, events: Vec::new(), connections: 0, ends: Vec::new(), _process: process })
    }

    /// Reads until there is an event that is `enough`.
    async fn hears(&mut self, enough: impl Fn(&Heard) -> bool) {
        while !self.events.last().is_some_and(&enough) {
            let line = timeout(DEADLINE, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("{}: nothing more; ends: {:?}", self.name, self.ends));
            let line = line.unwrap().unwrap_or_else(|| panic!("{}: the client has ended", self.name));
            let mut said: Value = serde_json::from_str(&line).unwrap();
            let (kind, data) = (said["kind"].as_str().unwrap().to_owned(), said["data"].take());
            match kind.as_str() {
                "open" => self.connections += 1,
                "error" => assert_eq!(said["closed"], false, "{} gave up; ends: {:?}", self.name, self.ends),
                "end" => self.ends.push(data["code"].as_str().unwrap().to_owned()),
                _ => {
                    assert!(kind == "reset" || said["id"] == data["id"], "{line}");
                    self.events.push(Heard { kind, data });
                }
            }
        }
    }

    async fn hears_sequence(&mut self, sequence: u64) {
        self.hears(|event| event.data["sequence"] == sequence && event.kind != "reset").await;
    }
}

fn data(events: &[Heard]) -> Vec<Value> {
    events.iter().map(|event| event.data.clone()).collect()
}

/// A pod that is killed and started again at the same address.
struct Restarted {
    scene: Scene,
    pod: Pod,
}

impl Restarted {
    async fn start(nats: &NatsServer) -> Self {
        let scene = Scene::new(std::time::Duration::from_secs(60)).over(nats);
        let pod = scene.pod("pod").await;
        let address = pod.url.strip_prefix("http://").unwrap().to_owned();
        Self { scene: scene.with("TICKWELL__API__LISTEN", &address), pod }
    }

    async fn start_again(&mut self) {
        self.pod = self.scene.waiting_pod("pod").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_source_gives_up_while_its_pod_is_killed_and_its_log_is_replaced() {
    require_nats!();
    let restarts = std::env::var(RESTARTS_VARIABLE).map_or(RESTARTS, |number| number.parse().unwrap());
    let nats = NatsServer::start().await.unwrap();
    let mut author = Author::begin(&nats, 1, &PAIRS, FIRST_SLOTS[0]).await;
    author.write_up_to(10).await;
    let mut restarted = Restarted::start(&nats).await;
    let mut clients = Client::start_all(&format!("{}/v1/stream?after=0", restarted.pod.url));
    for client in &mut clients {
        client.hears_sequence(author.last()).await;
    }
    let begun = tokio::time::Instant::now();
    for round in 0..restarts {
        author.write_up_to(author.written().len() + 3).await;
        // In every second round, the pod is killed before some clients have connected again.
        for client in clients.iter_mut().filter(|_| round % 2 == 0) {
            client.hears_sequence(author.last()).await;
        }
        restarted.pod.process.kill();
        author.write_up_to(author.written().len() + 2).await;
        restarted.start_again().await;
    }
    for client in &mut clients {
        client.hears_sequence(author.last()).await;
        same_events(&data(&client.events), author.written().iter());
        assert_eq!(client.events.len(), author.written().len(), "{}", client.name);
        println!(
            "{}: {restarts} restarts in {:?}, {} connections, {} events; ends: {:?}",
            client.name,
            begun.elapsed(),
            client.connections,
            client.events.len(),
            client.ends
        );
        client.events.clear();
    }
    follow_another_log(&nats, &mut clients).await;
}

/// Replaces the log. The pod discards its copy and copies the new log, and the clients start again.
async fn follow_another_log(nats: &NatsServer, clients: &mut [Client]) {
    let log = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    log.delete_stream("TICKS").await.unwrap();
    let mut author = Author::begin(nats, 2, &PAIRS, FIRST_SLOTS[1]).await;
    author.write_up_to(50).await;
    for client in &mut *clients {
        client.hears(|event| event.kind == "reset").await;
        client.events.retain(|event| event.kind == "reset");
        assert_eq!(client.events[0].data["code"], "unknown_cursor", "{}", client.name);
    }
    author.write_up_to(100).await;
    for client in clients {
        client.hears_sequence(author.last()).await;
        let reset = client.events[0].data["sequence"].as_u64().unwrap();
        let events = data(&client.events[1..]);
        // A stream begins with at most a tick and a gap of each pair.
        let old = events.iter().take_while(|event| event["sequence"].as_u64().unwrap() <= reset).count();
        assert!(old <= 2 * PAIRS.len(), "{}: {old} events up to {reset}", client.name);
        let new = author.written().iter().filter(|written| written.sequence > reset);
        same_events(&events[old..], new.clone());
        assert_eq!(events.len() - old, new.count(), "{}", client.name);
        println!("{}: reset to {reset}; ends: {:?}", client.name, client.ends);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_source_gives_up_over_the_rate_limit() {
    require_nats!();
    let nats = NatsServer::start().await.unwrap();
    let mut author = Author::begin(&nats, 1, &PAIRS, FIRST_SLOTS[0]).await;
    author.write_up_to(10).await;
    let scene = Scene::new(std::time::Duration::from_secs(60)).over(&nats);
    // A client that has sent too many requests may send one more every three seconds.
    let limited = scene.command("pod").env("TICKWELL__API__RATE_LIMIT", "20/m").arg("api");
    let pod = Pod::of(limited.start().unwrap()).await;
    while pod.get("/v1/pairs").await.status == 200 {}
    let url = format!("{}/v1/stream?after=0", pod.url);
    if node_packages("eventsource").is_none() {
        return;
    }
    for _client in 0..2 {
        let mut client = Client::start("npm", &url).unwrap();
        client.hears_sequence(author.last()).await;
        assert_eq!(client.ends.first().map(String::as_str), Some("rate_limited"));
        same_events(&data(&client.events), author.written().iter());
        while pod.get("/v1/pairs").await.status == 200 {}
    }
}
