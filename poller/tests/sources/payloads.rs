//! Recorded answers of the real exchanges. Each is read to the price that stands in its text, or refused for
//! the right reason; and an answer of another endpoint, or another exchange, is never misread.
//!
//! The recordings are not ours to publish: they lie beside the workspace, and without them there is nothing
//! to do here. The parsers' own tests have small bodies of the same shapes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use common::domain::{Failure, Pair, Price, Words};
use poller::source::Exchange;
use rust_decimal::Decimal;

/// An endpoint's answer that we ask for ourselves: exchange, file, pair, and the texts after which the price
/// stands. Spaces do not count.
const PRICES: [(Exchange, &str, &str, &[&str]); 17] = [
    (Exchange::Kraken, "kraken/0_public_Ticker-1.json", "BCH-EUR", &["\"BCHEUR\":", "\"c\":[\""]),
    (Exchange::Kraken, "kraken/xchange_ticker_data-1.json", "BTC-EUR", &["\"XXBTZEUR\":", "\"c\":[\""]),
    (Exchange::Kraken, "kraken/connect_test-1.json", "BTC-USD", &["\"XXBTZUSD\":", "\"c\":[\""]),
    (Exchange::Kraken, "kraken/connect_test-2.json", "BTC-USD", &["\"XXBTZUSD\":", "\"c\":[\""]),
    (Exchange::Kraken, "kraken/connect_test-2.json", "ETH-USD", &["\"XETHZUSD\":", "\"c\":[\""]),
    (Exchange::Kraken, "kraken/connect_test-5.json", "BTC-USD", &["\"XXBTZUSD\":", "\"c\":[\""]),
    (Exchange::Kraken, "kraken/connect_test-6.json", "ETH-USD", &["\"XETHZUSD\":", "\"c\":[\""]),
    (Exchange::Coinbase, "coinbase-exchange/products_btc_usd_ticker-1.json", "BTC-USD", &["\"price\":\""]),
    (Exchange::Coinbase, "coinbase-exchange/xchange_ticker_data-1.json", "BTC-USD", &["\"price\":\""]),
    (Exchange::Bitstamp, "bitstamp/connect_test-1.json", "BTC-USD", &["\"last\":\""]),
    (Exchange::Bitstamp, "bitstamp/connect_test-2.json", "ETH-USD", &["\"last\":", "\"last\":\""]),
    (
        Exchange::Bitfinex,
        "bitfinex/xchange_ticker_data-2.json",
        "BTC-USD",
        &["\"tBTCUSD\",", ",", ",", ",", ",", ",", ","],
    ),
    (Exchange::Binance, "binance/connect_test-1.json", "BTC-USDT", &["\"BTCUSDT\",\"price\":\""]),
    (Exchange::Binance, "binance/connect_test-2.json", "ETH-USDT", &["\"ETHUSDT\",\"price\":\""]),
    (Exchange::Binance, "binance/connect_test-5.json", "BTC-USDT", &["\"BTCUSDT\",\"price\":\""]),
    (Exchange::Binance, "binance/connect_test-6.json", "ETH-USDT", &["\"ETHUSDT\",\"price\":\""]),
    (Exchange::Coingecko, "coingecko/oas_simple_price-1.json", "BTC-USD", &["\"usd\":"]),
];

/// Answers of our endpoints without a usable price, and why.
const REFUSALS: [(Exchange, &str, &str, Failure); 12] = [
    (Exchange::Kraken, "kraken/connect_test-3.json", "BTC-USD", Failure::Invalid),
    (Exchange::Kraken, "kraken/connect_test-4.json", "BTC-USD", Failure::Malformed),
    (Exchange::Kraken, "kraken/connect_test-1.json", "ETH-USD", Failure::Missing),
    (Exchange::Bitstamp, "bitstamp/connect_test-3.json", "BTC-USD", Failure::Missing),
    // Bitstamp's and Gemini's tickers of one market: other endpoints than those we ask.
    (Exchange::Bitstamp, "bitstamp/api_v2_ticker_btcusd-1.json", "BTC-USD", Failure::Malformed),
    (Exchange::Gemini, "gemini/v1_pubticker_BTCUSD-1.json", "BTC-USD", Failure::Malformed),
    (Exchange::Bitfinex, "bitfinex/xchange_ticker_data-1.json", "BTC-USD", Failure::Malformed),
    (Exchange::Binance, "binance/connect_test-3.json", "BTC-USDT", Failure::Invalid),
    (Exchange::Binance, "binance/connect_test-4.json", "BTC-USDT", Failure::Missing),
    (Exchange::Coingecko, "coingecko/api_v3_simple_price-1.json", "BTC-ETH", Failure::Missing),
    (Exchange::Coingecko, "coingecko/api_v3_simple_price-2.json", "BTC-USD", Failure::Refused),
    (Exchange::Coingecko, "coingecko/connect_test-3.json", "BTC-USD", Failure::Invalid),
];

/// CoinGecko's answers as they are when its own time is not asked for. We do ask: without it they are
/// refused, and with it they are read.
const WITHOUT_TIME: [(&str, &str, &str); 9] = [
    ("coingecko/api_v3_simple_price-3.json", "BTC-ETH", "\"eth\":"),
    ("coingecko/api_v3_simple_price-4.json", "BTC-USD", "\"usd\":"),
    ("coingecko/api_v3_simple_price-6.json", "BTC-USD", "\"usd\":"),
    ("coingecko/api_v3_simple_price-7.json", "BTC-USD", "\"usd\":"),
    ("coingecko/api_v3_simple_price-8.json", "BTC-USD", "\"usd\":"),
    ("coingecko/api_v3_simple_price-12.json", "BTC-USD", "\"usd\":"),
    ("coingecko/connect_test-1.json", "BTC-USD", "\"usd\":"),
    ("coingecko/connect_test-4.json", "BTC-USD", "\"usd\":"),
    ("coingecko/connect_test-5.json", "ETH-USD", "\"usd\":"),
];

/// Every recorded answer by its name; nothing where there are no recordings.
fn recordings() -> Option<BTreeMap<String, Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/payloads");
    if !folder.is_dir() {
        println!("skipped: there are no recordings in {}", folder.display());
        return None;
    }
    let mut files = Vec::new();
    collect(&folder, &mut files);
    let named = files.into_iter().map(|path| {
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        (name, fs::read(path).unwrap())
    });
    Some(named.collect())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.file_name().is_some_and(|name| name != "MANIFEST.json") {
            files.push(path);
        }
    }
}

/// The text behind a series of others, up to the next delimiter.
fn behind(body: &[u8], marks: &[&str]) -> String {
    let text: String = String::from_utf8_lossy(body).chars().filter(|c| !c.is_whitespace()).collect();
    let mut rest = text.as_str();
    for mark in marks {
        rest = rest.split_once(mark).unwrap_or_else(|| panic!("no {mark} in {text}")).1;
    }
    rest.split(['"', ',', ']', '}']).next().unwrap().to_owned()
}

fn read(exchange: Exchange, body: &[u8], pair: &str) -> Result<String, Failure> {
    let pair: Pair = pair.parse().unwrap();
    exchange.parse(body, &[pair])?[&pair].map(|sample| sample.price.to_string())
}

#[test]
fn every_answer_that_we_ask_for_is_read_to_the_price_in_its_text() {
    let Some(recordings) = recordings() else { return };
    for (exchange, file, pair, marks) in PRICES {
        let body = &recordings[file];
        assert_eq!(read(exchange, body, pair), Ok(behind(body, marks)), "{file} {pair}");
    }
    for (exchange, file, pair, failure) in REFUSALS {
        assert_eq!(read(exchange, &recordings[file], pair), Err(failure), "{file} {pair}");
    }
    for (file, pair, mark) in WITHOUT_TIME {
        let body = &recordings[file];
        assert_eq!(read(Exchange::Coingecko, body, pair), Err(Failure::Malformed), "{file}");
        let timed =
            String::from_utf8_lossy(body).replace(mark, &format!("\"last_updated_at\":1779092258,{mark}"));
        let read = read(Exchange::Coingecko, timed.as_bytes(), pair);
        assert_eq!(read, Ok(behind(body, &[mark])), "{file}");
    }
}

#[test]
fn bitfinex_whole_list_is_read_row_by_row() {
    let Some(recordings) = recordings() else { return };
    let body = &recordings["bitfinex/v2_tickers-1.json"];
    let (mut prices, mut with_exponent) = (0, 0);
    for row in String::from_utf8_lossy(body).trim_matches(['[', ']']).split("],[") {
        let cells: Vec<&str> = row.split(',').collect();
        let symbol = cells[0].trim_matches('"');
        let Some((base, quote)) =
            symbol.strip_prefix('t').filter(|name| name.len() == 6).map(|name| name.split_at(3))
        else {
            continue;
        };
        let name = |code: &str| code.replace("UST", "USDT").replace("UDC", "USDC");
        let read = read(Exchange::Bitfinex, body, &format!("{}-{}", name(base), name(quote)));
        let last = cells[7];
        let expected = Decimal::from_scientific(last).or_else(|_| last.parse()).unwrap();
        match read {
            Ok(price) => {
                assert_eq!(price.parse::<Decimal>(), Ok(expected), "{row}");
                prices += 1;
                with_exponent += usize::from(last.contains('e'));
            }
            Err(failure) => {
                assert_eq!(failure, Failure::Invalid, "{row}");
                assert!(expected.scale() > Price::MAX_QUOTED_DECIMALS || expected.is_zero(), "{row}");
            }
        }
    }
    assert!(prices > 100, "{prices}");
    assert!(with_exponent > 0, "{with_exponent}");
}

#[test]
fn answers_of_other_endpoints_and_exchanges_are_never_misread() {
    let Some(recordings) = recordings() else { return };
    let known = |exchange: Exchange, file: &str| {
        PRICES.iter().any(|(of, name, ..)| *of == exchange && *name == file)
            || (exchange == Exchange::Bitfinex && file == "bitfinex/v2_tickers-1.json")
    };
    let pairs: Vec<Pair> =
        ["BTC-USD", "ETH-USD", "BTC-USDT", "ETH-USDT", "ETH-BTC", "BTC-EUR", "BCH-EUR", "BNB-BTC"]
            .map(|pair| pair.parse().unwrap())
            .to_vec();
    for (file, body) in &recordings {
        for exchange in Exchange::ALL.iter().filter(|exchange| !known(**exchange, file)) {
            let Ok(answers) = exchange.parse(body, &pairs) else { continue };
            for (pair, answer) in answers {
                assert!(answer.is_err(), "{exchange} read {answer:?} for {pair} from {file}");
            }
        }
    }
}
