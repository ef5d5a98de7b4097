//! Kraken: `GET /0/public/Ticker?pair=XBTUSD,ETHUSD`.
//!
//! The response uses each pair's canonical name as its key, whatever name was requested. Errors have the HTTP status
//! 200. One unknown pair fails the whole list. Prices have no timestamps.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::quotes::{Quoted, Quotes};
use super::reply::Reply;
use super::request::Query;

pub(super) fn answer(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    if path != "/0/public/Ticker" {
        return Reply::json(StatusCode::NOT_FOUND, &json!({"error": ["EGeneral:Unknown method"]}));
    }
    let all = quotes.all();
    let wanted = query.get("pair").unwrap_or_default();
    let mut result = Map::new();
    let answered = |quoted: &Quoted| (canonical_name(&quoted.named), ticker(&quoted.trade.price));
    if wanted.is_empty() {
        // Without a list, Kraken returns all its markets.
        result.extend(all.iter().map(answered));
    }
    for name in wanted.split(',').filter(|_| !wanted.is_empty()) {
        let is_wanted =
            |quoted: &&Quoted| altname(&quoted.pair) == name || canonical_name(&quoted.pair) == name;
        let Some(quoted) = all.iter().find(is_wanted) else { return failure("EQuery:Unknown asset pair") };
        result.extend([answered(quoted)]);
    }
    Reply::ok(&json!({"error": [], "result": result}))
}

pub(super) fn error() -> Reply {
    failure("EService:Unavailable")
}

pub(super) fn limited() -> Reply {
    failure("EAPI:Rate limit exceeded")
}

pub(super) fn empty() -> Reply {
    Reply::ok(&json!({"error": [], "result": {}}))
}

fn failure(word: &str) -> Reply {
    Reply::ok(&json!({"error": [word]}))
}

/// The name in requests: `BTC-USD` is `XBTUSD`.
fn altname(pair: &str) -> String {
    let kraken_code = |code: &str| if code == "BTC" { "XBT".to_owned() } else { code.to_owned() };
    pair.split('-').map(kraken_code).collect()
}

/// The name in responses. Kraken's oldest pairs have a special name in responses. Other pairs have the same name as in
/// requests.
fn canonical_name(pair: &str) -> String {
    match pair {
        "BTC-USD" => "XXBTZUSD".to_owned(),
        "ETH-USD" => "XETHZUSD".to_owned(),
        other => altname(other),
    }
}

/// All fields of a ticker. All except the price are constants with the right format.
fn ticker(price: &str) -> Value {
    json!({
        "a": [price, "1", "1.000"],
        "b": [price, "5", "5.000"],
        "c": [price, "0.00001393"],
        "v": ["615.68639239", "2388.56785114"],
        "p": [price, price],
        "t": [22_946, 103_648],
        "l": [price, price],
        "h": [price, price],
        "o": price,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_the_names_kraken_gives_them() {
        for (pair, in_requests, in_responses) in [
            ("BTC-USD", "XBTUSD", "XXBTZUSD"),
            ("ETH-USD", "ETHUSD", "XETHZUSD"),
            ("BTC-CHF", "XBTCHF", "XBTCHF"),
            ("ETH-BTC", "ETHXBT", "ETHXBT"),
            ("SOL-USD", "SOLUSD", "SOLUSD"),
        ] {
            assert_eq!((altname(pair).as_str(), canonical_name(pair).as_str()), (in_requests, in_responses));
        }
    }
}
