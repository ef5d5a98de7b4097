//! Candles, compared with a naive computation over the records.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::naive;

use crate::{
    random_log::{PAIRS, RandomLog},
    rig::{Rig, at, followed, gap, pages, tick},
};

const INTERVALS: [(&str, i64); 6] =
    [("1m", 60), ("5m", 300), ("15m", 900), ("1h", 3_600), ("4h", 14_400), ("1d", 86_400)];

#[tokio::test]
async fn candles_equal_a_naive_computation_page_by_page() {
    for seed in 10..12 {
        let log = RandomLog::new(seed, 200);
        let mut rig = Rig::keeping(Duration::from_secs(600));
        let mut count = 0;
        for (number, batch) in log.batches.iter().enumerate() {
            rig.send(batch.clone()).await;
            count += batch.len();
            if number % 8 != 7 {
                continue;
            }
            for pair in PAIRS {
                let Some(newest) = log.newest_slot(Some(pair), count) else { continue };
                let ticks = log.ticks(pair, count);
                for (interval, seconds) in INTERVALS {
                    let mut expected = naive::candles(&ticks, seconds * 1_000, at(newest + 10).unix_millis());
                    for order in ["asc", "desc"] {
                        for limit in [3, 1_000] {
                            let path = format!(
                                "/v1/prices/{pair}/candles?interval={interval}&order={order}&limit={limit}"
                            );
                            let found = pages(&mut rig, &path, async |_| ()).await;
                            assert_eq!(found, expected, "{path}, seed {seed}, {count} records");
                        }
                        expected.reverse();
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_range_selects_buckets_by_their_start() {
    let mut rig = Rig::new();
    rig.send((1..=30).map(|index| tick("BTC-USD", index * 10, &index.to_string())).collect()).await;
    let (from, to) = (at(61).unix_millis(), at(180).unix_millis());
    let path = format!("/v1/prices/BTC-USD/candles?interval=1m&from={from}&to={to}&order=asc");
    assert_eq!(
        rig.get(&path).await.body,
        json!({"items": [{"start": at(120).to_string(), "open": "12", "high": "17", "low": "12", "close": "17",
                          "samples": 6, "backfilled": 0, "complete": true}], "next_cursor": null})
    );
    let none = format!("/v1/prices/BTC-USD/candles?interval=1m&from={from}&to={from}");
    assert_eq!(rig.get(&none).await.body, json!({"items": [], "next_cursor": null}));
}

#[tokio::test]
async fn candles_come_in_the_requested_format_on_all_pages() {
    let mut rig = Rig::new();
    rig.send((1..=30).map(|index| tick("BTC-USD", index * 10, &format!("{index}.50"))).collect()).await;
    let path = "/v1/prices/BTC-USD/candles?interval=1m&order=asc";
    let items = rig.get(path).await.body["items"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let columns = ["start", "open", "high", "low", "close", "samples", "backfilled", "complete"];
    let csv: Vec<String> =
        items.iter().map(|item| columns.map(|column| text(&item[column])).join(",")).collect();
    assert_eq!(csv[1], format!("{},6.50,11.50,6.50,11.50,6,0,true", at(60)));
    for (query, accept, media) in [
        ("&format=csv", "*/*", "text/csv; charset=utf-8; header=present"),
        ("", "text/csv", "text/csv; charset=utf-8; header=present"),
        ("&format=ndjson", "text/csv", "application/x-ndjson"),
        ("", "application/x-ndjson", "application/x-ndjson"),
    ] {
        let (mut path, mut lines) = (format!("{path}&limit=2{query}"), Vec::new());
        loop {
            let answer = rig.get_as(&path, accept).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, Some(media)), "{path}");
            assert_eq!(answer.header("vary"), Some("Accept"));
            let is_csv = media.starts_with("text/csv");
            if is_csv {
                assert!(
                    answer.text.starts_with("start,open,high,low,close,samples,backfilled,complete\n"),
                    "{path}"
                );
            }
            lines.extend(answer.text.lines().skip(usize::from(is_csv)).map(str::to_owned));
            let Some(link) = answer.header("link") else { break };
            assert!(link.contains(query.trim_start_matches('&')), "{link}");
            path = followed(&path, link);
        }
        if media.starts_with("text/csv") {
            assert_eq!(lines, csv);
        } else {
            let found: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(found, items);
        }
    }
    let empty = rig.get(&format!("{path}&format=csv&to={}", at(0).unix_millis())).await;
    assert_eq!(empty.text, "start,open,high,low,close,samples,backfilled,complete\n");
    let refused = rig.get_as(path, "text/html").await;
    assert_eq!((refused.status, &refused.body["code"]), (406, &json!("not_acceptable")));
}

#[tokio::test]
async fn an_open_bucket_is_listed_and_a_bucket_with_a_missing_slot_is_incomplete() {
    let mut rig = Rig::new();
    let complete = async |rig: &Rig| {
        let body = rig.get("/v1/prices/BTC-USD/candles?interval=1m&order=asc").await.body;
        let items = body["items"].as_array().unwrap().iter();
        items.map(|item| item["complete"].as_bool().unwrap()).collect::<Vec<bool>>()
    };
    rig.send((0..=4).map(|index| tick("BTC-USD", index * 10, "1")).collect()).await;
    assert_eq!(complete(&rig).await, [false]);
    rig.send(vec![tick("BTC-USD", 50, "1")]).await;
    assert_eq!(complete(&rig).await, [true]);
    // In the next bucket the first slot has no tick, and in the one after it the last slot has none.
    rig.send(vec![gap("BTC-USD", 60, 60)]).await;
    rig.send((7..=16).map(|index| tick("BTC-USD", index * 10, "1")).collect()).await;
    rig.send(vec![gap("BTC-USD", 170, 170), tick("BTC-USD", 180, "1")]).await;
    assert_eq!(complete(&rig).await, [true, false, false, false]);
}
