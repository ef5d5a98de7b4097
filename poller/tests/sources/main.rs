//! Tests of sources over real HTTP, with the fake upstream and with sockets that misbehave, and tests of parsers with
//! recorded and mutated responses.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod candles;
mod example;
mod lists;
mod markets;
mod misbehaviour;
/// The fuzz targets and these tests share one independent reader of responses.
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
#[path = "../../../testkit/fuzz/src/oracle.rs"]
mod oracle;
mod parsers;
mod payloads;
mod recorded;
mod rests;

use std::{sync::Arc, time::Duration};

use common::domain::{Failure, Interval, Pair, Timestamp};
use poller::source::{self, Answers, Client, Contact, EgressProxy, Setup, Source};
use testkit::{Venue, clock::now_ms, market::ScriptMarket, upstream::FakeUpstream};
use tokio::time::Instant;

fn pairs() -> Vec<Pair> {
    vec!["BTC-USD".parse().unwrap(), "ETH-USD".parse().unwrap()]
}

fn source(name: &str, url: &str) -> Arc<dyn Source> {
    source_for(name, url, &pairs())
}

fn source_for(name: &str, url: &str, pairs: &[Pair]) -> Arc<dyn Source> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let setup = Setup { url: url.to_owned(), key: None, interval: "10s".parse().unwrap() };
    let client = Client::new(&EgressProxy::Unset, &Contact::default()).unwrap();
    source::build(name.parse().unwrap(), setup, pairs, &client).unwrap()
}

async fn ask(source: &Arc<dyn Source>, time: Duration) -> Answers {
    let interval: Interval = "10s".parse().unwrap();
    let slot = interval.slot_at(Timestamp::from_unix_millis(now_ms()).unwrap());
    source.ask(slot, Instant::now() + time).await
}

/// A time limit that is far longer than any response takes.
const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn each_exchange_is_read_from_the_fake_upstream() {
    // Binance has no USD markets.
    let venues: Vec<Venue> = Venue::ALL.into_iter().filter(|venue| *venue != Venue::Binance).collect();
    let prices: Vec<(Venue, &str, &str)> = venues
        .iter()
        .flat_map(|venue| [(*venue, "BTC-USD", "97012.30"), (*venue, "ETH-USD", "3400.10")])
        .collect();
    let market = ScriptMarket::constant(&prices, Duration::from_secs(1), now_ms()).unwrap();
    let upstream = FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await.unwrap();
    for venue in venues {
        let source = source(venue.name(), &upstream.venue_url(venue));
        let answers = ask(&source, PATIENT).await;
        for (pair, expected) in pairs().iter().zip(["97012.30", "3400.10"]) {
            let sample = answers[pair].unwrap();
            assert_eq!(sample.reported.last, Some(expected.parse().unwrap()), "{venue} {pair}");
            assert_eq!(sample.trade_time.is_some(), venue.gives_time(), "{venue}");
            let book = sample.reported.bid.zip(sample.reported.ask);
            assert_eq!(book.is_some(), venue != Venue::Coingecko, "{venue}");
            assert!(
                book.is_none_or(|(bid, ask)| bid < ask && bid.midpoint(ask).to_string() == expected),
                "{venue}"
            );
        }
        upstream.set_down(venue, true);
        assert!(
            ask(&source, PATIENT).await.values().all(|answer| *answer == Err(Failure::Http5xx)),
            "{venue}"
        );
    }
    // Each source was asked twice, with one request for both pairs if that is cheaper.
    assert_eq!(upstream.requests_to(Venue::Kraken).len(), 2);
    assert_eq!(upstream.requests_to(Venue::Bitstamp).len(), 4);
    assert_eq!(upstream.requests_to(Venue::Coinbase).len(), 4);
}
