//! Tests of the server over HTTP, as Tickwell uses it.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::clock;
use crate::market::ScriptMarket;

mod dialects;
mod faults;
mod listings;
mod lists;
mod wire;

/// Long enough that no test spans two slots.
const INTERVAL: Duration = Duration::from_hours(24 * 365);

async fn start() -> FakeUpstream {
    let prices = [
        (Venue::Kraken, "BTC-USD", "97000.10000"),
        (Venue::Kraken, "ETH-USD", "3400.20000"),
        (Venue::Kraken, "BTC-CHF", "88000.1"),
        (Venue::Coinbase, "BTC-USD", "97001.25"),
        (Venue::Bitstamp, "BTC-USD", "96999"),
        (Venue::Bitstamp, "ETH-USD", "3401.5"),
        (Venue::Gemini, "BTC-USD", "97002.51"),
        (Venue::Gemini, "ETH-USD", "3402.10"),
        (Venue::Bitfinex, "BTC-USD", "97003"),
        (Venue::Bitfinex, "DOGE2-USDT", "0.125"),
        (Venue::Coingecko, "BTC-USD", "97004.123456789012"),
        (Venue::Coingecko, "ETH-USD", "3404"),
        (Venue::Binance, "BTC-USDT", "96805.00000000"),
        (Venue::Binance, "ETH-USDT", "3393.20000000"),
    ];
    let market = ScriptMarket::constant(&prices, INTERVAL, clock::now_ms()).unwrap();
    FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await.unwrap()
}

/// When the slot of [`start`]'s market begins.
fn slot_start_ms() -> i64 {
    let year_ms = 365 * 86_400_000;
    clock::now_ms() / year_ms * year_ms
}

/// The bytes received for a request, until the server closes the connection or `enough` is reached.
async fn raw(upstream: &FakeUpstream, method: &str, path: &str, headers: &str, enough: usize) -> Vec<u8> {
    let mut stream = TcpStream::connect(upstream.address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: fake\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    // There is room for a whole response, so that one read takes everything available.
    let mut response = Vec::with_capacity(64 * 1024);
    while response.len() < enough && stream.read_buf(&mut response).await.is_ok_and(|length| length > 0) {}
    response
}

/// A response, parsed as a correct client would.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn of(response: &[u8]) -> Self {
        let end = response.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(response[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: response[end + 4..].to_vec() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        if self.body.is_empty() { Value::Null } else { serde_json::from_slice(&self.body).unwrap() }
    }
}

async fn request(upstream: &FakeUpstream, method: &str, path: &str) -> Answer {
    Answer::of(&raw(upstream, method, path, "", usize::MAX).await)
}

async fn get(upstream: &FakeUpstream, path: &str) -> (u16, Value) {
    let answer = request(upstream, "GET", path).await;
    (answer.status, answer.json())
}

fn keys(object: &Value) -> Vec<&String> {
    object.as_object().unwrap().keys().collect()
}

#[tokio::test]
async fn a_price_set_at_run_time_overrides_the_market_until_the_market_is_followed_again() {
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
    assert_eq!(pairs, ["ETH/USD", "SOL/USD", "ETH/USD-PERP"]);
}

#[tokio::test]
#[should_panic(expected = "BASE-QUOTE")]
async fn a_misspelt_pair_is_not_ignored() {
    start().await.set_price(Venue::Kraken, "XBTUSD", None);
}

#[tokio::test]
async fn a_venue_that_is_down_returns_503_and_the_others_do_not() {
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
    get(&upstream, "/nowhere/v1/pubticker/BTCUSD").await;
    assert_eq!(request(&upstream, "POST", "/bitstamp/api/v2/ticker/").await.status, 405);

    let requests = upstream.requests();
    let seen: Vec<_> =
        requests.iter().map(|one| (one.venue, one.path_and_query.as_str(), one.status)).collect();
    assert_eq!(
        seen,
        [
            (Some(Venue::Kraken), "/0/public/Ticker?pair=XBTUSD", Some(200)),
            (None, "/nowhere/v1/pubticker/BTCUSD", Some(404)),
            (Some(Venue::Bitstamp), "/api/v2/ticker/", Some(405)),
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
    // A response proves that the connection was accepted. The connection stays open afterwards.
    idle.write_all(b"GET /kraken/ HTTP/1.1\r\nhost: fake\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 1_024]).await.unwrap() > 0);
    upstream.stop().await;
    // Check at once, without giving the runtime time to clean up.
    assert!(std::net::TcpStream::connect(address).is_err());
    let mut rest = Vec::new();
    // The connection may be closed or reset.
    let _ended = idle.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn the_environment_points_every_source_at_the_server() {
    let upstream = start().await;
    let url = upstream.url();
    let environment = upstream.environment();
    assert_eq!(environment.len(), Venue::ALL.len());
    let gemini = ("TICKWELL__SOURCES__GEMINI__URL".to_owned(), format!("{url}/gemini"));
    assert!(environment.contains(&gemini), "{environment:?}");
}
