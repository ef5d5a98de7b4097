//! Bitstamp: `GET /api/v2/ticker/` for all pairs, `GET /api/v2/ticker/btcusd/` for one.

use http::StatusCode;
use serde_json::{Value, json};

use super::quotes::{Quoted, Quotes, book};
use super::reply::Reply;
use crate::market::Trade;

pub(super) fn answer(path: &str, quotes: &Quotes<'_>) -> Reply {
    let all = quotes.all();
    match path.strip_prefix("/api/v2/ticker/") {
        Some("") => Reply::ok(&all.iter().map(with_pair).collect()),
        Some(one) => match all.iter().find(|quoted| one.strip_suffix('/') == Some(&url_symbol(&quoted.pair)))
        {
            Some(quoted) => Reply::ok(&ticker(&quoted.trade)),
            None => not_found(),
        },
        None => not_found(),
    }
}

/// The `response_code` is from Bitstamp's documentation. The documentation does not give the HTTP status, so 400 is an
/// assumption.
pub(super) fn limited() -> Reply {
    Reply::json(
        StatusCode::BAD_REQUEST,
        &json!({"response_code": "400.002", "response_explanation": "Request rate limit exceeded."}),
    )
}

/// The status is from Bitstamp's documentation. The body of a real 404 is not known, so this body is empty.
fn not_found() -> Reply {
    Reply::empty(StatusCode::NOT_FOUND)
}

/// The name of a pair in a path: `BTC-USD` is `btcusd`.
fn url_symbol(pair: &str) -> String {
    pair.replace('-', "").to_lowercase()
}

fn with_pair(quoted: &Quoted) -> Value {
    let mut ticker = ticker(&quoted.trade);
    if let Some(fields) = ticker.as_object_mut() {
        fields.insert("pair".to_owned(), quoted.named.replace('-', "/").into());
    }
    ticker
}

/// All fields of a ticker. All except prices and time are constants with the right format.
fn ticker(trade: &Trade) -> Value {
    let price = &trade.price;
    let (bid, ask) = book(price);
    json!({
        "timestamp": trade.time_ms.div_euclid(1_000).to_string(),
        "open": price,
        "high": price,
        "low": price,
        "last": price,
        "volume": "213.26801100",
        "vwap": price,
        "bid": bid,
        "ask": ask,
        "side": "0",
        "open_24": price,
        "percent_change_24": "0.00",
    })
}
