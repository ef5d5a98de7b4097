//! Tests of the answers that a pod keeps until the next snapshot.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    random_log::RandomLog,
    rig::{Answer, Rig, at},
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
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let log = RandomLog::new(seed, 60);
        let mut rig = Rig::new();
        let (mut sequence, mut newest) = (0, 3_590);
        for batch in log.batches.clone() {
            sequence += batch.len();
            rig.send(batch).await;
            newest = log.newest_slot(None, sequence).unwrap_or(newest);
            let mut now = at(newest + random.random_range(0..5));
            rig.clock.set(now);
            for _request in 0..60 {
                if random.random_ratio(1, 5) {
                    let millis = random.random_range(1..9_000);
                    now = now.plus(Duration::from_millis(millis));
                    rig.clock.set(now);
                }
                // Few values, so that requests repeat.
                let target = TARGETS
                    .choose(&mut random)
                    .unwrap()
                    .replace("{seq}", &sequence.saturating_sub(random.random_range(0..2)).max(1).to_string())
                    .replace("{age}", ["15", "25"].choose(&mut random).unwrap())
                    .replace("{time}", &at(newest - random.random_range(0..2) * 60).to_string());
                let accept = *ACCEPTED.choose(&mut random).unwrap();
                let gzip = *["", "gzip"].choose(&mut random).unwrap();
                let first = rig.ask(&target, &[("accept", accept), ("accept-encoding", gzip)]).await;
                let known = match (random.random_ratio(1, 4), first.header("etag")) {
                    (true, Some(tag)) => tag.to_owned(),
                    _ => "\"unknown\"".to_owned(),
                };
                let headers = [("accept-encoding", gzip), ("if-none-match", known.as_str())];
                let before = rig.kept_answers();
                let kept = rig.ask(&target, &[&[("accept", accept)][..], &headers].concat()).await;
                kept_answers += rig.kept_answers() - before;
                // An answer is only kept if the value of `Accept` is short.
                let long = vec![if accept.is_empty() { "*/*" } else { accept }; 400].join(",");
                let computed = rig.ask(&target, &[&[("accept", long.as_str())][..], &headers].concat()).await;
                assert_eq!(seen(&kept), seen(&computed), "{seed} {target} {accept} {gzip} {known}");
            }
        }
    }
    assert!(kept_answers > 500, "only {kept_answers} answers were sent again");
}
