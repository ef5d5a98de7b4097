//! For a request at an earlier sequence, every pod must return the same bytes while the log grows.

use testkit::require_nats;

use crate::{
    agreement::{PAIR, pods_agree},
    harness::{Answer, Pod, world},
    records::{Kind, time},
    survival::end,
};

/// The minimum number of records between two rounds.
const SOME: u64 = 6;

/// How far the requested sequence is behind the newest one.
const BACK: u64 = 4;

/// The paths of requests to all routes that accept `at_sequence`, each with this sequence. `slot` is the pair's newest
/// slot at that sequence.
fn paths(sequence: u64, slot: i64) -> Vec<String> {
    let mut paths = vec!["/v1/pairs?".to_owned(), "/v1/prices?".to_owned(), format!("/v1/ticks/{sequence}?")];
    let of_pair = [
        "?",
        "/averages?window=1s,3s,10m,7d&",
        "/history?limit=3&",
        "/history?order=asc&",
        "/gaps?",
        "/gaps?order=asc&limit=1&",
        "/candles?interval=1m&",
        "/candles?interval=1m&limit=1&order=asc&",
    ];
    paths.extend(of_pair.map(|rest| format!("/v1/prices/{PAIR}{rest}")));
    let times = [slot - 3_600_000, slot - 1_500, slot, slot + 1].map(|time| format!("time={time}&"));
    paths.push(format!("/v1/prices/{PAIR}/at?{}", times.concat()));
    paths.iter().map(|path| format!("{path}at_sequence={sequence}")).collect()
}

async fn answers(pod: &Pod, sequence: u64) -> Vec<String> {
    let mut bodies = Vec::new();
    let pairs = pod.get(&format!("/v1/pairs?at_sequence={sequence}")).await.json();
    let slot = time(pairs["items"][0]["slot"].as_str().unwrap()).unwrap();
    for path in paths(sequence, slot) {
        let answer = pod.get(&path).await;
        assert_eq!((answer.status, answer.sequence()), (200, sequence), "{path}: {}", answer.text());
        bodies.push(answer.text());
    }
    bodies
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pod_returns_the_same_for_an_earlier_sequence_while_the_log_grows() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let mut poller = scene.poller().await;
    let (one, mut other) = (scene.pod("one").await, scene.pod("other").await);
    // A lead and some ticks must exist before the first requested sequence.
    let mut newest = one.reaches(2 + BACK).await;
    let mut first = None;
    for round in 0..3 {
        other.reaches(newest).await;
        let earlier = newest - BACK;
        let returned = answers(&one, earlier).await;
        assert_eq!(answers(&other, earlier).await, returned, "at {earlier}");
        let (sequence, bodies) = first.get_or_insert((earlier, returned));
        if round == 1 {
            other.process.kill();
            other = scene.pod("other").await;
            other.reaches(newest).await;
        }
        // The responses at the first sequence must be the same as in the first round, although more records have
        // arrived and a pod was restarted.
        for pod in [&one, &other] {
            assert_eq!(&answers(pod, *sequence).await, bodies, "at {sequence}");
        }
        newest = one.takes_in(SOME).await;
    }

    let ahead = one.get("/v1/prices?at_sequence=1000000").await;
    assert_eq!(code(&ahead), (409, "sequence_ahead".to_owned()));
    assert!(ahead.headers.contains_key("retry-after"));
    end(&mut poller).await;
    let records = crate::agreement::same_records([&one, &other]).await;
    assert_eq!(records[0].kind, Kind::Lead);
    for pod in [&one, &other] {
        assert_eq!(code(&pod.get("/v1/pairs?at_sequence=1").await), (410, "sequence_gone".to_owned()));
    }

    // How much a pod keeps in memory only changes how far back a requested sequence may be.
    other.process.kill();
    let other = scene.command("other").env("TICKWELL__WINDOWS__KEEP", "1s").arg("api").start().unwrap();
    let other = Pod::of(other).await;
    other.reaches(records.last().unwrap().sequence).await;
    pods_agree([&one, &other]).await;
    let newest_slot =
        |count: usize| records[..count].iter().filter_map(|record| record.slot).max().unwrap().0;
    let now = newest_slot(records.len());
    let mut gone = 0;
    for count in 2..records.len() {
        let sequence = records[count - 1].sequence;
        if now - newest_slot(count) <= 1_000 {
            assert_eq!(answers(&one, sequence).await, answers(&other, sequence).await);
        } else {
            let answer = other.get(&format!("/v1/pairs?at_sequence={sequence}")).await;
            assert_eq!(code(&answer), (410, "sequence_gone".to_owned()), "at {sequence}");
            gone += 1;
        }
    }
    assert!(gone > 0, "the log is longer than a second");
}
