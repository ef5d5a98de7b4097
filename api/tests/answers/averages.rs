//! Averages over any window, compared with a naive computation over the records.

use std::time::Duration;

use serde_json::json;
use testkit::naive;

use crate::{
    random_log::{PAIRS, RandomLog},
    rig::{Rig, at, gap, tick},
};

/// The lengths of windows, from one slot to longer than what the pods keep in memory. Some are not a multiple of the
/// interval.
const WINDOWS: [&str; 9] = ["10s", "20s", "45s", "5m", "37m", "1h", "3h", "1d", "2d"];

fn millis(span: &str) -> i64 {
    let span: common::domain::Span = span.parse().unwrap();
    i64::try_from(span.millis()).unwrap()
}

/// Compares three pods that keep much, little and almost nothing in memory. The second one is restarted now and then.
#[tokio::test]
async fn every_window_equals_a_naive_computation_whatever_a_pod_keeps_in_memory() {
    for seed in 0..3 {
        let log = RandomLog::new(seed, 240);
        let [mut much, mut little, mut nothing] =
            [86_400, 600, 10].map(|seconds| Rig::keeping(Duration::from_secs(seconds)));
        let mut count = 0;
        for (number, batch) in log.batches.iter().enumerate() {
            for pod in [&mut much, &mut little, &mut nothing] {
                pod.send(batch.clone()).await;
            }
            count += batch.len();
            if number % 9 == 8 {
                little = little.restarted().await;
            }
            for pair in PAIRS {
                let Some(newest) = log.newest_slot(Some(pair), count) else { continue };
                let path = format!("/v1/prices/{pair}/averages?window={}", WINDOWS.join(","));
                let found = much.get(&path).await.body;
                for other in [&little, &nothing] {
                    assert_eq!(other.get(&path).await.body, found, "seed {seed}, {count} records");
                }
                let (ticks, to) = (log.ticks(pair, count), at(newest).unix_millis());
                for (window, span) in found["windows"].as_array().unwrap().iter().zip(WINDOWS) {
                    let expected = naive::window(&ticks, to, millis(span), 10_000);
                    for (member, expected) in expected.as_object().unwrap() {
                        let found = &window[member];
                        assert_eq!(found, expected, "{member} of {span}, seed {seed}, {count} records");
                    }
                }
            }
        }
    }
}

/// With `to`, the windows are those that the pod returned when its newest slot was the one at or before that time.
/// The longest window would begin before history.
#[tokio::test]
async fn windows_up_to_a_time_are_those_that_ended_with_its_slot() {
    for seed in 5..7 {
        let log = RandomLog::new(seed, 160);
        let mut rig = Rig::keeping(Duration::from_secs(600));
        let mut given = Vec::new();
        let mut count = 0;
        for batch in &log.batches {
            rig.send(batch.clone()).await;
            count += batch.len();
            for pair in PAIRS {
                let Some(newest) = log.newest_slot(Some(pair), count) else { continue };
                let path = format!("/v1/prices/{pair}/averages?window={}", WINDOWS[..8].join(","));
                given.push((path.clone(), newest, rig.get(&path).await.body));
            }
        }
        for (path, newest, body) in &given {
            let time = at(*newest).unix_millis();
            for time in [time, time + 9_999] {
                let again = rig.get(&format!("{path}&to={time}")).await;
                assert_eq!((again.status, &again.body), (200, body), "{path}&to={time}");
            }
        }
    }
}

#[tokio::test]
async fn the_end_of_windows_can_be_any_time_within_history() {
    let mut rig = Rig::new();
    rig.send(vec![
        tick("BTC-USD", 10, "1"),
        tick("BTC-USD", 20, "2"),
        gap("BTC-USD", 30, 60),
        tick("BTC-USD", 70, "7"),
    ])
    .await;
    rig.clock.set(at(72));
    let path = |to: i64| format!("/v1/prices/BTC-USD/averages?window=20s&to={}", at(to).unix_millis());
    for (to, as_of, sequence, close) in [
        (10, 10, 1, json!("1")),
        (29, 20, 2, json!("2")),
        // Within the gap, the windows end with the gap's slot at or before that time.
        (45, 40, 3, json!(null)),
        (35, 30, 3, json!("2")),
        (69, 60, 3, json!(null)),
        (70, 70, 4, json!("7")),
        (80, 70, 4, json!("7")),
    ] {
        let answer = rig.get(&path(to)).await;
        let window = &answer.body["windows"][0];
        let found = (answer.body["as_of"].clone(), answer.body["sequence"].clone(), window["close"].clone());
        assert_eq!(found, (json!(at(as_of).to_string()), json!(sequence), close), "{to}");
        assert_eq!(window["to"], answer.body["as_of"]);
        let expected =
            if to <= 70 { "public, max-age=86400, immutable" } else { "public, max-age=8, must-revalidate" };
        assert_eq!(answer.header("cache-control"), Some(expected), "{to}");
    }
    // A contract is about the newest price, even if `to` is in the future.
    for (to, contract) in
        [(20, "max_age=1d"), (20, "min_sources=1"), (20, "max_spread=1"), (999, "max_age=1d")]
    {
        let refused = rig.get(&format!("{}&{contract}", path(to))).await;
        let named = contract.split('=').next();
        assert_eq!((refused.status, refused.body["parameter"].as_str()), (400, named), "{contract}");
        assert!(refused.body["detail"].as_str().unwrap().contains("newest price"), "{}", refused.body);
    }
    let before = rig.get(&path(9)).await;
    assert_eq!((before.status, &before.body["parameter"]), (400, &json!("to")));
    // History is kept for two days.
    let days = 2 * 86_400;
    rig.send(vec![gap("BTC-USD", 80, days), tick("BTC-USD", days + 10, "1")]).await;
    assert_eq!(rig.get(&path(30)).await.status, 200);
    for to in [20, 29] {
        let past = rig.get(&path(to)).await;
        assert_eq!((past.status, &past.body["parameter"]), (400, &json!("window")), "{to}");
    }
}

#[tokio::test]
async fn a_window_is_written_as_in_the_request() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "1")]).await;
    let asked = ["24h", "1440s", "60m", "90000ms", "10m", "2d"];
    let body = rig.get(&format!("/v1/prices/BTC-USD/averages?window={}", asked.join(","))).await.body;
    let windows: Vec<&str> =
        body["windows"].as_array().unwrap().iter().map(|item| item["window"].as_str().unwrap()).collect();
    assert_eq!(windows, asked);
    let default = rig.get("/v1/prices/BTC-USD/averages").await.body;
    assert_eq!(default["windows"][0]["window"], json!("10m"));
}

#[tokio::test]
async fn a_thin_window_can_be_refused() {
    let mut rig = Rig::new();
    let ticks = (1..=10).map(|index| tick("BTC-USD", index * 10, "100")).collect();
    rig.send(ticks).await;
    rig.send(vec![gap("BTC-USD", 110, 120)]).await;
    for (query, status) in [
        ("window=20s", 200),
        ("window=20s&min_coverage=0", 200),
        ("window=20s&min_coverage=0.01", 503),
        ("window=40s&min_coverage=50%25", 200),
        ("window=40s&min_coverage=0.50000001", 503),
        ("window=40s,20s&min_coverage=0.5", 503),
        ("window=2m&min_coverage=0.9", 503),
    ] {
        let answer = rig.get(&format!("/v1/prices/BTC-USD/averages?{query}")).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
        if status == 503 {
            assert_eq!(answer.body["code"], json!("thin_window"), "{query}");
            assert_eq!(answer.header("retry-after"), Some("10"), "{query}");
        }
    }
    let thin = rig.get("/v1/prices/BTC-USD/averages?window=40s,20s&min_coverage=0.5").await;
    let detail = thin.body["detail"].as_str().unwrap();
    assert!(detail.contains("20s"), "{detail}");
}

#[tokio::test]
async fn a_window_is_complete_if_every_slot_of_it_has_a_tick() {
    let mut rig = Rig::new();
    rig.send((1..=6).map(|index| tick("BTC-USD", index * 10, "100")).collect()).await;
    let complete = async |rig: &Rig, span: &str| {
        let body = rig.get(&format!("/v1/prices/BTC-USD/averages?window={span}")).await.body;
        body["windows"][0]["complete"].clone()
    };
    assert_eq!(complete(&rig, "1m").await, json!(true));
    // This window has one slot more, which is before the log's first tick.
    assert_eq!(complete(&rig, "70s").await, json!(false));
    rig.send(vec![gap("BTC-USD", 70, 70)]).await;
    assert_eq!(complete(&rig, "10s").await, json!(false));
    rig.send((8..=9).map(|index| tick("BTC-USD", index * 10, "100")).collect()).await;
    assert_eq!(complete(&rig, "20s").await, json!(true));
    assert_eq!(complete(&rig, "30s").await, json!(false));
}
