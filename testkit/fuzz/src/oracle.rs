//! An independent reader of the exchanges' responses. It is slow and lenient, and shares no code with the
//! parsers.
//!
//! It accepts more responses than the parsers do, because it only has to know the places where a price may be. The
//! fuzz targets and the tests of the poller use it.

use std::collections::BTreeMap;

use common::domain::Pair;
use serde_json::value::RawValue;

/// The requested pairs, with the names that some exchanges have for them: Kraken's codes, Bitfinex's symbol
/// and CoinGecko's coin.
const PAIRS: [(&str, [&str; 2], &str, &str); 7] = [
    ("BTC-USD", ["XBT", "USD"], "tBTCUSD", "bitcoin"),
    ("ETH-USD", ["ETH", "USD"], "tETHUSD", "ethereum"),
    ("BTC-EUR", ["XBT", "EUR"], "tBTCEUR", "bitcoin"),
    ("DOGE-USD", ["XDG", "USD"], "tDOGE:USD", "dogecoin"),
    ("ETH-BTC", ["ETH", "XBT"], "tETHBTC", "ethereum"),
    ("BTC-USDT", ["XBT", "USDT"], "tBTCUST", "bitcoin"),
    ("ETH-USDT", ["ETH", "USDT"], "tETHUST", "ethereum"),
];

type Raw = Box<RawValue>;

/// The requested pairs.
pub fn pairs() -> impl Iterator<Item = Pair> {
    PAIRS.iter().map(|(pair, ..)| pair.parse().expect("a pair"))
}

/// The prices of a pair that a body may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The last trade.
    Last,
    /// The best bid.
    Bid,
    /// The best ask.
    Ask,
}

/// The texts in all places where a body may have the price of a pair.
pub fn prices(exchange: &str, body: &str, pair: Pair, part: Part) -> Vec<String> {
    let names = PAIRS.iter().find(|(known, ..)| *known == pair.to_string()).expect("one of PAIRS");
    let (_, [base, quote], symbol, coin) = *names;
    let of = |last, bid, ask| match part {
        Part::Last => last,
        Part::Bid => bid,
        Part::Ask => ask,
    };
    let found = match exchange {
        "coinbase" => {
            let statistics = member(&member(body, &pair.to_string()), "stats_24hour");
            let last = if part == Part::Last { member(&statistics, "last") } else { String::new() };
            vec![member(body, of("price", "bid", "ask")), last]
        }
        // Only the last trade is read.
        "coingecko" if part != Part::Last => Vec::new(),
        "coingecko" => vec![member(&member(body, coin), &pair.quote().to_lowercase())],
        "kraken" => {
            let names = [format!("X{base}Z{quote}"), format!("X{base}X{quote}"), format!("{base}{quote}")];
            let result = member(body, "result");
            names.iter().map(|name| element(&member(&member(&result, name), of("c", "b", "a")), 0)).collect()
        }
        "bitstamp" => {
            let part = of("last", "bid", "ask");
            let mut found = rows(body, "pair", &format!("{}/{}", pair.base(), pair.quote()), part);
            found.push(member(body, part));
            found
        }
        "gemini" => {
            let mut found = vec![member(body, of("last", "bid", "ask"))];
            if part == Part::Last {
                found.extend(rows(body, "pair", &format!("{}{}", pair.base(), pair.quote()), "price"));
            }
            found
        }
        "binance" => {
            let symbol = format!("{}{}", pair.base(), pair.quote());
            rows(body, "symbol", &symbol, of("lastPrice", "bidPrice", "askPrice"))
        }
        "bitfinex" => {
            let named = list(body).into_iter().filter(|row| text(&element(row.get(), 0)) == symbol);
            let column = if part == Part::Last { 7 } else { usize::from(part == Part::Ask) * 2 + 1 };
            named.map(|row| element(row.get(), column)).collect()
        }
        other => panic!("add {other} to `prices` in testkit/fuzz/src/oracle.rs"),
    };
    found.iter().map(|raw| text(raw)).collect()
}

/// Whether a parsed price is the price in the text: the same digits except for leading zeros or, if the text has an
/// exponent, the same number.
pub fn is_same(text: &str, price: &str) -> bool {
    let as_written = |number: &str| number.trim_start_matches('0').to_owned();
    match text.contains(['e', 'E']) {
        true => digits(text) == digits(price),
        false => as_written(text) == as_written(price),
    }
}

/// The digits of a positive number without leading and trailing zeros, and the power of ten of the last
/// digit.
fn digits(number: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_end_matches('0');
    let count = |digits: usize| i64::try_from(digits).ok();
    let power =
        exponent.parse::<i64>().ok()? - count(fraction.len())? + count(all.len() - significant.len())?;
    Some((significant.trim_start_matches('0').to_owned(), power))
}

/// Finds the objects in a list whose member `key` is `name`, and returns their member `wanted`.
fn rows(list_of_rows: &str, key: &str, name: &str, wanted: &str) -> Vec<String> {
    let named = list(list_of_rows).into_iter().filter(|row| text(&member(row.get(), key)) == name);
    named.map(|row| member(row.get(), wanted)).collect()
}

fn member(object: &str, name: &str) -> String {
    let members: BTreeMap<String, Raw> = serde_json::from_str(object).unwrap_or_default();
    members.get(name).map(|raw| raw.get().to_owned()).unwrap_or_default()
}

fn list(text: &str) -> Vec<Raw> {
    serde_json::from_str(text).unwrap_or_default()
}

fn element(list_text: &str, at: usize) -> String {
    list(list_text).get(at).map(|raw| raw.get().to_owned()).unwrap_or_default()
}

/// Returns a JSON string without its quotes and escapes, and any other value unchanged.
fn text(raw: &str) -> String {
    serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned())
}
