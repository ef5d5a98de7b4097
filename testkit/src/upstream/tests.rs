//! The server over HTTP, as a source of Tickwell meets it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::clock;
use crate::market::ScriptMarket;

/// Long enough that no test sees two slots, and the epoch's own slot is far away.
const INTERVAL: Duration = Duration::from_hours(24 * 365);

async fn start() -> FakeUpstream {
    let prices = [
        (Venue::Kraken, "BTC-USD", "97000.10000"),
        (Venue::Kraken, "ETH-USD", "3400.20000"),
        (Venue::Kraken, "BTC-CHF", "88000.1"),
        (Venue::Coinbase, "BTC-USD", "97001.25"),
        (Venue::Bitstamp, "BTC-USD", "96999"),
        (Venue::Bitstamp, "ETH-USD", "3401.5"),
    ];
    let market = ScriptMarket::constant(&prices, INTERVAL, clock::now_ms()).unwrap();
    FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await.unwrap()
}

/// When the slot of [`start`]'s market began.
fn slot_start_ms() -> i64 {
    let year_ms = 365 * 86_400_000;
    clock::now_ms() / year_ms * year_ms
}

/// Status and body of a request.
async fn request(upstream: &FakeUpstream, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(upstream.address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: fake\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

async fn get(upstream: &FakeUpstream, path: &str) -> (u16, Value) {
    let (status, body) = request(upstream, "GET", path).await;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(&body).unwrap() };
    (status, body)
}

fn keys(object: &Value) -> Vec<&String> {
    object.as_object().unwrap().keys().collect()
}

#[tokio::test]
async fn kraken_answers_a_list_by_canonical_names() {
    let upstream = start().await;
    let (status, body) = get(&upstream, "/kraken/0/public/Ticker?pair=XBTUSD%2CETHUSD,XBTCHF").await;
    assert_eq!((status, &body["error"]), (200, &json!([])));
    assert_eq!(keys(&body["result"]), ["XBTCHF", "XETHZUSD", "XXBTZUSD"]);
    assert_eq!(body["result"]["XXBTZUSD"]["c"][0], "97000.10000");
    assert_eq!(body["result"]["XETHZUSD"]["c"][0], "3400.20000");
    assert_eq!(keys(&body["result"]["XXBTZUSD"]), ["a", "b", "c", "h", "l", "o", "p", "t", "v"]);

    let (_, everything) = get(&upstream, "/kraken/0/public/Ticker").await;
    assert_eq!(keys(&everything["result"]).len(), 3);
}

#[tokio::test]
async fn one_unknown_pair_fails_the_whole_list_of_kraken() {
    let upstream = start().await;
    for list in ["XBTUSD,NOPE", "NOPE", "XBTUSD,"] {
        let (status, body) = get(&upstream, &format!("/kraken/0/public/Ticker?pair={list}")).await;
        assert_eq!((status, body), (200, json!({"error": ["EQuery:Unknown asset pair"]})), "{list}");
    }
}

#[tokio::test]
async fn coinbase_answers_for_one_product() {
    let upstream = start().await;
    let (status, body) = get(&upstream, "/coinbase/products/BTC-USD/ticker").await;
    assert_eq!((status, &body["price"]), (200, &json!("97001.25")));
    assert_eq!(keys(&body), ["ask", "bid", "price", "size", "time", "trade_id", "volume"]);
    let time = chrono::DateTime::parse_from_rfc3339(body["time"].as_str().unwrap()).unwrap();
    assert_eq!(time.timestamp_millis(), slot_start_ms());

    for unknown in ["/coinbase/products/ETH-USD/ticker", "/coinbase/products/BTC-USD"] {
        assert_eq!(get(&upstream, unknown).await, (404, json!({"message": "NotFound"})));
    }
}

#[tokio::test]
async fn bitstamp_answers_for_all_pairs_and_for_one() {
    let upstream = start().await;
    let timestamp = json!((slot_start_ms() / 1_000).to_string());
    let (status, all) = get(&upstream, "/bitstamp/api/v2/ticker/").await;
    assert_eq!((status, all.as_array().unwrap().len()), (200, 2));
    assert_eq!((&all[0]["pair"], &all[0]["last"]), (&json!("BTC/USD"), &json!("96999")));
    assert_eq!((&all[1]["pair"], &all[1]["last"]), (&json!("ETH/USD"), &json!("3401.5")));
    assert_eq!(all[0]["timestamp"], timestamp);

    let (status, one) = get(&upstream, "/bitstamp/api/v2/ticker/btcusd/").await;
    assert_eq!((status, &one["last"], &one["timestamp"]), (200, &json!("96999"), &timestamp));
    assert_eq!(one.get("pair"), None);
    assert_eq!(get(&upstream, "/bitstamp/api/v2/ticker/nope/").await.0, 404);
}

#[tokio::test]
async fn a_price_set_at_run_time_goes_over_the_market_until_it_is_followed_again() {
    let upstream = start().await;
    let coinbase = "/coinbase/products/BTC-USD/ticker";
    let before_ms = clock::now_ms();
    upstream.set_price(Venue::Coinbase, "BTC-USD", Some("1.50"));
    let (_, body) = get(&upstream, coinbase).await;
    assert_eq!(body["price"], "1.50");
    let time = chrono::DateTime::parse_from_rfc3339(body["time"].as_str().unwrap()).unwrap();
    assert!(time.timestamp_millis() >= before_ms);

    upstream.set_price(Venue::Coinbase, "BTC-USD", None);
    assert_eq!(get(&upstream, coinbase).await.0, 404);
    upstream.follow_market(Venue::Coinbase, "BTC-USD");
    assert_eq!(get(&upstream, coinbase).await.1["price"], "97001.25");

    upstream.set_price(Venue::Bitstamp, "SOL-USD", Some("150"));
    upstream.set_price(Venue::Bitstamp, "BTC-USD", None);
    let (_, all) = get(&upstream, "/bitstamp/api/v2/ticker/").await;
    let pairs: Vec<&Value> = all.as_array().unwrap().iter().map(|one| &one["pair"]).collect();
    assert_eq!(pairs, ["ETH/USD", "SOL/USD"]);
}

#[tokio::test]
#[should_panic(expected = "BASE-QUOTE")]
async fn a_misspelt_pair_is_not_ignored() {
    start().await.set_price(Venue::Kraken, "XBTUSD", None);
}

#[tokio::test]
async fn a_venue_that_is_down_answers_503_and_the_others_go_on() {
    let upstream = start().await;
    upstream.set_down(Venue::Bitstamp, true);
    assert_eq!(get(&upstream, "/bitstamp/api/v2/ticker/").await.0, 503);
    assert_eq!(get(&upstream, "/coinbase/products/BTC-USD/ticker").await.0, 200);
    upstream.set_down(Venue::Bitstamp, false);
    assert_eq!(get(&upstream, "/bitstamp/api/v2/ticker/").await.0, 200);
}

#[tokio::test]
async fn every_request_is_logged() {
    let upstream = start().await;
    let before_ms = clock::now_ms();
    get(&upstream, "/kraken/0/public/Ticker?pair=XBTUSD").await;
    get(&upstream, "/gemini/v1/pubticker/BTCUSD").await;
    assert_eq!(request(&upstream, "POST", "/bitstamp/api/v2/ticker/").await.0, 405);

    let requests = upstream.requests();
    let seen: Vec<_> =
        requests.iter().map(|one| (one.venue, one.path_and_query.as_str(), one.status)).collect();
    assert_eq!(
        seen,
        [
            (Some(Venue::Kraken), "/0/public/Ticker?pair=XBTUSD", 200),
            (None, "/gemini/v1/pubticker/BTCUSD", 404),
            (Some(Venue::Bitstamp), "/api/v2/ticker/", 405),
        ]
    );
    assert!(requests.iter().all(|one| (before_ms..=clock::now_ms()).contains(&one.time_ms)));
    assert_eq!(upstream.requests_to(Venue::Kraken), requests[..1]);
}

#[tokio::test]
async fn stopping_closes_connections_and_frees_the_port() {
    let upstream = start().await;
    let address = upstream.address;
    let mut idle = TcpStream::connect(address).await.unwrap();
    // An answer proves that the connection was accepted, and it stays open after it.
    idle.write_all(b"GET /kraken/ HTTP/1.1\r\nhost: fake\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 1_024]).await.unwrap() > 0);
    upstream.stop().await;
    // Without giving the runtime a turn in which it could still tidy up.
    assert!(std::net::TcpStream::connect(address).is_err());
    let mut rest = Vec::new();
    // Closed or reset, either is an end.
    let _ended = idle.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn the_environment_points_every_source_at_the_server() {
    let upstream = start().await;
    let url = upstream.url();
    let expected = [
        ("TICKWELL__SOURCES__KRAKEN__URL".to_owned(), format!("{url}/kraken")),
        ("TICKWELL__SOURCES__COINBASE__URL".to_owned(), format!("{url}/coinbase")),
        ("TICKWELL__SOURCES__BITSTAMP__URL".to_owned(), format!("{url}/bitstamp")),
    ];
    assert_eq!(upstream.environment(), expected);
}
