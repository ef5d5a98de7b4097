//! Clients that follow the log receive every event once and in order, even if they are disconnected, change pods or
//! start far behind.

use std::path::Path;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use testkit::{nats::NatsServer, require_nats};
use tokio::{sync::watch, time::timeout};

use crate::{
    agreement::PAIR,
    author::{Author, Written},
    harness::{DEADLINE, Pod, Scene},
    stream_client::{Heard, Refusal, Stream, Transport},
    tools::python,
};

/// The seed of all random choices of the test.
const SEED: u64 = 5;

/// How many times the client is disconnected. The environment variable overrides this number.
const CUTS: usize = 200;
const CUTS_VARIABLE: &str = "TICKWELL_STREAM_CUTS";

/// 1 October 2026.
const FIRST_SLOT: i64 = 1_790_812_800_000;

/// The maximum number of bytes that the client receives before it is disconnected: about a hundred events.
const LONGEST_BYTES: usize = 25_000;

/// Every event is longer than this many bytes.
const SHORTEST_EVENT: usize = 150;

/// On average, one of this many connections is chosen for a kill. The client's pod is then killed after a random number
/// of events, unless the client is disconnected earlier. The pod is started again up to `AWAY_FOR` connections later.
const KILLED_IN: u32 = 8;
const AWAY_FOR: usize = 5;

/// How long a pod may take to exit after SIGTERM, even if clients follow it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

const NAMES: [&str; 2] = ["one", "other"];

/// Two pods that are killed and started again.
struct Pods {
    scene: Scene,
    pods: [Option<Pod>; 2],
    /// The number of the connection at which each pod is started again.
    back_at: [usize; 2],
    kills: usize,
}

impl Pods {
    async fn start(nats: &NatsServer) -> Self {
        let scene = Scene::new(std::time::Duration::from_secs(60)).over(nats);
        let pods = [Some(scene.pod(NAMES[0]).await), Some(scene.pod(NAMES[1]).await)];
        Self { scene, pods, back_at: [0; 2], kills: 0 }
    }

    async fn start_again(&mut self, connection: usize) {
        for ((pod, back_at), name) in self.pods.iter_mut().zip(self.back_at).zip(NAMES) {
            if pod.is_none() && connection >= back_at {
                *pod = Some(self.scene.waiting_pod(name).await);
            }
        }
    }

    fn kill(&mut self, at: usize, back_at: usize) {
        if let Some(mut pod) = self.pods[at].take() {
            pod.process.kill();
            self.back_at[at] = back_at;
            self.kills += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_often_disconnected_while_pods_are_killed_receives_everything_once() {
    require_nats!();
    let cuts = std::env::var(CUTS_VARIABLE).map_or(CUTS, |cuts| cuts.parse().unwrap());
    let nats = NatsServer::start().await.unwrap();
    let mut author = Author::begin(&nats, SEED, &[PAIR, "ETH-USD"], FIRST_SLOT).await;
    author.write_up_to(10).await;
    let mut pods = Pods::start(&nats).await;
    let (demand, mut demanded) = watch::channel(0);
    let writing = tokio::spawn(async move {
        while demanded.changed().await.is_ok() {
            let count = *demanded.borrow_and_update();
            author.write_up_to(count).await;
        }
        author
    });

    let mut chance = StdRng::seed_from_u64(SEED);
    let (mut received, mut connections, mut cut) = (Vec::<Value>::new(), 0, 0);
    let mut refusals = std::collections::BTreeMap::<String, usize>::new();
    while cut < cuts {
        connections += 1;
        pods.start_again(connections).await;
        let at = chance.random_range(0..NAMES.len());
        let transport = [Transport::Sse, Transport::Lines, Transport::Socket][chance.random_range(0..3)];
        let bytes = chance.random_range(0..LONGEST_BYTES);
        let dies_after = chance.random_ratio(1, KILLED_IN).then(|| chance.random_range(0..50));
        let back_at = connections + chance.random_range(1..=AWAY_FOR);
        let Some(url) = pods.pods[at].as_ref().map(|pod| pod.url.clone()) else { continue };
        let last = received.last().map(|event| event["id"].as_str().unwrap().to_owned());
        let from = if last.is_none() { "after=0" } else { "" };
        let mut stream = match Stream::open(&url, transport, from, last.as_deref()).await {
            Ok(stream) => stream,
            // A pod that was just started may not listen yet, or may not have read the event after which the client
            // continues.
            Err(refusal) => {
                if let Refusal::Refused(status, code) = &refusal {
                    assert!([409, 503].contains(status), "{refusal:?}");
                    *refusals.entry(code.clone()).or_default() += 1;
                }
                continue;
            }
        };
        stream.cut_after(bytes);
        // The log must always have more events than the client receives before it is disconnected.
        demand.send_replace(received.len() + bytes / SHORTEST_EVENT + 2);
        let mut heard = 0;
        while let Some(next) = timeout(DEADLINE, stream.next()).await.unwrap() {
            match next {
                Heard::Event(event) => received.push(event),
                Heard::Heartbeat => {}
                // Server-sent events have no refusals that pass: the stream ends instead.
                Heard::Farewell(code) if transport == Transport::Sse && code == "unknown_cursor" => {
                    *refusals.entry(code).or_default() += 1;
                }
                Heard::Farewell(why) => panic!("the pod ended the stream: {why}"),
            }
            heard += 1;
            if Some(heard) == dies_after {
                pods.kill(at, back_at);
            }
        }
        cut += 1;
    }
    drop(demand);
    let author = writing.await.unwrap();
    println!(
        "{cut} cuts, {connections} connections, {} kills, {} events; refused: {refusals:?}",
        pods.kills,
        received.len()
    );
    assert!(pods.kills > cuts / 40, "{} kills", pods.kills);
    compare(&received, &author);
}

/// Checks that the received events are the first records that were written, in the same order.
fn compare(received: &[Value], author: &Author) {
    same_events(received, author.written().iter());
    assert!(received.len() <= author.written().len());
}

pub(crate) fn same_events<'a>(received: &[Value], written: impl Iterator<Item = &'a Written>) {
    assert!(!received.is_empty());
    let (log, _) = received[0]["id"].as_str().unwrap().split_once('-').unwrap();
    for (at, (event, written)) in received.iter().zip(written).enumerate() {
        assert_eq!(event, &written.event(log), "event {at} of {}", received.len());
    }
}

/// The next `count` events of a stream that must not end.
pub(crate) async fn events(stream: &mut Stream, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    while events.len() < count {
        match timeout(DEADLINE, stream.next()).await.unwrap() {
            Some(Heard::Event(event)) => events.push(event),
            Some(Heard::Heartbeat) => {}
            end => panic!("the stream ended after {} events of {count}: {end:?}", events.len()),
        }
    }
    events
}

/// Follows a long log from its beginning and then while it grows, once for all pairs and once for a single pair. Checks
/// that every event arrives.
pub(crate) async fn everything_is_streamed(pod: &Pod, author: &mut Author) {
    let (before, more) = (author.written().len(), 40);
    let of_pair = |author: &Author| author.up_to(PAIR, author.last()).count();
    let before_of_pair = of_pair(author);
    let mut all = Stream::open(&pod.url, Transport::Sse, "after=0", None).await.unwrap();
    let mut one = Stream::open(&pod.url, Transport::Lines, "after=0&pairs=btc_usd", None).await.unwrap();
    let (mut of_all, mut of_one) = tokio::join!(events(&mut all, before), events(&mut one, before_of_pair));
    author.write_up_to(before + more).await;
    of_all.extend(events(&mut all, author.written().len() - before).await);
    of_one.extend(events(&mut one, of_pair(author) - before_of_pair).await);
    same_events(&of_all, author.written().iter());
    same_events(&of_one, author.up_to(PAIR, author.last()));
}

/// A log with a few records, and two pods.
async fn small_log() -> (NatsServer, Author, Pods) {
    let nats = NatsServer::start().await.unwrap();
    let mut author = Author::begin(&nats, SEED, &[PAIR, "ETH-USD"], FIRST_SLOT).await;
    author.write_up_to(20).await;
    let pods = Pods::start(&nats).await;
    for pod in pods.pods.iter().flatten() {
        pod.reaches(author.last()).await;
    }
    (nats, author, pods)
}

const TRANSPORTS: [Transport; 3] = [Transport::Sse, Transport::Lines, Transport::Socket];

/// The transports that refuse a cursor. A stream of server-sent events begins with a reset instead.
const STRICT: [Transport; 2] = [Transport::Lines, Transport::Socket];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_is_not_of_this_log_is_refused() {
    require_nats!();
    let (_nats, author, pods) = small_log().await;
    let pod = pods.pods[0].as_ref().unwrap();
    let mut stream = Stream::open(&pod.url, Transport::Sse, "after=0", None).await.unwrap();
    let id = events(&mut stream, 1).await[0]["id"].as_str().unwrap().to_owned();
    let (log, _) = id.split_once('-').unwrap();
    let last = author.last();
    for (cursor, expected) in [
        (format!("{log}-{last}"), None),
        (format!("{log}-{}", last + 1), Some((409, "unknown_cursor"))),
        (format!("other-{last}"), Some((409, "unknown_cursor"))),
        ("nonsense-".to_owned(), Some((400, "invalid_parameter"))),
    ] {
        for transport in STRICT {
            let refused = match Stream::open(&pod.url, transport, "", Some(&cursor)).await {
                Ok(_) => None,
                Err(Refusal::Refused(status, code)) => Some((status, code)),
                Err(Refusal::Away) => panic!("{cursor} by {transport:?}: no response"),
            };
            let refused = refused.as_ref().map(|(status, code)| (*status, code.as_str()));
            assert_eq!(refused, expected, "{cursor} by {transport:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn third_party_clients_continue_after_each_other() {
    require_nats!();
    let Some(python) = python() else { return };
    let (_nats, author, pods) = small_log().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/follower.py");
    let mut command = tokio::process::Command::new(python);
    // The script runs four clients, each of which reads a quarter of the log.
    command.arg(script).arg((author.written().len() / 4).to_string());
    command.args(pods.pods.iter().flatten().map(|pod| &pod.url)).kill_on_drop(true);
    let output = timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let received: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(received.len(), author.written().len() / 4 * 4);
    compare(&received, &author);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_stream_sends_heartbeats_and_sigterm_ends_it_with_a_reason() {
    require_nats!();
    let (_nats, mut author, mut pods) = small_log().await;
    let (pod, before) = (pods.pods[0].as_mut().unwrap(), author.written().len());
    let mut streams = Vec::new();
    for transport in TRANSPORTS {
        let behind = format!("after={}", author.last());
        let stream = Stream::open(&pod.url, transport, &behind, None).await.unwrap();
        streams.push((transport, stream));
    }
    for (transport, stream) in &mut streams {
        let next = timeout(DEADLINE, stream.next()).await.unwrap();
        assert_eq!(next, Some(Heard::Heartbeat), "{transport:?}");
    }
    author.write_up_to(before + 2).await;
    pod.reaches(author.last()).await;
    pod.process.signal("TERM").unwrap();
    let written: Vec<Value> =
        author.written()[before..].iter().map(|written| serde_json::json!(written.sequence)).collect();
    for (transport, stream) in &mut streams {
        let (mut sequences, mut farewell) = (Vec::new(), None);
        while let Some(heard) = timeout(DEADLINE, stream.next()).await.unwrap() {
            match heard {
                Heard::Event(event) => sequences.push(event["sequence"].clone()),
                Heard::Heartbeat => {}
                Heard::Farewell(why) => farewell = Some(why),
            }
        }
        assert_eq!(sequences, written, "{transport:?}");
        assert_eq!(farewell.as_deref(), Some("shutting_down"), "{transport:?}");
    }
    let status = pod.process.wait_exit(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(0));
}
