//! Tests of the freshness contract: a price that does not meet the contract is refused.

use common::{
    domain::{Body, Ratio},
    wire,
};
use serde_json::{Value, json};

use crate::rig::{Rig, at, gap, tick, tick_record};

/// The bytes of a tick of two sources, half a percent apart.
fn wide_tick(pair: &str, seconds: i64) -> Vec<u8> {
    let mut record = tick_record(pair, seconds, "100");
    let Body::Tick(tick) = &mut record.body else { unreachable!("a tick was requested") };
    let mut other = tick.evidence.quotes[0];
    other.source = "bitstamp".parse().unwrap();
    tick.evidence.quotes.push(other);
    let [low, high] = ["99.75", "100.25"].map(|price| price.parse().unwrap());
    tick.spread = Ratio::distance(low, high, tick.price);
    wire::encode(&record)
}

const ROUTES: [&str; 5] = [
    "/v1/prices/BTC-USD?",
    "/v1/prices?pairs=ETH-USD,BTC-USD&",
    "/v1/prices/BTC-USD/averages?window=10s&",
    "/v1/convert?from=USD&to=BTC&",
    "/v1/convert?from=ETH&to=BTC&",
];

#[tokio::test]
async fn a_price_that_does_not_meet_the_contract_is_refused_and_comes_with_the_problem() {
    let mut rig = Rig::new();
    let log = [
        tick("BTC-USD", 10, "100"),
        wide_tick("ETH-USD", 20),
        wide_tick("BTC-USD", 20),
        gap("BTC-USD", 30, 30),
    ];
    rig.send(log.to_vec()).await;
    rig.clock.set(at(33));
    let price = rig.get("/v1/prices/BTC-USD").await.body;
    for route in ROUTES {
        let plain = rig.get(route.trim_end_matches(['?', '&'])).await;
        for met in [
            "max_age=13s",
            "min_sources=2",
            "min_sources=1",
            "max_spread=0.005",
            "max_spread=0.5%25",
            "max_spread=0.5%",
            "max_age=1d&min_sources=2&max_spread=1",
        ] {
            let answer = rig.get(&format!("{route}{met}")).await;
            assert_eq!((answer.status, &answer.bytes), (200, &plain.bytes), "{route}{met}: {}", answer.body);
        }
        for (query, parameter) in [
            ("max_age=12s", "max_age"),
            ("max_age=12999ms&min_sources=9", "max_age"),
            ("min_sources=3", "min_sources"),
            ("max_spread=0.00499999", "max_spread"),
            ("max_spread=0.4%25", "max_spread"),
            ("max_age=13s&min_sources=2&max_spread=0", "max_spread"),
        ] {
            let answer = rig.get(&format!("{route}{query}")).await;
            assert_eq!(answer.status, 503, "{route}{query}: {}", answer.body);
            assert_eq!(answer.body["code"], json!("contract_not_met"), "{route}{query}");
            assert_eq!(answer.body["parameter"], json!(parameter), "{route}{query}");
            // The next slot begins at 40 s.
            assert_eq!(answer.header("retry-after"), Some("7"), "{route}{query}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            let newest = &answer.body["newest"];
            assert!(["BTC-USD", "ETH-USD"].contains(&newest["pair"].as_str().unwrap()));
            if newest["pair"] == json!("BTC-USD") {
                assert_eq!(newest, &price, "{route}{query}");
            }
        }
    }
    // Without a contract a stale price is returned and marked as stale.
    rig.clock.set(at(1_000));
    assert_eq!(rig.get("/v1/prices/BTC-USD").await.body["stale"], json!(true));
    let refused = rig.get("/v1/prices/BTC-USD?max_age=30s").await;
    assert_eq!((refused.status, &refused.body["newest"]["stale"]), (503, &json!(true)));
    assert_eq!(refused.header("retry-after"), Some("10"), "the clock is at 1000, so the next slot is 1010");
    assert_eq!(rig.get("/v1/nothing").await.body.get("newest"), None);
}

#[tokio::test]
async fn every_listed_price_must_meet_the_contract() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100"), wide_tick("ETH-USD", 10), gap("SOL-USD", 10, 10)]).await;
    rig.clock.set(at(11));
    let narrow = rig.get("/v1/prices?max_spread=0.1%25").await;
    assert_eq!((narrow.status, &narrow.body["newest"]["pair"]), (503, &json!("ETH-USD")));
    assert_eq!(rig.get("/v1/prices?max_spread=0.1%25&pairs=BTC-USD").await.status, 200);
    let many = rig.get("/v1/prices?min_sources=2").await;
    assert_eq!((many.status, &many.body["newest"]["pair"]), (503, &json!("BTC-USD")));
    assert_eq!(rig.get("/v1/prices?max_age=1s").await.body["items"].as_array().unwrap().len(), 2);
    // A pair without a price does not meet any contract.
    for path in ["/v1/prices/SOL-USD?min_sources=1", "/v1/prices/SOL-USD/averages?max_age=1d"] {
        assert_eq!(rig.get(path).await.body["code"], json!("no_price_yet"), "{path}");
    }
}

#[tokio::test]
async fn a_malformed_contract_is_refused_by_name() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    for route in ["/v1/prices?", "/v1/prices/BTC-USD?", "/v1/prices/BTC-USD/averages?"] {
        for (query, parameter) in [
            ("max_age=30", "max_age"),
            ("max_age=", "max_age"),
            ("min_sources=0", "min_sources"),
            ("min_sources=two", "min_sources"),
            ("max_spread=-1", "max_spread"),
            ("max_spread=0.000000001", "max_spread"),
        ] {
            let answer = rig.get(&format!("{route}{query}")).await;
            let found = (answer.status, &answer.body["code"], &answer.body["parameter"]);
            assert_eq!(found, (400, &json!("invalid_parameter"), &json!(parameter)), "{route}{query}");
        }
    }
}

#[tokio::test]
async fn requested_pairs_are_returned_in_the_order_of_the_request() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100"), tick("ETH-USD", 10, "5"), gap("SOL-USD", 10, 10)]).await;
    let names = |body: &Value| {
        let items = body["items"].as_array().unwrap().iter();
        items.map(|item| item["pair"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&rig.get("/v1/prices").await.body), ["BTC-USD", "ETH-USD"]);
    let asked = rig.get("/v1/prices?pairs=eth_usd,BTC%2FUSD").await.body;
    assert_eq!(names(&asked), ["ETH-USD", "BTC-USD"]);
    assert_eq!(asked["items"][1], rig.get("/v1/prices/BTC-USD").await.body);
    assert_eq!(names(&rig.get("/v1/prices?pairs=ETH-USD&at_sequence=2").await.body), ["ETH-USD"]);

    let many: Vec<String> = (0..65).map(|number| format!("A{number}-USD")).collect();
    for (pairs, status, code) in [
        ("BTC-USD,DOGE-USD", 404, "unknown_pair"),
        ("BTC-USD,btc/usd", 400, "invalid_parameter"),
        ("", 400, "invalid_parameter"),
        ("BTC-USD,", 400, "invalid_parameter"),
        ("BTCUSD", 400, "invalid_parameter"),
        (&many.join(","), 400, "invalid_parameter"),
    ] {
        let answer = rig.get(&format!("/v1/prices?pairs={pairs}")).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{pairs}");
        assert_eq!(answer.body["parameter"], json!("pairs"), "{pairs}");
    }
    let silent = rig.get("/v1/prices?pairs=BTC-USD,SOL-USD").await;
    assert_eq!((silent.status, &silent.body["code"]), (503, &json!("no_price_yet")));
}

#[tokio::test]
async fn the_contract_of_a_conversion_applies_to_the_prices_it_uses() {
    let mut rig = Rig::new();
    // The newest common slot is 20, although one pair has a newer price.
    rig.send(vec![wide_tick("BTC-USD", 20), wide_tick("ETH-USD", 20), tick("BTC-USD", 30, "100")]).await;
    rig.clock.set(at(33));
    let path = "/v1/convert?from=ETH&to=BTC&";
    assert_eq!(rig.get(&format!("{path}min_sources=2&max_age=13s")).await.status, 200);
    for (query, parameter) in [("max_age=12s", "max_age"), ("max_spread=0.1%25", "max_spread")] {
        let answer = rig.get(&format!("{path}{query}")).await;
        assert_eq!((answer.status, &answer.body["parameter"]), (503, &json!(parameter)), "{query}");
    }
}

#[tokio::test]
async fn max_age_limits_how_long_a_price_may_be_cached() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100"), tick("ETH-USD", 20, "10"), tick("BTC-USD", 20, "100")]).await;
    rig.clock.set(at(21));
    for (path, seconds) in [
        ("/v1/prices/BTC-USD", 9),
        ("/v1/prices/BTC-USD?max_age=3s", 2),
        ("/v1/prices?max_age=1500ms", 0),
        ("/v1/prices/BTC-USD/averages?max_age=5s", 4),
        ("/v1/convert?from=BTC&to=ETH&max_age=8s", 7),
        ("/v1/prices/BTC-USD?max_age=1d", 9),
    ] {
        let held = format!("public, max-age={seconds}, must-revalidate");
        assert_eq!(rig.get(path).await.header("cache-control"), Some(held.as_str()), "{path}");
    }
}

#[tokio::test]
async fn a_pinned_request_that_does_not_meet_the_contract_has_no_retry_after() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100"), tick("BTC-USD", 20, "100")]).await;
    for path in ["/v1/prices/BTC-USD?min_sources=2", "/v1/prices/BTC-USD/averages?window=1h&min_coverage=1"] {
        assert!(rig.get(path).await.header("retry-after").is_some(), "{path}");
        let pinned = rig.get(&format!("{path}&at_sequence=1")).await;
        assert_eq!((pinned.status, pinned.header("retry-after")), (503, None), "{path}");
    }
}
