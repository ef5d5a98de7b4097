//! Tests of the answers that a pod keeps until the next snapshot.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    random_log::RandomLog,
    rig::{Answer, Rig, at, tick},
};

/// Requests to every route whose answers are kept, with every parameter. `{seq}`, `{old}` and `{time}` stand for values
/// that are drawn for each request.
const TARGETS: [&str; 35] = [
    "/",
    "/openapi.json",
    "/v1/pairs",
    "/v1/pairs?at_sequence={seq}",
    "/v1/prices",
    "/v1/prices?pairs=ETH-USD",
    "/v1/prices?max_age={age}s",
    "/v1/prices?at_sequence={seq}",
    "/v1/prices/BTC-USD",
    "/v1/prices/ETH-USD?min_sources=1&max_spread=1%",
    "/v1/prices/BTC-USD?max_age={age}s",
    "/v1/prices/BTC-USD?max_age={age}s&at_sequence={seq}",
    "/v1/prices/BTC-USD?at_sequence={seq}",
    "/v1/prices/BTC-USD/averages?window=10s,1m,10m",
    "/v1/prices/BTC-USD/averages?window=10m&to={time}",
    "/v1/prices/BTC-USD/averages?window=1m&min_coverage=0.5&max_age={age}s",
    "/v1/prices/BTC-USD/averages?window=1m&at_sequence={seq}",
    "/v1/prices/BTC-USD/history",
    "/v1/prices/BTC-USD/history?limit=3&order=asc",
    "/v1/prices/BTC-USD/history?to={time}&format=csv",
    "/v1/prices/BTC-USD/history?max_points=5&at_sequence={seq}",
    "/v1/prices/BTC-USD/candles?interval=1m",
    "/v1/prices/BTC-USD/candles?interval=1m&limit=2&at_sequence={seq}",
    "/v1/prices/BTC-USD/gaps",
    "/v1/prices/BTC-USD/gaps?limit=1",
    "/v1/prices/BTC-USD/at?time={time}",
    "/v1/prices/NONE-USD",
    "/v1/convert?from=BTC&to=USD&amount=2",
    "/v1/convert?from=ETH&to=BTC&amount=1&max_age={age}s",
    "/v1/ticks/{seq}",
    "/v1/sources",
    "/api/v3/ping",
    "/api/v3/simple/price?ids=bitcoin,ethereum&vs_currencies=usd&include_last_updated_at=true",
    "/api/v3/coins/bitcoin/market_chart?vs_currency=usd&days=1",
    "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd&x_cg_demo_api_key=none",
];

const ACCEPTED: [&str; 4] = ["", "*/*", "application/json", "text/csv, application/json;q=0.5"];

/// Everything of an answer that a client sees, except for the id of the trace, which is different in each problem.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let mut headers = answer.all_headers();
    headers.sort();
    let body = match answer.body["trace_id"].as_str() {
        Some(trace) => answer.text.replace(trace, "TRACE"),
        None => format!("{:?}", answer.bytes),
    };
    (answer.status, headers, body)
}

#[tokio::test]
async fn a_kept_answer_equals_the_one_that_the_route_would_return() {
    let mut kept_answers = 0;
    for seed in 0..8 {
        let mut random = StdRng::seed_from_u64(seed);
        let log = RandomLog::new(seed, 40);
        let (mut rig, mut sequence) = (Rig::new(), 0);
        for batch in log.batches.clone() {
            sequence += batch.len();
            rig.send(batch).await;
            let newest = log.newest_slot(None, sequence).unwrap_or_default();
            let requests: Vec<_> = (0..3).map(|_| request(&mut random, sequence, newest)).collect();
            // Until every price is stale, which takes half a minute, each request is repeated often.
            let mut now = at(newest);
            while now < at(newest + 45) {
                rig.clock.set(now);
                let (target, accept, gzip) = requests.choose(&mut random).unwrap();
                kept_answers += compare(&rig, target, accept, gzip, random.random_ratio(1, 4)).await;
                now = now.plus(Duration::from_millis(random.random_range(0..4_000)));
            }
        }
    }
    assert!(kept_answers > 500, "only {kept_answers} answers were sent again");
}

/// A random target and the values of two headers.
fn request(random: &mut StdRng, sequence: usize, newest: i64) -> (String, &'static str, &'static str) {
    let earlier = sequence.saturating_sub(random.random_range(0..3)).max(1);
    let target = TARGETS
        .choose(random)
        .unwrap()
        .replace("{seq}", &earlier.to_string())
        .replace("{age}", ["15", "25"].choose(random).unwrap())
        .replace("{time}", &at(newest - random.random_range(0..2) * 60).to_string());
    (target, ACCEPTED.choose(random).unwrap(), ["", "gzip"].choose(random).unwrap())
}

/// Compares the answer to a request with the one that is computed for it. Returns 1 if the answer was a kept one.
async fn compare(rig: &Rig, target: &str, accept: &str, gzip: &str, is_known: bool) -> u64 {
    let before = rig.kept_answers();
    let first = rig.ask(target, &[("accept", accept), ("accept-encoding", gzip)]).await;
    let is_kept = rig.kept_answers() - before;
    // An answer is only kept if the value of `Accept` is short.
    let long = vec![if accept.is_empty() { "*/*" } else { accept }; 400].join(",");
    let computed = rig.ask(target, &[("accept", &long), ("accept-encoding", gzip)]).await;
    assert_eq!(seen(&first), seen(&computed), "{target} {accept} {gzip}");
    if let Some(tag) = first.header("etag").filter(|_| is_known) {
        let known = [("accept-encoding", gzip), ("if-none-match", tag)];
        let kept = rig.ask(target, &[&[("accept", accept)][..], &known].concat()).await;
        let computed = rig.ask(target, &[&[("accept", long.as_str())][..], &known].concat()).await;
        assert_eq!((kept.status, seen(&kept)), (304, seen(&computed)), "{target} {accept} {gzip} {tag}");
    }
    is_kept
}

#[tokio::test]
async fn clients_that_ask_at_once_share_one_computation() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    // This request reads the store on another thread, so the requests overlap.
    let requests = (0..8).map(|_| rig.get("/v1/prices/BTC-USD/history?limit=7"));
    let answers = futures::future::join_all(requests).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.bytes == answers[0].bytes));
    assert_eq!(rig.kept_answers(), 7);
    // Errors are not shared.
    let requests = (0..8).map(|_| rig.get("/v1/ticks/77"));
    let answers = futures::future::join_all(requests).await;
    assert!(answers.iter().all(|answer| answer.status == 404));
    assert_eq!(rig.kept_answers(), 7);
}

#[tokio::test]
async fn a_limited_number_of_answers_is_kept_until_the_next_record() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let ask_twice = async |rig: &Rig, target: &str| {
        let before = rig.kept_answers();
        assert_eq!(rig.get(target).await.status, 200);
        assert_eq!(rig.get(target).await.status, 200);
        rig.kept_answers() - before
    };
    for limit in 1..=4_096 {
        rig.get(&format!("/v1/prices/BTC-USD/history?limit={limit}")).await;
    }
    assert_eq!(ask_twice(&rig, "/v1/prices/BTC-USD").await, 0);
    assert_eq!(ask_twice(&rig, "/v1/prices/BTC-USD/history?limit=1").await, 2);
    rig.send(vec![tick("BTC-USD", 20, "100")]).await;
    assert_eq!(ask_twice(&rig, "/v1/prices/BTC-USD").await, 1);
}
