//! Tests with responses that were recorded between 2024 and 2026. `recorded_prices.py` reads the prices in them
//! independently of the parsers.
//!
//! The recordings cannot be published, so they are not in the repository, and these tests do nothing without them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
    sync::Arc,
};

use common::domain::{Failure, Pair, Price};
use poller::source::{Market, Source, exchanges};
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::{
    PATIENT, ask,
    payloads::{collect, recordings_in},
    rests::{canned, response},
    source_for,
};

/// A price that `recorded_prices.py` found.
#[derive(Debug, Deserialize)]
struct Expected {
    exchange: String,
    file: String,
    #[serde(with = "common::text")]
    pair: Pair,
    name: String,
    last: Option<String>,
    bid: Option<String>,
    ask: Option<String>,
}

/// Responses without prices: the file, its HTTP status, the exchange, a pair, and the expected failure.
const REFUSALS: [(&str, u16, &str, &str, Failure); 18] = [
    ("binance/error_429.json", 429, "binance", "BTC-USDT", Failure::Http429),
    ("binance/error_451.json", 451, "binance", "BTC-USDT", Failure::Http451),
    ("binance/error_invalid_symbol_400.json", 400, "binance", "BTC-USDT", Failure::Unlisted),
    ("bitfinex/error_maintenance_500.json", 500, "bitfinex", "BTC-USD", Failure::Unavailable),
    ("bitfinex/error_ratelimit_429.json", 429, "bitfinex", "BTC-USD", Failure::Http429),
    ("bitstamp/error_incapsula_503.html", 503, "bitstamp", "BTC-USD", Failure::Challenge),
    ("bitstamp/error_not_found_404.json", 404, "bitstamp", "BTC-USD", Failure::Unlisted),
    ("cloudflare/error_1015_429.txt", 429, "kraken", "BTC-USD", Failure::Http429),
    ("coinbase-exchange/error_delisted.json", 400, "coinbase", "BTC-USD", Failure::Unlisted),
    ("coinbase-exchange/error_notfound_404.json", 404, "coinbase", "BTC-USD", Failure::Unlisted),
    ("coinbase-exchange/error_rate_limit_429.json", 429, "coinbase", "BTC-USD", Failure::Http429),
    ("coingecko/error_400_10010_top_level.json", 400, "coingecko", "BTC-USD", Failure::Refused),
    ("coingecko/error_401_10002.json", 401, "coingecko", "BTC-USD", Failure::Refused),
    ("coingecko/error_401_key_needed.txt", 401, "coingecko", "BTC-USD", Failure::Http4xx),
    ("coingecko/error_403_no_user_agent.txt", 403, "coingecko", "BTC-USD", Failure::Http403),
    ("gemini/error_bad_symbol_400.json", 400, "gemini", "BTC-USD", Failure::Unlisted),
    ("kraken/cloudflare_520_head.html", 520, "kraken", "BTC-USD", Failure::Http5xx),
    ("kraken/error_too_many_requests.json", 200, "kraken", "BTC-USD", Failure::RateLimited),
];

/// Kraken's response to a list of pairs of which it does not know one.
const UNKNOWN_PAIR: &str = "kraken/error_unknown_pair_200.json";

fn folder() -> Option<PathBuf> {
    recordings_in("payloads-2026")
}

/// The prices in all recordings. None if Python is not installed.
fn expected(folder: &PathBuf) -> Option<Vec<Expected>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sources/recorded_prices.py");
    let python = std::env::var("TICKWELL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let Ok(output) = Command::new(python).arg(script).arg(folder).output() else {
        println!("skipped: Python is not installed");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn number(text: &str) -> Decimal {
    Decimal::from_scientific(text).or_else(|_| text.parse()).unwrap()
}

/// Whether a price is one that a quote may have.
fn fits(text: &str) -> bool {
    number(text).normalize().scale() <= Price::MAX_QUOTED_DECIMALS
}

#[test]
fn every_price_in_the_recordings_is_read() {
    let Some(folder) = folder() else { return };
    let Some(all) = expected(&folder) else { return };
    assert!(all.len() > 1_500, "{}", all.len());
    let mut by_response: BTreeMap<(String, String), Vec<Expected>> = BTreeMap::new();
    for found in all {
        by_response.entry((found.exchange.clone(), found.file.clone())).or_default().push(found);
    }
    for ((exchange, file), all) in by_response {
        let exchange = exchanges::named(&exchange).unwrap();
        let body = fs::read(folder.join(&file)).unwrap();
        // Each market is looked up under the name in the response, as it would be with the exchange's list of markets.
        let market = |found: &Expected| Market::named(found.pair, found.name.clone(), [found.name.clone()]);
        let answers = exchange.read(&body, &all.iter().map(market).collect::<Vec<_>>()).unwrap();
        let has_time =
            exchange.name() != "coingecko" || String::from_utf8_lossy(&body).contains("last_updated_at");
        for found in all {
            let Expected { pair, last, bid, ask, .. } = found;
            let refused = match (&last, bid.as_ref().zip(ask.as_ref())) {
                _ if !has_time => Some(Failure::Malformed),
                (Some(last), _) if !fits(last) => Some(Failure::Invalid),
                (None, None) => Some(Failure::Invalid),
                _ => None,
            };
            let reported = match (refused, answers[&pair]) {
                (None, Ok(sample)) => sample.reported,
                (refused, answer) => {
                    assert_eq!(answer.err(), refused, "{file} {pair}");
                    continue;
                }
            };
            for (read, expected) in [(reported.last, last), (reported.bid, bid), (reported.ask, ask)] {
                let read = read.map(|price| price.decimal());
                assert_eq!(read, expected.map(|text| number(&text)), "{file} {pair}");
            }
        }
    }
}

#[tokio::test]
async fn every_recorded_error_has_its_meaning() {
    let Some(folder) = folder() else { return };
    let unknown_pair = (UNKNOWN_PAIR, 200, "kraken", "BTC-USD", Failure::Unlisted);
    for (file, status, exchange, pair, failure) in REFUSALS.into_iter().chain([unknown_pair]) {
        let body = fs::read_to_string(folder.join(file)).unwrap();
        let server = canned(&[response(&format!("{status} Recorded"), "", &body)]).await;
        let pair: Pair = pair.parse().unwrap();
        let source: Arc<dyn Source> = source_for(exchange, &server.url, &[pair]);
        let answers = ask(&source, PATIENT).await;
        assert_eq!(answers[&pair], Err(failure), "{file}");
    }
}

#[test]
fn responses_of_other_endpoints_and_exchanges_are_never_misread() {
    let Some(folder) = folder() else { return };
    let Some(all) = expected(&folder) else { return };
    let own: BTreeSet<(String, PathBuf)> =
        all.into_iter().map(|found| (found.exchange, folder.join(found.file))).collect();
    let mut files = Vec::new();
    collect(&folder, &mut files);
    let pairs: Vec<Pair> = ["BTC-USD", "ETH-USD", "BTC-USDT", "NEAR-USD", "NEAR-USDT", "DAI-USDT", "EUR-USD"]
        .map(|pair| pair.parse().unwrap())
        .to_vec();
    for file in files {
        let body = fs::read(&file).unwrap();
        for exchange in exchanges::ALL {
            // Kraken's names of all markets are those of another parameter, and no pair is asked for under them.
            if own.contains(&(exchange.name().to_owned(), file.clone())) {
                continue;
            }
            let markets = exchange.markets(&pairs);
            let alone = markets.iter().map(std::slice::from_ref).collect::<Vec<_>>();
            for markets in alone.into_iter().chain([markets.as_slice()]) {
                let Ok(answers) = exchange.read(&body, markets) else { continue };
                for (pair, answer) in answers {
                    assert!(answer.is_err(), "{exchange} read {answer:?} for {pair} from {}", file.display());
                }
            }
        }
    }
}
