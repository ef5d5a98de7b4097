//! Sources over real HTTP: against the fake upstream for the contracts, and against sockets that misbehave.
#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::{sync::Arc, time::Duration};

use common::domain::{Failure, Interval, Pair, Timestamp};
use poller::source::{self, Answers, Client, Setup, Source};
use testkit::{Venue, clock::now_ms, market::ScriptMarket, upstream::FakeUpstream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};

fn pairs() -> Vec<Pair> {
    vec!["BTC-USD".parse().unwrap(), "ETH-USD".parse().unwrap()]
}

fn source(name: &str, url: &str) -> Arc<dyn Source> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let setup = Setup { url: url.to_owned(), key: None, interval: "10s".parse().unwrap() };
    source::build(name.parse().unwrap(), setup, &pairs(), &Client::new().unwrap()).unwrap()
}

async fn ask(source: &Arc<dyn Source>, patience: Duration) -> Answers {
    let interval: Interval = "10s".parse().unwrap();
    let slot = interval.slot_at(Timestamp::from_unix_millis(now_ms()).unwrap());
    source.ask(slot, Instant::now() + patience).await
}

const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn each_exchange_is_read_by_its_contract() {
    let prices: Vec<(Venue, &str, &str)> = Venue::DEFAULT
        .iter()
        .flat_map(|venue| [(*venue, "BTC-USD", "97012.30"), (*venue, "ETH-USD", "3400.10")])
        .collect();
    let market = ScriptMarket::constant(&prices, Duration::from_secs(1), now_ms()).unwrap();
    let upstream = FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await.unwrap();
    for venue in Venue::DEFAULT {
        let source = source(venue.name(), &upstream.venue_url(venue));
        let answers = ask(&source, PATIENT).await;
        for (pair, expected) in pairs().iter().zip(["97012.30", "3400.10"]) {
            let sample = answers[pair].unwrap();
            assert_eq!(sample.price, expected.parse().unwrap(), "{venue} {pair}");
            // Kraken alone gives no time.
            assert_eq!(sample.time.is_some(), venue != Venue::Kraken, "{venue}");
        }
        upstream.set_down(venue, true);
        assert!(
            ask(&source, PATIENT).await.values().all(|answer| *answer == Err(Failure::Http5xx)),
            "{venue}"
        );
    }
    // One request each for all pairs where the exchange can do that.
    assert_eq!(upstream.requests_to(Venue::Kraken).len(), 2);
    assert_eq!(upstream.requests_to(Venue::Bitstamp).len(), 2);
    assert_eq!(upstream.requests_to(Venue::Coinbase).len(), 4);
}

/// A server that answers every request with the same bytes, and then closes or keeps silent.
async fn misbehaving(answer: Vec<u8>, hang: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(&answer).await;
                if hang {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    url
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Zeros without end compress to almost nothing.
fn bomb() -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; 64 * 1024 * 1024]).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn every_misbehaviour_has_its_name() {
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b'['; 2 * 1024 * 1024]].concat();
    let cases = [
        ("a redirect", answer("302 Found", "location: http://169.254.169.254/\r\n", b""), Failure::Redirect),
        ("forbidden", answer("403 Forbidden", "", b"<html>"), Failure::Http403),
        ("banned", answer("418 I'm a teapot", "", b""), Failure::Http418),
        ("too many", answer("429 Too Many Requests", "", b""), Failure::Http429),
        ("elsewhere", answer("451 Unavailable", "", b""), Failure::Http451),
        ("not found", answer("404 Not Found", "", b""), Failure::Http4xx),
        ("broken", answer("500 Oops", "", b""), Failure::Http5xx),
        ("empty", answer("204 No Content", "", b""), Failure::Malformed),
        ("html", answer("200 OK", "", b"<html>hello</html>"), Failure::Malformed),
        ("deep", answer("200 OK", "", &vec![b'['; 100_000]), Failure::Malformed),
        ("cut off", b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{".to_vec(), Failure::Malformed),
        ("no http", b"hello\r\n\r\n".to_vec(), Failure::Unreachable),
        ("endless", endless, Failure::TooLarge),
        ("a bomb", answer("200 OK", "content-encoding: gzip\r\n", &bomb()), Failure::TooLarge),
    ];
    for (what, bytes, expected) in cases {
        let source = source("kraken", &misbehaving(bytes, false).await);
        let answers = ask(&source, PATIENT).await;
        assert_eq!(answers.values().copied().collect::<Vec<_>>(), [Err(expected); 2], "{what}");
    }
}

#[tokio::test]
async fn silence_is_a_timeout_and_a_closed_port_unreachable() {
    let silent = source(
        "kraken",
        &misbehaving(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{".to_vec(), true).await,
    );
    let answers = ask(&silent, Duration::from_millis(300)).await;
    assert!(answers.values().all(|answer| *answer == Err(Failure::Timeout)));

    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let answers = ask(&source("bitstamp", &format!("http://{port}")), PATIENT).await;
    assert!(answers.values().all(|answer| *answer == Err(Failure::Unreachable)));
}
