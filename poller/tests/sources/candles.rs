//! Tests of candles: over HTTP from the fake upstream, from recorded responses, and from mutated ones.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use common::domain::{Failure, Interval, Pair, Price, Timestamp};
use poller::source::{CandleRange, Market, Past, Pasts, Source, exchange::Exchange, exchanges};
use proptest::prelude::*;
use testkit::{
    Venue,
    clock::now_ms,
    fault::{Fault, Status},
    market::{Market as _, WalkMarket},
    upstream::FakeUpstream,
};
use tokio::time::Instant;

use crate::{PATIENT, payloads::recordings_in, source_for};

const MINUTE_MS: i64 = 60_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).unwrap()
}

/// The pairs that the fake upstream's random walk has at a venue.
fn pairs(venue: Venue) -> Vec<Pair> {
    let quote = if venue == Venue::Binance { "USDT" } else { "USD" };
    ["BTC", "ETH"].map(|base| format!("{base}-{quote}").parse().unwrap()).to_vec()
}

/// The candles that end within the last `hours` up to a minute boundary, and that boundary.
fn range(hours: i64) -> (CandleRange, i64) {
    let to = now_ms() / MINUTE_MS * MINUTE_MS;
    (CandleRange::ending_in(at(to - hours * 60 * MINUTE_MS), at(to)), to)
}

async fn past(source: &Arc<dyn Source>, pairs: &[Pair], range: CandleRange) -> Pasts {
    let interval: Interval = "10s".parse().unwrap();
    source.past(pairs, range, interval.slot_at(at(now_ms())), Instant::now() + PATIENT).await
}

#[tokio::test]
async fn the_closes_of_a_day_are_those_of_the_market() {
    let market = WalkMarket::new(7, Duration::from_secs(10)).unwrap();
    let upstream = FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await.unwrap();
    for venue in Venue::ALL {
        let source = source_for(venue.name(), &upstream.venue_url(venue), &pairs(venue));
        let (range, to) = range(24);
        let pasts = past(&source, &pairs(venue), range).await;
        if venue == Venue::Coingecko {
            assert!(pasts.is_empty(), "CoinGecko has no one-minute candles");
            continue;
        }
        // Kraken has 720 candles with the running one. Another minute may have begun in the meantime.
        let most = if venue == Venue::Kraken { 719 } else { 1_440 };
        for pair in pairs(venue) {
            let Past { closes, otherwise } = &pasts[&pair];
            assert_eq!(*otherwise, Failure::Missing);
            assert!((most - 2..=most).contains(&closes.len()), "{venue} {}", closes.len());
            for (end, close) in closes {
                let last = market.trade(venue, &pair.to_string(), end.unix_millis() - 1).unwrap();
                assert_eq!(*close, last.price.parse::<Price>().unwrap(), "{venue} {pair} {end}");
                assert!(end.unix_millis() <= to, "{venue} {pair} {end}");
            }
        }
        let requests = upstream.requests_to(venue).len();
        let of_each = match venue {
            Venue::Coinbase => 5,
            Venue::Bitstamp | Venue::Binance => 2,
            _ => 1,
        };
        assert_eq!(requests, 2 * of_each, "{venue}");
    }
}

#[tokio::test]
async fn failures_have_names_and_are_those_of_one_source() {
    let market = WalkMarket::new(7, Duration::from_secs(10)).unwrap();
    let upstream = FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await.unwrap();
    for (fault, expected) in [
        (Fault::Status(Status::Unavailable, None), Failure::Http5xx),
        (Fault::Html, Failure::Challenge),
        (Fault::Cut, Failure::Malformed),
        (Fault::Limited, Failure::RateLimited),
    ] {
        let source = source_for("kraken", &upstream.venue_url(Venue::Kraken), &pairs(Venue::Kraken));
        upstream.set_fault(Venue::Kraken, fault);
        let pasts = past(&source, &pairs(Venue::Kraken), range(1).0).await;
        let failures: Vec<_> = pasts.values().map(|past| past.otherwise).collect();
        let is_expected = |failure: &Failure| {
            *failure == expected || expected == Failure::RateLimited && *failure == Failure::BackingOff
        };
        assert!(failures.iter().all(is_expected) && failures.contains(&expected), "{failures:?}");
        assert!(pasts.values().all(|past| past.closes.is_empty()));
    }
}

#[tokio::test]
async fn an_unknown_pair_leaves_the_other_pairs_alone() {
    let market = WalkMarket::new(7, Duration::from_secs(10)).unwrap();
    let upstream = FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await.unwrap();
    let unknown: Pair = "SOL-USD".parse().unwrap();
    for venue in Venue::USD_EXCHANGES {
        let all = [pairs(venue), vec![unknown]].concat();
        let source = source_for(venue.name(), &upstream.venue_url(venue), &all);
        let pasts = past(&source, &all, range(1).0).await;
        assert!(pasts[&unknown].closes.is_empty(), "{venue}");
        let expected = if venue == Venue::Bitfinex { Failure::Missing } else { Failure::Unlisted };
        assert_eq!(pasts[&unknown].otherwise, expected, "{venue}");
        assert!(pasts[&pairs(venue)[0]].closes.len() >= 58, "{venue}");
    }
}

/// The newest candles of the exchanges' responses in the documented form, of which the last one is running: the exchange,
/// its name of the market, and the response.
const RESPONSES: [(&str, &str, &str); 6] = [
    (
        "kraken",
        "BTC-USD",
        r#"{"error":[],"result":{"XXBTZUSD":[[60,"1","9","1","100.10","2","3.4",23],[120,"1","9","1","100.20","2","0",0],[180,"1","9","1","100.30","2","4.4",18]],"last":120}}"#,
    ),
    ("coinbase", "BTC-USD", "[[180,1,9,2,100.3,0.7],[120,1,9,2,100.2,0.7],[60,1,9,2,100.1,0.9]]"),
    (
        "bitstamp",
        "BTC-USD",
        r#"{"data":{"ohlc":[{"close":"100.10","high":"9","low":"1","open":"2","timestamp":"60","volume":"0.1"},{"close":"100.20","high":"9","low":"1","open":"2","timestamp":"120","volume":"0.1"},{"close":"100.30","high":"9","low":"1","open":"2","timestamp":"180","volume":"0.1"}],"pair":"BTC/USD"}}"#,
    ),
    ("gemini", "BTC-USD", "[[180000,2,9,1,100.3,0.5],[120000,2,9,1,100.2,0.5],[60000,2,9,1,100.1,0.5]]"),
    ("bitfinex", "BTC-USD", "[[180000,2,100.3,9,1,0.5],[120000,2,100.2,9,1,0.5],[60000,2,1001e-1,9,1,0.5]]"),
    (
        "binance",
        "BTC-USDT",
        r#"[[60000,"2","9","1","100.10","1",119999,"1",1,"1","1","0"],[120000,"2","9","1","100.20","1",179999,"1",1,"1","1","0"],[180000,"2","9","1","100.30","1",239999,"1",1,"1","1","0"]]"#,
    ),
];

fn parse(name: &str, pair: &str, body: &[u8]) -> Result<BTreeMap<Timestamp, Price>, Failure> {
    let exchange: &dyn Exchange = exchanges::named(name).unwrap();
    let market = exchange.market(pair.parse().unwrap()).unwrap();
    let candles = exchange.candles().unwrap();
    let found = exchange.read_candles(body, &market, candles)?;
    poller::source::candle::finished(found)
}

#[test]
fn the_close_of_each_finished_candle_is_read() {
    for (name, pair, body) in RESPONSES {
        let closes = parse(name, pair, body.as_bytes()).unwrap();
        let read: Vec<_> = closes.iter().map(|(end, close)| (end.unix_millis(), *close)).collect();
        let expected = [(120_000, "100.1".parse().unwrap()), (180_000, "100.2".parse().unwrap())];
        assert_eq!(read, expected, "{name}");
    }
}

#[test]
fn a_candle_without_a_valid_close_or_start_is_refused() {
    for (name, pair, body) in RESPONSES {
        for (before, after) in [("100.20", "0"), ("100.20", "-1"), ("100.20", "NaN"), ("120000,", "120001,")]
        {
            // JSON numbers have no trailing zero.
            let before = if body.contains(before) { before } else { before.trim_end_matches('0') };
            let other = body.replacen(before, after, 1);
            if other != body {
                assert!(parse(name, pair, other.as_bytes()).is_err(), "{name} {other}");
            }
        }
        for other in ["", "{}", "null", "[[]]", "[{}]", "[[60]]", r#"{"error":[],"result":{"last":1}}"#] {
            assert!(parse(name, pair, other.as_bytes()).is_err(), "{name} {other}");
        }
    }
}

#[test]
fn candles_of_another_market_are_refused() {
    for (name, body) in [("kraken", RESPONSES[0].2), ("bitstamp", RESPONSES[2].2)] {
        assert!(parse(name, "ETH-USD", body.as_bytes()).is_err(), "{name}");
    }
}

proptest! {
    #[test]
    fn no_mutated_response_causes_a_panic_or_a_price_that_is_not_in_it(
        which in 0..RESPONSES.len(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (name, pair, body) = RESPONSES[which];
        let mut bytes = body.as_bytes().to_vec();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if byte % 3 == 0 {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(closes) = parse(name, pair, &bytes) {
            let digits: Vec<u8> = bytes.into_iter().filter(u8::is_ascii_digit).collect();
            let digits = String::from_utf8(digits).unwrap();
            for close in closes.values() {
                let own: String = close.to_string().chars().filter(char::is_ascii_digit).collect();
                prop_assert!(digits.contains(own.trim_matches('0')), "{name} {close}");
            }
        }
    }
}

/// Recorded responses cannot be published, so they are not in the repository, and this test does nothing without them.
#[test]
fn recorded_candles_are_read() {
    let Some(folder) = recordings_in("candles") else { return };
    for (name, pair, file, first, count) in [
        ("kraken", "BTC-USD", "kraken_OHLC_1m_2023-07.json", "30305.7", 3),
        ("coinbase", "BTC-USD", "coinbase_candles_1m_2026-06.json", "63244.77", 1),
        ("bitstamp", "BTC-USD", "bitstamp_ohlc_1m.json", "7170.66", 8),
    ] {
        let closes = parse(name, pair, &fs::read(folder.join(file)).unwrap()).unwrap();
        assert!(closes.len() >= count, "{name} {}", closes.len());
        assert_eq!(closes.first_key_value().unwrap().1.to_string(), first, "{name}");
    }
    // The rows of five minutes have the same form.
    let exchange = exchanges::named("binance").unwrap();
    let market = Market::new("BTC-USDT".parse().unwrap(), "BTCUSDT");
    let body = fs::read(folder.join("binance_klines_5m_2020-04.json")).unwrap();
    let candles = exchange.read_candles(&body, &market, exchange.candles().unwrap()).unwrap();
    assert_eq!(candles[0].close.to_string(), "6727.14000000");
}
