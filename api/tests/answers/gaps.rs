//! Tests of slots without a price.

use common::domain::{GapCause, Words};
use serde_json::{Value, json};

use crate::rig::{Rig, at, followed, gap, gap_of, lead, tick};

const GAPS: &str = "/v1/prices/BTC-USD/gaps";

/// The first and last slot of each gap on a page, in seconds since the start of the test's slots.
fn spans(body: &Value) -> Vec<(i64, i64)> {
    let second = |time: &Value| {
        let time: common::domain::Timestamp = time.as_str().unwrap().parse().unwrap();
        (time.unix_millis() - at(0).unix_millis()) / 1_000
    };
    let items = body["items"].as_array().unwrap().iter();
    items.map(|item| (second(&item["from"]), second(&item["to"]))).collect()
}

#[tokio::test]
async fn a_gap_has_its_slots_and_its_cause() {
    let mut rig = Rig::new();
    rig.send(vec![
        lead("BTC-USD"),
        gap("BTC-USD", 10, 30),
        tick("BTC-USD", 40, "5.0"),
        gap_of("BTC-USD", 50, 50, GapCause::TooFewSources, Some(3)),
        gap_of("BTC-USD", 60, 60, GapCause::TooFewSources, Some(0)),
        gap("ETH-USD", 10, 90),
    ])
    .await;
    let answer = rig.get("/v1/prices/btc_usd/gaps").await;
    assert_eq!((answer.header("x-tickwell-sequence"), answer.header("link")), (Some("6"), None));
    let item = |from: i64, to: i64, slots: u64, cause: &str, sequence: u64, sources: Option<u32>| {
        json!({"from": at(from).to_string(), "to": at(to).to_string(), "slots": slots, "interval": "10s",
               "cause": cause, "backfilled": false, "sequence": sequence, "epoch": 1, "sources": sources})
    };
    let expected = json!({
        "items": [
            item(60, 60, 1, "too_few_sources", 5, Some(0)),
            item(50, 50, 1, "too_few_sources", 4, Some(3)),
            item(10, 30, 3, "no_leader", 2, None),
        ],
        "next_cursor": null,
    });
    assert_eq!(answer.body, expected);
    let record = rig.get("/v1/ticks/4").await.body;
    assert_eq!((&record["kind"], record["quotes"].as_array().unwrap().len()), (&json!("gap"), 3));

    rig.send(vec![tick("DOGE-USD", 10, "1")]).await;
    let none = rig.get("/v1/prices/DOGE-USD/gaps").await;
    assert_eq!((none.status, none.body), (200, json!({"items": [], "next_cursor": null})));
}

#[tokio::test]
async fn a_gap_with_any_slot_in_the_range_is_returned_whole() {
    let mut rig = Rig::new();
    rig.send(vec![gap("BTC-USD", 10, 30), tick("BTC-USD", 40, "5"), gap("BTC-USD", 50, 90)]).await;
    let rig = &rig;
    let found = async |from: i64, to: i64, order: &str| {
        let (from, to) = (at(from).unix_millis(), at(to).unix_millis());
        spans(&rig.get(&format!("{GAPS}?from={from}&to={to}&order={order}")).await.body)
    };
    for (from, to, expected) in [
        (0, 10, vec![]),
        (0, 11, vec![(10, 30)]),
        (20, 21, vec![(10, 30)]),
        (21, 30, vec![]),
        (30, 50, vec![(10, 30)]),
        (31, 50, vec![]),
        (30, 51, vec![(10, 30), (50, 90)]),
        (70, 500, vec![(50, 90)]),
        (91, 500, vec![]),
        (20, 20, vec![]),
    ] {
        let mut reversed = expected.clone();
        reversed.reverse();
        assert_eq!(found(from, to, "asc").await, expected, "[{from}, {to})");
        assert_eq!(found(from, to, "desc").await, reversed, "[{from}, {to})");
    }
}

#[tokio::test]
async fn pages_neither_repeat_nor_miss_while_records_arrive() {
    for (order, cause) in [("asc", ""), ("desc", ""), ("asc", "cause=missed&"), ("desc", "cause=missed&")] {
        let mut rig = Rig::new();
        // Gaps of one to three slots, each followed by a tick.
        let mut expected = Vec::new();
        let mut next = 10;
        let mut more = |rig_gaps: i64| {
            let mut messages = Vec::new();
            for number in 0..rig_gaps {
                let (from, to) = (next, next + number % 3 * 10);
                let why = if number % 2 == 0 { GapCause::Missed } else { GapCause::NoLeader };
                messages.push(gap_of("BTC-USD", from, to, why, None));
                messages.push(tick("BTC-USD", to + 10, "5"));
                if cause.is_empty() || why == GapCause::Missed {
                    expected.push((from, to));
                }
                next = to + 20;
            }
            messages
        };
        rig.send(more(21)).await;
        let mut path = format!("{GAPS}?{cause}order={order}&limit=2");
        let mut found = Vec::new();
        let mut arriving = 3;
        loop {
            let answer = rig.get(&path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            found.extend(spans(&answer.body));
            let Some(link) = answer.header("link") else { break };
            assert!(link.contains(answer.body["next_cursor"].as_str().unwrap()), "{link}");
            path = followed(&path, link);
            if arriving > 0 {
                arriving -= 1;
                rig.send(more(2)).await;
            }
        }
        assert_eq!(arriving, 0, "records arrived between pages");
        match order {
            "asc" => assert_eq!(found, expected),
            _ => {
                // Gaps that are newer than the first page are on none of the later pages.
                let asked = if cause.is_empty() { 21 } else { 11 };
                expected.truncate(asked);
                expected.reverse();
                assert_eq!(found, expected);
            }
        }
    }
}

#[tokio::test]
async fn a_gap_is_kept_as_long_as_its_last_slot_is_within_retention() {
    let mut rig = Rig::new();
    let days = 2 * 86_400;
    rig.send(vec![gap("BTC-USD", 10, 30), tick("BTC-USD", 40, "1"), gap("BTC-USD", 50, days + 30)]).await;
    assert_eq!(spans(&rig.get(GAPS).await.body), [(50, days + 30), (10, 30)]);
    assert_eq!(rig.get("/v1/ticks/1").await.status, 200);
    rig.send(vec![tick("BTC-USD", days + 40, "1")]).await;
    assert_eq!(spans(&rig.get(&format!("{GAPS}?order=asc")).await.body), [(50, days + 30)]);
    assert_eq!(rig.get("/v1/ticks/1").await.status, 404);
}

#[tokio::test]
async fn the_document_describes_the_route() {
    let rig = Rig::new();
    let document = rig.get("/openapi.json").await.body;
    let operation = &document["paths"]["/v1/prices/{pair}/gaps"]["get"];
    let parameter = |name: &str| {
        let all = operation["parameters"].as_array().unwrap();
        all.iter().find(|parameter| parameter["name"] == name).unwrap().clone()
    };
    for name in ["pair", "from", "to", "cause", "order", "limit", "cursor"] {
        assert!(!parameter(name)["description"].as_str().unwrap().is_empty(), "{name}");
    }
    let words: Vec<&str> = GapCause::ALL.iter().map(|cause| cause.as_str()).collect();
    assert_eq!(parameter("cause")["schema"]["enum"], json!(words));
    let fields = &document["components"]["schemas"]["GapItem"]["properties"];
    for (name, field) in fields.as_object().unwrap() {
        assert!(field["description"].is_string() || field["allOf"].is_array(), "{name}: {field}");
    }
}
