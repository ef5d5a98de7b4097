//! Tests of consecutive gaps that are returned as one.

use std::time::Duration;

use common::domain::{GapCause, Timestamp};
use serde_json::{Value, json};

use crate::{
    random_log::{PAIRS, RandomLog},
    rig::{Rig, at, gap, gap_of, lead, pages, tick},
};

const GAPS: &str = "/v1/prices/BTC-USD/gaps";

fn millis(time: &Value) -> i64 {
    time.as_str().unwrap().parse::<Timestamp>().unwrap().unix_millis()
}

/// Merges the items of a list without `merge`, oldest first. `ticks` are the slots of all ticks.
fn naive(items: &[Value], ticks: &[i64]) -> Vec<Value> {
    let has_tick = |after: i64, before: i64| ticks.iter().any(|slot| (after + 1..before).contains(slot));
    items
        .chunk_by(|one, other| !has_tick(millis(&one["to"]), millis(&other["from"])))
        .map(|run| {
            let slots = |of: &dyn Fn(&Value) -> bool| {
                run.iter().filter(|item| of(item)).map(|item| item["slots"].as_u64().unwrap()).sum::<u64>()
            };
            let mut causes: Vec<(&Value, u64)> = Vec::new();
            for item in run {
                let cause = &item["cause"];
                if causes.iter().all(|(known, _)| *known != cause) {
                    causes.push((cause, slots(&|item| item["cause"] == *cause)));
                }
            }
            causes.sort_by_key(|(_, slots)| std::cmp::Reverse(*slots));
            let causes: Vec<Value> =
                causes.iter().map(|(cause, slots)| json!({"cause": cause, "slots": slots})).collect();
            let mut merged = run[0].clone();
            merged["to"] = run[run.len() - 1]["to"].clone();
            merged["slots"] = slots(&|_| true).into();
            merged["records"] = run.len().into();
            merged["causes"] = causes.into();
            merged
        })
        .collect()
}

#[tokio::test]
async fn merged_gaps_equal_a_naive_computation_page_by_page_on_every_pod() {
    for seed in 50..53 {
        let log = RandomLog::new(seed, 400);
        let [mut much, mut little] = [86_400, 10].map(|seconds| Rig::keeping(Duration::from_secs(seconds)));
        for batch in &log.batches {
            much.send(batch.clone()).await;
            little.send(batch.clone()).await;
        }
        little = little.restarted().await;
        for pair in PAIRS {
            let ticks: Vec<i64> = log.ticks(pair, 400).iter().map(|tick| tick.slot).collect();
            let third = (ticks[ticks.len() - 1] - ticks[0]) / 3;
            for range in ["".to_owned(), format!("&from={}&to={}", ticks[0] + third, ticks[0] + 2 * third)] {
                let all = format!("/v1/prices/{pair}/gaps?order=asc&limit=10000{range}");
                let single = much.get(&all).await.body["items"].as_array().unwrap().clone();
                let mut expected = naive(&single, &ticks);
                assert!(expected.len() < single.len() || !range.is_empty(), "some gaps are merged");
                for order in ["asc", "desc"] {
                    for limit in [1, 3, 10_000] {
                        let path =
                            format!("/v1/prices/{pair}/gaps?merge=true&order={order}&limit={limit}{range}");
                        for rig in [&mut much, &mut little] {
                            assert_eq!(
                                pages(rig, &path, async |_: &mut Rig| ()).await,
                                expected,
                                "{path}, {seed}"
                            );
                        }
                    }
                    expected.reverse();
                }
                let unmerged = much.get(&format!("{all}&merge=false")).await;
                assert_eq!(unmerged.body["items"].as_array().unwrap(), &single);
            }
        }
    }
}

#[tokio::test]
async fn cursors_stay_valid_while_the_newest_merged_gap_grows() {
    for order in ["asc", "desc"] {
        let mut rig = Rig::new();
        rig.send(vec![
            gap("BTC-USD", 10, 10),
            gap_of("BTC-USD", 20, 40, GapCause::Missed, None),
            tick("BTC-USD", 50, "1"),
            gap("BTC-USD", 60, 60),
            tick("BTC-USD", 70, "1"),
            gap("BTC-USD", 80, 80),
        ])
        .await;
        let mut next = 90;
        let grow = async |rig: &mut Rig| {
            rig.send(vec![gap("BTC-USD", next, next)]).await;
            next += 10;
        };
        let found = pages(&mut rig, &format!("{GAPS}?merge=true&limit=1&order={order}"), grow).await;
        let spans: Vec<(i64, i64)> = found
            .iter()
            .map(|item| (millis(&item["from"]) - at(0).unix_millis(), item["records"].as_i64().unwrap()))
            .collect();
        match order {
            "asc" => assert_eq!(spans, [(10_000, 2), (60_000, 1), (80_000, 3)]),
            _ => assert_eq!(spans, [(80_000, 1), (60_000, 1), (10_000, 2)]),
        }
    }
}

#[tokio::test]
async fn gaps_of_different_intervals_are_merged_unless_a_tick_lies_between_them() {
    let minutely = |record: Vec<u8>| {
        let text = String::from_utf8(record).unwrap();
        text.replace("\"interval\":\"10s\"", "\"interval\":\"1m\"").into_bytes()
    };
    let mut rig = Rig::new();
    rig.send(vec![
        gap("BTC-USD", 10, 10),
        // The interval becomes a minute: the next slot is at 60 s.
        minutely(lead("BTC-USD")),
        minutely(gap("BTC-USD", 60, 60)),
        minutely(tick("BTC-USD", 120, "1")),
        minutely(gap("BTC-USD", 180, 180)),
        // The interval becomes 10 s again. There is a tick although the next gap begins before the next minute.
        tick("BTC-USD", 190, "1"),
        gap("BTC-USD", 200, 200),
    ])
    .await;
    let body = rig.get(&format!("{GAPS}?merge=true&order=asc")).await.body;
    let items = body["items"].as_array().unwrap();
    let records: Vec<u64> = items.iter().map(|item| item["records"].as_u64().unwrap()).collect();
    assert_eq!(records, [2, 1, 1], "{body}");
    assert_eq!((&items[0]["interval"], &items[0]["to"]), (&json!("10s"), &json!(at(60).to_string())));
}

#[tokio::test]
async fn merge_cannot_be_combined_with_a_cause() {
    let mut rig = Rig::new();
    rig.send(vec![gap("BTC-USD", 10, 10)]).await;
    for (query, parameter) in [("merge=true&cause=missed", "merge"), ("merge=yes", "merge")] {
        let refused = rig.get(&format!("{GAPS}?{query}")).await;
        assert_eq!(
            (refused.status, &refused.body["parameter"]),
            (400, &json!(parameter)),
            "{}",
            refused.body
        );
    }
    assert_eq!(rig.get(&format!("{GAPS}?merge=false&cause=missed")).await.status, 200);
}
