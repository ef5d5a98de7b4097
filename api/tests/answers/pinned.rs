//! Tests of responses at an earlier sequence (`at_sequence`).

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    random_log::RandomLog,
    rig::{Answer, Rig, followed, gap, lead, tick},
};

const KEEP_SECONDS: i64 = 3_600;

/// Every route, for both pairs.
fn paths(sequence: u64) -> Vec<String> {
    let mut paths = vec!["/v1/pairs".to_owned(), "/v1/prices".to_owned(), format!("/v1/ticks/{sequence}")];
    paths.extend(["ETH&to=BTC", "USD&to=ETH"].map(|assets| format!("/v1/convert?from={assets}")));
    for pair in ["BTC-USD", "ETH-USD"] {
        let of_pair = [
            "",
            "/averages?window=10s,5m,1h,3h,2d",
            "/averages?window=1h&min_coverage=50%25",
            "/history?limit=5",
            "/history?limit=1000&order=asc",
            "/history?max_points=30",
            "/gaps",
            "/gaps?order=asc&limit=2",
            "/at?time=1699923600000&time=1699924000000&time=1699926000000&time=1699930000000",
            "/candles?interval=1m&limit=7",
            "/candles?interval=1h&order=asc",
        ];
        paths.extend(of_pair.map(|rest| format!("/v1/prices/{pair}{rest}")));
    }
    paths
}

fn pinned(path: &str, sequence: u64) -> String {
    let mark = if path.contains('?') { '&' } else { '?' };
    format!("{path}{mark}at_sequence={sequence}")
}

/// The response to a request with a fixed trace id. Without that, two equal problems would have different trace ids.
async fn traced(rig: &Rig, path: &str) -> Answer {
    rig.ask(path, &[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]).await
}

/// The response at a sequence stays the same until the sequence is too old, even after a restart.
#[tokio::test]
async fn an_answer_as_of_a_sequence_equals_the_answer_given_at_that_time() {
    for seed in 20..22 {
        let log = RandomLog::new(seed, 220);
        let mut rig = Rig::keeping(Duration::from_secs(KEEP_SECONDS.unsigned_abs()));
        let mut given: BTreeMap<u64, Vec<(String, u16, Value)>> = BTreeMap::new();
        let mut count = 0;
        for (number, batch) in log.batches.iter().enumerate() {
            rig.send(batch.clone()).await;
            count += batch.len();
            let sequence = u64::try_from(count).unwrap();
            let mut answers = Vec::new();
            for path in paths(sequence) {
                let answer = traced(&rig, &path).await;
                let same = traced(&rig, &pinned(&path, sequence)).await;
                assert_eq!((same.status, &same.body), (answer.status, &answer.body), "{path}");
                answers.push((path, answer.status, answer.body));
            }
            given.insert(sequence, answers);
            if number % 10 == 9 {
                rig = rig.restarted().await;
                check(&rig, &log, count, &given).await;
            }
        }
        check(&rig, &log, count, &given).await;
    }
}

async fn check(rig: &Rig, log: &RandomLog, count: usize, given: &BTreeMap<u64, Vec<(String, u16, Value)>>) {
    let now = log.reached(count).unwrap();
    for (sequence, answers) in given {
        let then = log.reached(usize::try_from(*sequence).unwrap());
        let gone = then.is_none_or(|then| then < now - KEEP_SECONDS);
        for (path, status, body) in answers {
            let answer = traced(rig, &pinned(path, *sequence)).await;
            if gone && *sequence < u64::try_from(count).unwrap() {
                assert_eq!((answer.status, &answer.body["code"]), (410, &json!("sequence_gone")), "{path}");
                continue;
            }
            assert_eq!((answer.status, &answer.body), (*status, body), "{path} as of {sequence} at {count}");
            assert_eq!(answer.header("x-tickwell-sequence"), Some(sequence.to_string().as_str()), "{path}");
        }
    }
}

#[tokio::test]
async fn a_sequence_that_is_ahead_and_one_that_is_gone_have_different_codes() {
    let mut rig = Rig::new();
    rig.send(vec![lead("BTC-USD"), tick("BTC-USD", 10, "1"), tick("BTC-USD", 20, "2")]).await;
    for path in ["/v1/pairs", "/v1/prices/BTC-USD", "/v1/ticks/1"] {
        let ahead = rig.get(&pinned(path, 4)).await;
        assert_eq!((ahead.status, &ahead.body["code"]), (409, &json!("sequence_ahead")), "{path}");
        assert_eq!(ahead.body["parameter"], json!("at_sequence"));
        assert_eq!(ahead.header("retry-after"), Some("1"));
        assert_eq!(ahead.header("x-tickwell-sequence"), Some("3"));
        // The first record is a lead, so at its sequence there was no tick or gap yet.
        let gone = rig.get(&pinned(path, 1)).await;
        assert_eq!((gone.status, &gone.body["code"]), (410, &json!("sequence_gone")), "{path}");
    }
    // At sequence 2, the record with sequence 3 does not exist yet.
    assert_eq!(rig.get(&pinned("/v1/ticks/3", 2)).await.body["code"], json!("unknown_sequence"));
    rig.send(vec![gap("BTC-USD", 30, 3_610)]).await;
    assert_eq!(rig.get(&pinned("/v1/prices/BTC-USD", 2)).await.body["price"], json!("1"));
    rig.send(vec![gap("BTC-USD", 3_620, 3_620)]).await;
    assert_eq!(rig.get(&pinned("/v1/prices/BTC-USD", 2)).await.status, 410);
    assert_eq!(rig.get(&pinned("/v1/prices/BTC-USD", 3)).await.body["price"], json!("2"));
}

#[tokio::test]
async fn pages_stay_at_their_sequence() {
    for order in ["asc", "desc"] {
        for list in ["history", "gaps", "candles"] {
            let mut rig = Rig::new();
            let records = |slots: std::ops::Range<i64>| {
                let record = |index: i64| match index % 2 {
                    0 => tick("BTC-USD", index * 60, "1"),
                    _ => gap("BTC-USD", index * 60, index * 60),
                };
                slots.map(record).collect::<Vec<_>>()
            };
            rig.send(records(0..10)).await;
            let filter = if list == "candles" { "interval=1m&" } else { "" };
            let mut path = format!("/v1/prices/BTC-USD/{list}?{filter}order={order}&limit=2&at_sequence=8");
            let mut found = 0;
            loop {
                let answer = rig.get(&path).await;
                assert_eq!(answer.header("x-tickwell-sequence"), Some("8"), "{path}");
                // The slots between these have no record, so the pod adds a gap with the cause log_lost.
                let items = answer.body["items"].as_array().unwrap().iter();
                found += items.filter(|item| item["cause"] != json!("log_lost")).count();
                let Some(link) = answer.header("link") else { break };
                path = followed(&path, link);
                rig.send(records(10 + i64::try_from(found).unwrap()..11 + i64::try_from(found).unwrap()))
                    .await;
            }
            assert_eq!(found, 4, "{order} {list}");
        }
    }
}
