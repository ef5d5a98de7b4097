//! Tests with recorded responses of the real exchanges. A parser reads the price in the text, or refuses the
//! response for the right reason. Responses of other endpoints and other exchanges are never misread.
//!
//! The recordings cannot be published, so they are not in the repository, and these tests do nothing without
//! them. The parsers' own tests have small bodies of the same formats.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use common::domain::{Failure, Pair, Price};
use poller::source::{Market, exchanges};
use rust_decimal::Decimal;

/// Responses of the endpoints that Tickwell uses: exchange, file, pair, and the texts that precede the price,
/// in order. Whitespace is ignored.
const PRICES: [(&str, &str, &str, &[&str]); 17] = [
    ("kraken", "kraken/0_public_Ticker-1.json", "BCH-EUR", &["\"BCHEUR\":", "\"c\":[\""]),
    ("kraken", "kraken/xchange_ticker_data-1.json", "BTC-EUR", &["\"XXBTZEUR\":", "\"c\":[\""]),
    ("kraken", "kraken/connect_test-1.json", "BTC-USD", &["\"XXBTZUSD\":", "\"c\":[\""]),
    ("kraken", "kraken/connect_test-2.json", "BTC-USD", &["\"XXBTZUSD\":", "\"c\":[\""]),
    ("kraken", "kraken/connect_test-2.json", "ETH-USD", &["\"XETHZUSD\":", "\"c\":[\""]),
    ("kraken", "kraken/connect_test-5.json", "BTC-USD", &["\"XXBTZUSD\":", "\"c\":[\""]),
    ("kraken", "kraken/connect_test-6.json", "ETH-USD", &["\"XETHZUSD\":", "\"c\":[\""]),
    ("coinbase", "coinbase-exchange/products_btc_usd_ticker-1.json", "BTC-USD", &["\"price\":\""]),
    ("coinbase", "coinbase-exchange/xchange_ticker_data-1.json", "BTC-USD", &["\"price\":\""]),
    ("bitstamp", "bitstamp/connect_test-1.json", "BTC-USD", &["\"last\":\""]),
    ("bitstamp", "bitstamp/connect_test-2.json", "ETH-USD", &["\"last\":", "\"last\":\""]),
    (
        "bitfinex",
        "bitfinex/xchange_ticker_data-2.json",
        "BTC-USD",
        &["\"tBTCUSD\",", ",", ",", ",", ",", ",", ","],
    ),
    ("binance", "binance/api_v1_ticker_24hr-1.json", "BTC-USDT", &["\"BTCUSDT\",", "\"lastPrice\":\""]),
    ("binance", "binance/api_v1_ticker_24hr-1.json", "ETH-BTC", &["\"ETHBTC\",", "\"lastPrice\":\""]),
    ("bitstamp", "bitstamp/api_v2_ticker_btcusd-1.json", "BTC-USD", &["\"last\":\""]),
    ("gemini", "gemini/v1_pubticker_BTCUSD-1.json", "BTC-USD", &["\"last\":\""]),
    ("coingecko", "coingecko/oas_simple_price-1.json", "BTC-USD", &["\"usd\":"]),
];

/// Responses of these endpoints without a usable price, and the expected failure.
const REFUSALS: [(&str, &str, &str, Failure); 10] = [
    ("kraken", "kraken/connect_test-3.json", "BTC-USD", Failure::Invalid),
    ("kraken", "kraken/connect_test-4.json", "BTC-USD", Failure::Malformed),
    ("kraken", "kraken/connect_test-1.json", "ETH-USD", Failure::Missing),
    ("bitstamp", "bitstamp/connect_test-3.json", "BTC-USD", Failure::Missing),
    ("bitfinex", "bitfinex/xchange_ticker_data-1.json", "BTC-USD", Failure::Malformed),
    // Binance's prices from an endpoint that Tickwell does not use.
    ("binance", "binance/connect_test-1.json", "BTC-USDT", Failure::Malformed),
    ("binance", "binance/connect_test-4.json", "BTC-USDT", Failure::Missing),
    ("coingecko", "coingecko/api_v3_simple_price-1.json", "BTC-ETH", Failure::Missing),
    ("coingecko", "coingecko/api_v3_simple_price-2.json", "BTC-USD", Failure::Refused),
    ("coingecko", "coingecko/connect_test-3.json", "BTC-USD", Failure::Invalid),
];

/// CoinGecko's responses to requests without `include_last_updated_at`. Tickwell always sends this parameter, so
/// the parser must refuse these responses. Once the test has added the member `last_updated_at`, the parser must
/// read them.
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

/// A directory of recordings. None if it does not exist.
pub(crate) fn recordings_in(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if !folder.is_dir() {
        println!("skipped: there are no recordings in {}", folder.display());
        return None;
    }
    Some(folder)
}

/// All recorded responses by file name. None if there are no recordings.
fn recordings() -> Option<BTreeMap<String, Vec<u8>>> {
    let folder = recordings_in("payloads")?;
    let mut files = Vec::new();
    collect(&folder, &mut files);
    let named = files.into_iter().map(|path| {
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        (name, fs::read(path).unwrap())
    });
    Some(named.collect())
}

/// The files in a directory and its subdirectories, without lists of the files.
pub(crate) fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.file_name().is_some_and(|name| name != "MANIFEST.json" && name != "MANIFEST") {
            files.push(path);
        }
    }
}

/// The text after a series of marks, up to the next delimiter.
fn text_after(body: &[u8], marks: &[&str]) -> String {
    let text: String = String::from_utf8_lossy(body).chars().filter(|c| !c.is_whitespace()).collect();
    let mut rest = text.as_str();
    for mark in marks {
        rest = rest.split_once(mark).unwrap_or_else(|| panic!("no {mark} in {text}")).1;
    }
    rest.split(['"', ',', ']', '}']).next().unwrap().to_owned()
}

fn read(exchange: &str, body: &[u8], pair: &str) -> Result<String, Failure> {
    let (exchange, pair) = (exchanges::named(exchange).unwrap(), pair.parse().unwrap());
    exchange.read(body, &exchange.markets(&[pair]))?[&pair]
        .map(|sample| sample.reported.last.unwrap().to_string())
}

#[test]
fn the_price_in_the_text_of_every_recorded_response_is_read() {
    let Some(recordings) = recordings() else { return };
    for (exchange, file, pair, marks) in PRICES {
        let body = &recordings[file];
        assert_eq!(read(exchange, body, pair), Ok(text_after(body, marks)), "{file} {pair}");
    }
    for (exchange, file, pair, failure) in REFUSALS {
        assert_eq!(read(exchange, &recordings[file], pair), Err(failure), "{file} {pair}");
    }
    for (file, pair, mark) in WITHOUT_TIME {
        let body = &recordings[file];
        assert_eq!(read("coingecko", body, pair), Err(Failure::Malformed), "{file}");
        let timed =
            String::from_utf8_lossy(body).replace(mark, &format!("\"last_updated_at\":1779092258,{mark}"));
        let read = read("coingecko", timed.as_bytes(), pair);
        assert_eq!(read, Ok(text_after(body, &[mark])), "{file}");
    }
}

#[test]
fn every_row_of_the_full_list_of_bitfinex_is_read() {
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
        let pair: Pair = format!("{base}-{quote}").parse().unwrap();
        let exchange = exchanges::named("bitfinex").unwrap();
        let answers = exchange.read(body, &[Market::new(pair, symbol)]).unwrap();
        let read = answers[&pair].map(|sample| sample.reported.last.map(|last| last.to_string()).unwrap());
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
fn responses_of_other_endpoints_and_exchanges_are_never_misread() {
    let Some(recordings) = recordings() else { return };
    let known = |exchange: &str, file: &str| {
        PRICES.iter().any(|(of, name, ..)| *of == exchange && *name == file)
            || (exchange == "bitfinex" && file == "bitfinex/v2_tickers-1.json")
    };
    let pairs: Vec<Pair> =
        ["BTC-USD", "ETH-USD", "BTC-USDT", "ETH-USDT", "ETH-BTC", "BTC-EUR", "BCH-EUR", "BNB-BTC"]
            .map(|pair| pair.parse().unwrap())
            .to_vec();
    for (file, body) in &recordings {
        for exchange in exchanges::ALL.iter().filter(|exchange| !known(exchange.name(), file)) {
            let Ok(answers) = exchange.read(body, &exchange.markets(&pairs)) else { continue };
            for (pair, answer) in answers {
                assert!(answer.is_err(), "{exchange} read {answer:?} for {pair} from {file}");
            }
        }
    }
}
