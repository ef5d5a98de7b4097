//! A subscriber of the log that uses none of our code: a Python program and the public AsyncAPI document.

use std::{path::Path, process::Stdio};

use serde_json::Value;
use testkit::{Venue, nats::NatsServer, require_nats, wait_until};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    agreement::{PAIR, history},
    audit::audit,
    harness::{DEADLINE, INTERVAL, Pod, Scene, moving_upstream, slots_pass, world},
    records::{self, Kind, Record},
    survival::end,
    tools::{python, workspace},
};

/// How many records the subscriber receives as they are published.
const HEARD: &str = "8";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_receives_what_the_document_promises() {
    require_nats!();
    let Some(python) = python() else { return };
    let nats = NatsServer::start().await.unwrap();
    let upstream = moving_upstream(INTERVAL).await;
    let scene =
        Scene::new(INTERVAL).asking(&upstream).over(&nats).with("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD");
    let scene = scene.with_short_lease();

    // Produce every kind of record: ticks, gaps with quotes, a lead, a gap without quotes.
    let mut poller = scene.poller().await;
    let pod = scene.pod("pod").await;
    record_comes(&pod, |record| record.is_tick()).await;
    upstream.set_down(Venue::Kraken, true);
    upstream.set_down(Venue::Bitstamp, true);
    record_comes(&pod, |record| record.cause.is_some() && record.verdict("kraken") == "http_5xx").await;
    upstream.set_down(Venue::Kraken, false);
    upstream.set_down(Venue::Bitstamp, false);
    record_comes(&pod, |record| record.is_tick()).await;
    poller.kill();
    slots_pass(3, INTERVAL).await;
    poller = scene.poller().await;

    let document = workspace().join("docs/asyncapi.yaml");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/subscriber.py");
    let mut command = tokio::process::Command::new(python);
    command.arg(script).arg(nats.url()).arg(document).arg(HEARD).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    end(&mut poller).await;

    assert_eq!(found["errors"].as_array().unwrap(), &Vec::<Value>::new());
    assert_eq!(found["heard"].to_string(), HEARD);
    let replayed = found["replayed"].as_array().unwrap();
    pod.reaches(replayed.last().unwrap()["sequence"].as_u64().unwrap()).await;
    compare_records(replayed, &records::all(&pod).await);
    compare_history(replayed, &pod).await;
}

/// Compares the replayed records with those that the API returns.
fn compare_records(replayed: &[Value], records: &[Record]) {
    let findings = audit(records);
    assert!(findings.ticks > 0 && findings.gaps > 2 && findings.leaders == 4, "{findings:?}");
    for (theirs, ours) in replayed.iter().zip(records) {
        let kind = match ours.kind {
            Kind::Tick => "tick",
            Kind::Gap => "gap",
            Kind::Lead => "lead",
        };
        assert_eq!((&theirs["sequence"], &theirs["kind"]), (&ours.sequence.into(), &kind.into()));
        assert_eq!((&theirs["pair"], &theirs["epoch"]), (&ours.pair.clone().into(), &ours.epoch.into()));
        assert_eq!(
            (theirs["price"].as_str(), theirs["cause"].as_str()),
            (ours.price.as_deref(), ours.cause.as_deref())
        );
    }
}

/// Compares the replayed prices with the API's history, up to the end of the replay.
async fn compare_history(replayed: &[Value], pod: &Pod) {
    let theirs: Vec<(u64, String)> = replayed
        .iter()
        .filter(|record| record["kind"] == "tick" && record["pair"] == PAIR)
        .map(|record| (record["sequence"].as_u64().unwrap(), record["price"].as_str().unwrap().to_owned()))
        .collect();
    let ours: Vec<(u64, String)> = history(pod, "asc", 1_000)
        .await
        .into_iter()
        .map(|point| (point.sequence, point.price))
        .take(theirs.len())
        .collect();
    assert!(!theirs.is_empty());
    assert_eq!(theirs, ours);
}

/// Waits for a new record with quotes that `wanted` accepts.
async fn record_comes(pod: &Pod, wanted: impl Fn(&Record) -> bool) {
    let mut next = pod.sequence().await + 1;
    wait_until("a record of the wanted kind", DEADLINE, async || {
        while next <= pod.sequence().await {
            let record = records::at(pod, next).await;
            next += 1;
            if record.quotes.is_some() && wanted(&record) {
                return Some(());
            }
        }
        None
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_subscriber_prints_prices() {
    require_nats!();
    let Some(python) = python() else { return };
    let (mut nats, _upstream, scene) = world().await;
    let _poller = scene.poller().await;
    let said = scene.folder().join("said");
    let mut command = tokio::process::Command::new(python);
    command.stderr(std::fs::File::create(&said).unwrap());
    command.arg(workspace().join("docs/examples/subscribe.py")).arg(nats.url()).arg("ticks.BTC.*");
    let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut prints = async || {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words[0] == PAIR, "{line}");
        words[2].parse::<f64>().is_ok()
    };
    assert!(prints().await, "a price");
    // It reports a lost connection in a line, and goes on.
    nats.kill();
    let said = async || std::fs::read_to_string(&said).unwrap();
    wait_until("a report", DEADLINE, async || said().await.contains("NATS: ").then_some(())).await;
    nats.restart().await.unwrap();
    while !prints().await {}
    let said = said().await;
    assert!(!said.contains("Traceback"), "{said}");
}
