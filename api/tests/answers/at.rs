//! Tests of prices at given times.

use common::domain::GapCause;
use serde_json::{Value, json};

use crate::{
    random_log::{PAIRS, RandomLog},
    rig::{Rig, at, gap, gap_of, lead, tick},
};

const AT: &str = "/v1/prices/BTC-USD/at";

/// The request for these times, in milliseconds after the start of the tests' slots.
fn path(millis: &[i64]) -> String {
    let times: Vec<String> =
        millis.iter().map(|millis| format!("time={}", at(0).unix_millis() + millis)).collect();
    format!("{AT}?{}", times.join("&"))
}

fn item(time: i64, outcome: &str) -> Value {
    let time = at(0).plus(std::time::Duration::from_millis(time.unsigned_abs())).to_string();
    json!({"time": time, "outcome": outcome, "price": null, "slot": null, "sequence": null, "age_millis": null})
}

fn with(mut item: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        item[name] = value.clone();
    }
    item
}

#[tokio::test]
async fn each_time_has_the_tick_that_stood_or_the_reason_why_there_is_none() {
    let mut rig = Rig::new();
    rig.send(vec![
        lead("BTC-USD"),
        gap("BTC-USD", 10, 20),
        tick("BTC-USD", 30, "100.10"),
        tick("ETH-USD", 60, "5"),
        tick("BTC-USD", 40, "101"),
        gap_of("BTC-USD", 50, 70, GapCause::Disagreement, Some(3)),
        tick("BTC-USD", 80, "99.0"),
    ])
    .await;
    let tick = |time: i64, price: &str, slot: i64, sequence: u64| {
        let slot_text = at(slot).to_string();
        let age = time - slot * 1_000;
        let found = json!({"price": price, "slot": slot_text, "sequence": sequence, "age_millis": age});
        with(item(time, "tick"), &found)
    };
    let first = json!({"gap": {"from": at(10).to_string(), "to": at(20).to_string(), "slots": 2, "interval": "10s",
                               "cause": "no_leader", "backfilled": false, "sequence": 2, "epoch": 1, "sources": null}});
    let second = json!({
        "gap": {"from": at(50).to_string(), "to": at(70).to_string(), "slots": 3, "interval": "10s",
                "cause": "disagreement", "backfilled": false, "sequence": 6, "epoch": 1, "sources": 3},
        "before": {"slot": at(40).to_string(), "price": "101", "sequence": 5, "backfilled": false},
    });
    // The order is that of the request, and a time may be repeated.
    let expected = [
        tick(45_000, "101", 40, 5),
        item(9_999, "before_history"),
        with(item(10_000, "gap"), &first),
        with(item(29_999, "gap"), &first),
        tick(30_000, "100.10", 30, 3),
        tick(39_999, "100.10", 30, 3),
        tick(40_000, "101", 40, 5),
        tick(49_999, "101", 40, 5),
        with(item(50_000, "gap"), &second),
        with(item(79_999, "gap"), &second),
        tick(80_000, "99.0", 80, 7),
        item(80_001, "future"),
        tick(45_000, "101", 40, 5),
        item(10_000_000, "future"),
    ];
    let times = [
        45_000, 9_999, 10_000, 29_999, 30_000, 39_999, 40_000, 49_999, 50_000, 79_999, 80_000, 80_001,
        45_000, 10_000_000,
    ];
    let answer = rig.get(&path(&times)).await;
    assert_eq!(answer.body, json!({"pair": "BTC-USD", "items": expected}));
    assert_eq!(answer.header("x-tickwell-sequence"), Some("7"));
    for (index, time) in times.iter().enumerate() {
        let single = rig.get(&path(&[*time])).await;
        assert_eq!(single.body["items"], json!([expected[index]]), "{time}");
    }
    // Both spellings of a time mean the same.
    let spelled = rig.get(&format!("{AT}?time={}", at(40))).await;
    assert_eq!(spelled.body["items"], json!([tick(40_000, "101", 40, 5)]));
    // At an earlier sequence, what came later is in the future.
    let earlier = rig.get(&format!("{}&at_sequence=5", path(&[40_000, 49_999, 80_000]))).await;
    let expected = [tick(40_000, "101", 40, 5), item(49_999, "future"), item(80_000, "future")];
    assert_eq!(earlier.body["items"], json!(expected));
}

#[tokio::test]
async fn one_request_has_up_to_a_hundred_times() {
    let mut rig = Rig::new();
    rig.send((1..=10).map(|index| tick("BTC-USD", index * 10, &index.to_string())).collect()).await;
    let times: Vec<i64> = (0..101).map(|index| 100_000 - index * 900).collect();
    let answer = rig.get(&path(&times[..100])).await;
    let items = answer.body["items"].as_array().unwrap();
    assert_eq!((answer.status, items.len()), (200, 100));
    for (item, time) in items.iter().zip(&times) {
        assert_eq!(item["price"], json!((time / 10_000).to_string()), "{time}");
    }
    let refused = rig.get(&path(&times)).await;
    assert_eq!((refused.status, &refused.body["parameter"]), (400, &json!("time")));
    assert!(refused.body["detail"].as_str().unwrap().contains("100"), "{}", refused.body);
}

#[tokio::test]
async fn a_malformed_time_is_refused_by_name() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let good = format!("time={}", at(10));
    for (query, parameter, fragment) in [
        (String::new(), "time", "time=20"),
        ("?".to_owned(), "time", "time=20"),
        ("?time=".to_owned(), "time", "RFC 3339"),
        ("?time=yesterday".to_owned(), "time", "yesterday"),
        (format!("?{good}&time=1700000000"), "time", "seconds"),
        (format!("?{good}&time=2023-11-14T00:00:00+01:00"), "time", "%2B01:00"),
        (format!("?{good},{good}"), "time", "RFC 3339"),
        (format!("?{good}&at_sequence=1&at_sequence=1"), "at_sequence", "repeated"),
        (format!("?times={}", at(10)), "times", "`time`"),
    ] {
        let answer = rig.get(&format!("{AT}{query}")).await;
        assert_eq!((answer.status, &answer.body["parameter"]), (400, &json!(parameter)), "{query}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(fragment) && !detail.contains("list_of"), "{query}: {detail}");
    }
    for (pair, status, code) in [("DOGE-USD", 404, "unknown_pair"), ("BTCUSD", 400, "invalid_parameter")] {
        let answer = rig.get(&format!("/v1/prices/{pair}/at?{good}")).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{pair}");
    }
}

/// Ticks and gaps are kept for two days.
#[tokio::test]
async fn what_is_past_retention_is_before_history() {
    let mut rig = Rig::new();
    let days = 2 * 86_400;
    rig.send(vec![
        tick("BTC-USD", 10, "1"),
        gap("BTC-USD", 20, 40),
        tick("BTC-USD", 50, "2"),
        gap("BTC-USD", 60, days + 20),
        tick("BTC-USD", days + 30, "3"),
    ])
    .await;
    let answer = rig.get(&path(&[19_000, 29_999, 30_000, 45_000, 50_000, 60_000])).await;
    let found =
        |item: &Value| (item["outcome"].as_str().unwrap().to_owned(), item["before"]["price"].clone());
    let items: Vec<_> = answer.body["items"].as_array().unwrap().iter().map(found).collect();
    let expected = [
        ("before_history", Value::Null),
        ("before_history", Value::Null),
        // The gap still has a slot within retention, but the tick before it is past retention.
        ("gap", Value::Null),
        ("gap", Value::Null),
        ("tick", Value::Null),
        ("gap", json!("2")),
    ];
    assert_eq!(items, expected.map(|(outcome, before)| (outcome.to_owned(), before)));
}

#[tokio::test]
async fn an_answer_without_a_time_in_the_future_is_cached_for_a_day() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "1"), gap("BTC-USD", 20, 30), tick("BTC-USD", 40, "2")]).await;
    rig.clock.set(at(42));
    let held = "public, max-age=86400, immutable";
    let open = "public, max-age=8, must-revalidate";
    for (times, expected) in [
        (&[10_000, 25_000, 40_000][..], held),
        (&[40_000, 40_001], open),
        (&[41_000], open),
        // A gap that arrives later is never before history, but records can be past retention on the next request.
        (&[-3 * 86_400_000], open),
    ] {
        let answer = rig.get(&path(times)).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some(expected)), "{times:?}");
        let tag = answer.header("etag").unwrap();
        assert_eq!(rig.ask(&path(times), &[("if-none-match", tag)]).await.status, 304, "{times:?}");
    }
    let before = rig.get(&path(&[25_000])).await;
    rig.send(vec![tick("BTC-USD", 50, "3")]).await;
    let after = rig.get(&path(&[25_000])).await;
    assert_eq!((before.header("etag"), &before.bytes), (after.header("etag"), &after.bytes));
}

/// The tick or gap of a random log that a time belongs to: the last one that begins at or before the time.
#[tokio::test]
async fn any_time_of_a_random_log_has_what_a_scan_of_the_log_finds() {
    for seed in 70..72 {
        let log = RandomLog::new(seed, 120);
        let mut rig = Rig::new();
        for batch in &log.batches {
            rig.send(batch.clone()).await;
        }
        let rig = rig.restarted().await;
        for pair in PAIRS {
            let covered = log.covered.iter().flatten().filter(|(of, ..)| *of == pair);
            // The last slot of each record, with the price if it is a tick. Records have no holes between them, so a
            // record begins after the last slot of the one before.
            let records: Vec<(i64, Option<&String>)> =
                covered.map(|(_, last, price)| (*last, price.as_ref())).collect();
            let newest = records[records.len() - 1].0;
            let first = records[0].0;
            let times: Vec<i64> =
                (0..100).map(|index| first + (newest - first) * index / 99 + index % 7).collect();
            let query: Vec<String> =
                times.iter().map(|second| format!("time={}", at(*second).unix_millis())).collect();
            let answer = rig.get(&format!("/v1/prices/{pair}/at?{}", query.join("&"))).await;
            for (item, second) in answer.body["items"].as_array().unwrap().iter().zip(&times) {
                let slot = second - second % 10;
                let expected = records.iter().find(|(last, _)| *last >= slot);
                let expected = match expected {
                    _ if *second > newest => ("future", Value::Null),
                    Some((_, Some(price))) => ("tick", json!(price)),
                    Some((_, None)) => ("gap", Value::Null),
                    None => panic!("{second} is after the newest slot"),
                };
                assert_eq!((item["outcome"].as_str().unwrap(), item["price"].clone()), expected, "{second}");
            }
        }
    }
}
