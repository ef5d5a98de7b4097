//! Tests of history in formats other than JSON, and of thinned history.

use std::{sync::mpsc, time::Duration};

use rust_decimal::Decimal;
use serde_json::{Value, json};
use testkit::naive::Tick;
use tokio::{runtime::Builder, time::timeout};

use crate::{
    random_log::{PAIRS, RandomLog},
    rig::{Rig, at, followed, tick},
};

const HISTORY: &str = "/v1/prices/BTC-USD/history";

/// The time limit of a request that would otherwise wait forever.
const DEADLINE: Duration = Duration::from_secs(20);

const CSV: &str = "text/csv; charset=utf-8; header=present";

async fn three_ticks() -> Rig {
    let mut rig = Rig::new();
    let ticks = [(10, "97012.30"), (20, "97012.3"), (30, "0.00000001")];
    rig.send(ticks.map(|(second, price)| tick("BTC-USD", second, price)).to_vec()).await;
    rig
}

#[tokio::test]
async fn history_comes_in_the_requested_format() {
    let rig = three_ticks().await;
    let line = |second: i64, price: &str, sequence: u64| format!("{},{price},{sequence},false\n", at(second));
    let csv =
        ["slot,price,sequence,backfilled\n".to_owned(), line(10, "97012.30", 1), line(20, "97012.3", 2)]
            .concat();
    let object = |second: i64, price: &str, sequence: u64| {
        format!(
            "{{\"slot\":\"{}\",\"price\":\"{price}\",\"sequence\":{sequence},\"backfilled\":false}}\n",
            at(second)
        )
    };
    let ndjson = [object(10, "97012.30", 1), object(20, "97012.3", 2)].concat();
    let to = at(30).unix_millis();
    for (accept, query, media, text) in [
        ("text/csv", "", CSV, Some(&csv)),
        ("text/csv, application/json;q=0.9", "", CSV, Some(&csv)),
        ("application/x-ndjson", "", "application/x-ndjson", Some(&ndjson)),
        ("application/json", "&format=csv", CSV, Some(&csv)),
        ("text/html", "&format=ndjson", "application/x-ndjson", Some(&ndjson)),
        ("text/csv", "&format=json", "application/json; charset=utf-8", None),
        ("*/*", "", "application/json; charset=utf-8", None),
    ] {
        let answer = rig.get_as(&format!("{HISTORY}?order=asc&to={to}{query}"), accept).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media)), "{accept} {query}");
        assert_eq!(answer.header("vary"), Some("Accept"), "{accept} {query}");
        match text {
            Some(text) => assert_eq!(&answer.text, text, "{accept} {query}"),
            None => {
                let lines: Vec<Value> =
                    ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                assert_eq!(answer.body, json!({"items": lines, "next_cursor": null}), "{accept} {query}");
            }
        }
    }
    let empty = rig.get(&format!("{HISTORY}?format=csv&to={}", at(10).unix_millis())).await;
    assert_eq!(empty.text, "slot,price,sequence,backfilled\n");
    let empty = rig.get(&format!("{HISTORY}?format=ndjson&to={}", at(10).unix_millis())).await;
    assert_eq!((empty.status, empty.text.as_str()), (200, ""));
    let refused = rig.get_as(HISTORY, "text/html, application/xml;q=0.9").await;
    assert_eq!((refused.status, &refused.body["code"]), (406, &json!("not_acceptable")));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
}

#[tokio::test]
async fn links_between_pages_keep_the_format() {
    let rig = three_ticks().await;
    for (query, accept) in [("format=csv&", "*/*"), ("format=ndjson&", "text/csv"), ("", "text/csv")] {
        let (mut path, mut lines, mut pages) = (format!("{HISTORY}?{query}limit=2"), Vec::new(), 0);
        loop {
            let answer = rig.get_as(&path, accept).await;
            lines.extend(answer.text.lines().map(str::to_owned).filter(|line| !line.starts_with("slot")));
            pages += 1;
            let Some(link) = answer.header("link") else { break };
            assert!(link.contains(query), "{link}");
            path = followed(&path, link);
        }
        assert_eq!((pages, lines.len()), (2, 3), "{query}");
        assert!(lines[0].contains("0.00000001") && lines[2].contains("97012.30"), "{lines:?}");
    }
}

/// The expected ticks by number, computed in the simplest way: the first, lowest, highest and last of every bucket.
fn naive_sample(ticks: &[Tick], points: usize) -> Vec<usize> {
    if ticks.len() <= points {
        return (0..ticks.len()).collect();
    }
    let (first, last) = (ticks[0].slot, ticks[ticks.len() - 1].slot);
    let between = i64::try_from(points / 4 - 1).unwrap();
    let mut length = i64::MAX;
    if between > 0 {
        let least = (last - first + between - 1) / between;
        let units = [86_400_000, 3_600_000, 60_000, 1_000, 1];
        let unit = units.into_iter().find(|unit| *unit == 1 || least >= 2 * unit).unwrap();
        length = (least + unit - 1) / unit * unit;
    }
    let price = |number: &usize| ticks[*number].price.parse::<Decimal>().unwrap();
    let mut taken = Vec::new();
    for bucket in (0..ticks.len())
        .collect::<Vec<_>>()
        .chunk_by(|one, other| ticks[*one].slot / length == ticks[*other].slot / length)
    {
        let lowest = bucket.iter().min_by_key(|number| price(number)).unwrap();
        let highest = bucket.iter().rev().max_by_key(|number| price(number)).unwrap();
        taken.extend([bucket[0], *lowest, *highest, bucket[bucket.len() - 1]]);
    }
    taken.sort_unstable();
    taken.dedup();
    taken
}

/// Checks what must be true for any choice of buckets.
fn check(ticks: &[Tick], taken: &[usize], points: usize) {
    assert!(taken.len() <= points && taken.is_sorted_by(|one, other| one < other));
    assert!(ticks.len() > points || taken.len() == ticks.len());
    let Some(last) = ticks.len().checked_sub(1) else { return };
    assert!(taken.contains(&0) && taken.contains(&last));
    let price = |number: &usize| ticks[*number].price.parse::<Decimal>().unwrap();
    let extremes = |numbers: &mut dyn Iterator<Item = usize>| {
        let prices: Vec<Decimal> = numbers.map(|number| price(&number)).collect();
        (prices.iter().min().copied(), prices.iter().max().copied())
    };
    assert_eq!(extremes(&mut taken.iter().copied()), extremes(&mut (0..ticks.len())));
}

/// The store is closed, and the only thread for reads from the disk is occupied.
#[test]
fn ticks_in_memory_are_served_without_the_store_and_without_another_thread() {
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let rig = three_ticks().await;
        let paths = [
            format!("{HISTORY}?limit=2"),
            format!("{HISTORY}?from={}&order=asc", at(5).unix_millis()),
            "/v1/prices/BTC-USD/averages?window=10s,30s".to_owned(),
        ];
        let mut before = Vec::new();
        for path in &paths {
            before.push(rig.get(path).await.text);
        }
        rig.close_store();
        // Whether there are older ticks is only known to the store.
        let all = rig.get(&format!("{HISTORY}?limit=3")).await;
        assert_eq!((all.status, &all.body["code"]), (503, &json!("store_unavailable")));
        let (release, held) = mpsc::channel::<()>();
        let occupied = tokio::task::spawn_blocking(move || held.recv());
        for (path, before) in paths.iter().zip(&before) {
            // Another value of `Accept`, so that the response is computed again.
            let answer = timeout(DEADLINE, rig.get_as(path, "application/json")).await.unwrap();
            assert_eq!((answer.status, &answer.text), (200, before), "{path}");
        }
        drop(release);
        occupied.await.unwrap().unwrap_err();
    });
}

/// Compares pods that keep everything, some and almost nothing in memory with the ticks of the log. The last one is
/// restarted.
#[tokio::test]
async fn a_page_is_the_same_whatever_a_pod_keeps_in_memory() {
    let log = RandomLog::new(40, 400);
    let [mut much, mut some, mut little] =
        [86_400, 900, 10].map(|seconds| Rig::keeping(Duration::from_secs(seconds)));
    for batch in &log.batches {
        for rig in [&mut much, &mut some, &mut little] {
            rig.send(batch.clone()).await;
        }
    }
    little = little.restarted().await;
    // At an earlier sequence, the windows in memory have ticks that are too new. `little` does not reach back so far.
    let everything = (400, "", vec![&some, &little]);
    let pinned = (380, "&at_sequence=380", vec![&some]);
    for (pair, (end, pin, others)) in
        PAIRS.into_iter().flat_map(|pair| [(pair, everything.clone()), (pair, pinned.clone())])
    {
        let ticks = log.ticks(pair, end);
        let (first, last) = (ticks[0].slot, ticks[ticks.len() - 1].slot);
        for (from, to) in [
            (first, last + 900_000),
            (last - 905_000, last),
            (last - 900_000, last + 1),
            (first + 1, last - 1),
        ] {
            for (order, limit) in [("asc", 1), ("asc", 60), ("desc", 7), ("desc", 100), ("desc", 5_000)] {
                let inside = ticks.iter().filter(|tick| (from..to).contains(&tick.slot));
                let mut expected: Vec<String> = inside.map(|tick| tick.price.clone()).collect();
                if order == "desc" {
                    expected.reverse();
                }
                expected.truncate(limit);
                let path =
                    format!("/v1/prices/{pair}/history?order={order}&limit={limit}&from={from}&to={to}{pin}");
                let answer = much.get(&path).await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.text);
                let items = answer.body["items"].as_array().unwrap();
                let found: Vec<&str> = items.iter().map(|item| item["price"].as_str().unwrap()).collect();
                assert_eq!(found, expected, "{path}");
                for rig in &others {
                    let other = rig.get(&path).await;
                    assert_eq!(
                        (&other.text, other.header("link")),
                        (&answer.text, answer.header("link")),
                        "{path}"
                    );
                }
            }
        }
    }
}

/// Compares a pod that keeps everything in memory with one that keeps almost nothing and is restarted.
#[tokio::test]
async fn thinned_history_keeps_the_extremes_and_has_only_real_ticks() {
    for seed in 30..33 {
        let log = RandomLog::new(seed, 400);
        let [mut much, mut little] = [86_400, 10].map(|seconds| Rig::keeping(Duration::from_secs(seconds)));
        for batch in &log.batches {
            much.send(batch.clone()).await;
            little.send(batch.clone()).await;
        }
        little = little.restarted().await;
        for pair in PAIRS {
            let all = log.ticks(pair, 400);
            let (first, last) = (all[0].slot, all[all.len() - 1].slot);
            let third = (last - first) / 3;
            for (from, to) in
                [(None, None), (Some(first + third), None), (Some(first + 1), Some(last - third))]
            {
                let inside = |tick: &&Tick| {
                    from.is_none_or(|from| tick.slot >= from) && to.is_none_or(|to| tick.slot < to)
                };
                let ticks: Vec<Tick> = all.iter().filter(inside).cloned().collect();
                let range = [("from", from), ("to", to)]
                    .map(|(name, at)| at.map(|at| format!("&{name}={at}")).unwrap_or_default())
                    .concat();
                for points in [4, 5, 7, 8, 9, 12, 20, 41, 100, 160, 10_000] {
                    for order in ["asc", "desc"] {
                        let path =
                            format!("/v1/prices/{pair}/history?max_points={points}&order={order}{range}");
                        let answer = much.get(&path).await;
                        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
                        assert_eq!(answer.text, little.get(&path).await.text, "{path}, seed {seed}");
                        assert_eq!(
                            (answer.header("link"), &answer.body["next_cursor"]),
                            (None, &Value::Null)
                        );
                        let expected = naive_sample(&ticks, points);
                        check(&ticks, &expected, points);
                        let mut found: Vec<(String, String, u64)> = answer.body["items"]
                            .as_array()
                            .unwrap()
                            .iter()
                            .map(|item| {
                                let text = |name: &str| item[name].as_str().unwrap().to_owned();
                                (text("slot"), text("price"), item["sequence"].as_u64().unwrap())
                            })
                            .collect();
                        if order == "desc" {
                            found.reverse();
                        }
                        let expected: Vec<(String, String, u64)> = expected
                            .into_iter()
                            .map(|number| {
                                let Tick { slot, price, .. } = &ticks[number];
                                let slot = common::domain::Timestamp::from_unix_millis(*slot).unwrap();
                                let sequence = log.sequence_of(pair, slot);
                                (slot.to_string(), price.clone(), sequence)
                            })
                            .collect();
                        assert_eq!(found, expected, "{path}, seed {seed}");
                    }
                }
            }
        }
    }
}
