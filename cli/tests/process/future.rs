//! A log with records from the future, as a poller whose clock was ahead writes them: what pods say about them, and how an
//! operator gets rid of them.

use async_nats::{HeaderMap, jetstream};
use serde_json::{Value, json};
use testkit::{require_nats, wait_until};

use crate::{
    audit::{audit, nothing_lost},
    harness::{DEADLINE, Pod, Scene, has_price, world},
    nats_stream::operator,
    records::{self, time, time_text},
    survival::end,
};

/// Ten days, which is a multiple of the interval.
const AHEAD_MILLIS: i64 = 240 * 3_600_000;

const INTERVAL_MILLIS: i64 = 500;

/// Publishes a record with the fence, like a poller. Returns its sequence.
async fn publish(log: &jetstream::Context, record: &Value, expected: u64) -> u64 {
    let mut headers = HeaderMap::new();
    let id = format!("ETH-USD:{}", record["slot"].as_str().unwrap());
    headers.insert("Nats-Msg-Id", id);
    headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
    let sent = log.publish_with_headers("ticks.ETH.USD", headers, record.to_string().into()).await;
    sent.unwrap().await.unwrap().sequence
}

/// Continues the chain of ETH-USD up to ten days from now: a gap and then a tick. Returns the sequence of the gap.
async fn poison(log: &jetstream::Context) -> u64 {
    let stream = log.get_stream("TICKS").await.unwrap();
    let newest = stream.get_last_raw_message_by_subject("ticks.ETH.USD").await.unwrap();
    let tick: Value = serde_json::from_slice(&newest.payload).unwrap();
    assert_eq!(tick["kind"], "tick");
    let last = time(tick["slot"].as_str().unwrap()).unwrap();
    let gap = json!({
        "version": 2, "kind": "gap", "pair": "ETH-USD", "from": time_text(last + INTERVAL_MILLIS),
        "slot": time_text(last + AHEAD_MILLIS), "cause": "missed", "interval": tick["interval"],
        "epoch": tick["epoch"], "origin": tick["origin"],
    });
    let first = publish(log, &gap, newest.sequence).await;
    let mut ahead = tick.clone();
    ahead["slot"] = time_text(last + AHEAD_MILLIS + INTERVAL_MILLIS).into();
    publish(log, &ahead, first).await;
    first
}

/// Runs a command until it exits. Returns its output.
async fn succeeds(scene: &Scene, arguments: &[&str]) -> String {
    let mut process = scene.command("unused").args(arguments).start().unwrap();
    let code = process.wait_exit(DEADLINE).await.unwrap().code();
    let said = process.lines().join("\n");
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

async fn is_stale(pod: &Pod, pair: &str) -> bool {
    pod.get(&format!("/v1/prices/{pair}")).await.json()["stale"] == json!(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_from_the_future_can_be_left_out_of_a_restored_log() {
    require_nats!();
    let (nats, _upstream, scene) = world().await;
    let scene = scene.with("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD");
    let log = operator(&nats).await;
    let mut poller = scene.poller().await;
    let pod = scene.pod("pod").await;
    has_price(&pod).await;
    pod.takes_in(8).await;
    end(&mut poller).await;
    let first = poison(&log).await;
    pod.reaches(first + 1).await;

    // Only the pair whose records are ahead is affected. It gets no records until its newest slot has passed.
    let mut poller = scene.poller().await;
    pod.takes_in(8).await;
    assert!(is_stale(&pod, "ETH-USD").await && !is_stale(&pod, "BTC-USD").await);
    end(&mut poller).await;
    let before = records::all(&pod).await;
    let is_poison = |record: &&records::Record| record.pair == "ETH-USD" && record.sequence >= first;
    let poison: Vec<u64> = before.iter().filter(is_poison).map(|record| record.sequence).collect();
    assert_eq!(poison.len(), 3, "the gap, the tick and the lead of the second poller: {poison:?}");

    // Pollers and pods may run while the records are left out.
    let now = time_text(testkit::clock::now_ms());
    succeeds(&scene, &["log", "backup", "copy"]).await;
    let _poller = scene.poller().await;
    let said = succeeds(&scene, &["log", "restore", "copy", "--replace", "--until", &now]).await;
    assert!(said.contains(&format!("ETH-USD: left out 3 records, from sequence {first} on")), "{said}");
    let is_back = async || {
        let answer = pod.try_get("/v1/prices/ETH-USD").await.ok()?;
        (answer.status == 200 && answer.json()["stale"] == json!(false)).then_some(())
    };
    wait_until("ETH-USD has prices again", DEADLINE, is_back).await;
    let after = records::all_but(&pod, &poison).await;
    let kept: Vec<_> = before.into_iter().filter(|record| !poison.contains(&record.sequence)).collect();
    nothing_lost(&kept, &after);
    audit(&after);

    // The stream denies deletes again.
    let stream = log.get_stream("TICKS").await.unwrap();
    assert!(stream.cached_info().config.deny_delete);
    assert!(stream.delete_message(1).await.is_err());
}
