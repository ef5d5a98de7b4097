//! A second reading of the exchanges' answers: slow, forgiving, and without a line of the parsers.
//!
//! It accepts more than they do. All it has to know is what stands in the places where a price may.

use std::collections::BTreeMap;

use common::domain::Pair;
use poller::source::Exchange;
use serde_json::value::RawValue;

/// The pairs that are asked for, with the names that exchanges have for them: Kraken's codes, Bitfinex's
/// symbol, CoinGecko's coin.
const PAIRS: [(&str, [&str; 2], &str, &str); 6] = [
    ("BTC-USD", ["XBT", "USD"], "tBTCUSD", "bitcoin"),
    ("BTC-EUR", ["XBT", "EUR"], "tBTCEUR", "bitcoin"),
    ("DOGE-USD", ["XDG", "USD"], "tDOGE:USD", "dogecoin"),
    ("ETH-BTC", ["ETH", "XBT"], "tETHBTC", "ethereum"),
    ("BTC-USDT", ["XBT", "USDT"], "tBTCUST", "bitcoin"),
    ("ETH-USDT", ["ETH", "USDT"], "tETHUST", "ethereum"),
];

type Raw = Box<RawValue>;

/// The pairs that are asked for.
pub fn pairs() -> impl Iterator<Item = Pair> {
    PAIRS.iter().map(|(pair, ..)| pair.parse().expect("a pair"))
}

/// Every text in the places where a body may say the price of a pair.
pub fn prices(exchange: Exchange, body: &str, pair: Pair) -> Vec<String> {
    let names = PAIRS.iter().find(|(known, ..)| *known == pair.to_string()).expect("a pair of ours");
    let (_, [base, quote], symbol, coin) = *names;
    let found = match exchange {
        Exchange::Coinbase => vec![member(body, "price")],
        Exchange::Coingecko => vec![member(&member(body, coin), &pair.quote().to_lowercase())],
        Exchange::Kraken => {
            let names = [format!("X{base}Z{quote}"), format!("X{base}X{quote}"), format!("{base}{quote}")];
            let result = member(body, "result");
            names.iter().map(|name| element(&member(&member(&result, name), "c"), 0)).collect()
        }
        Exchange::Bitstamp => rows(body, "pair", &format!("{}/{}", pair.base(), pair.quote()), "last"),
        Exchange::Gemini => rows(body, "pair", &format!("{}{}", pair.base(), pair.quote()), "price"),
        Exchange::Binance => rows(body, "symbol", &format!("{}{}", pair.base(), pair.quote()), "price"),
        Exchange::Bitfinex => {
            let named = list(body).into_iter().filter(|row| text(&element(row.get(), 0)) == symbol);
            named.map(|row| element(row.get(), 7)).collect()
        }
    };
    found.iter().map(|raw| text(raw)).collect()
}

/// Whether a price is what was said: the same digits, or the same number where it came with an exponent.
pub fn is_same(said: &str, price: &str) -> bool {
    let as_written = |number: &str| number.trim_start_matches('0').to_owned();
    match said.contains(['e', 'E']) {
        true => digits(said) == digits(price),
        false => as_written(said) == as_written(price),
    }
}

/// A positive number as its digits without zeros around them, and the power of ten of the last one.
fn digits(number: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_end_matches('0');
    let power =
        exponent.parse::<i64>().ok()? - fraction.len() as i64 + (all.len() - significant.len()) as i64;
    Some((significant.trim_start_matches('0').to_owned(), power))
}

/// In a list of objects, a member of those whose name is the right one.
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

/// A string without its quotes and escapes; anything else as it stands.
fn text(raw: &str) -> String {
    serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned())
}
