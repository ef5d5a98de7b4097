//! Bitstamp: `GET /api/v2/ticker/` for all pairs, `GET /api/v2/ticker/btcusd/` for one, candles at
//! `GET /api/v2/ohlc/btcusd/`, and the list of markets, `GET /api/v2/trading-pairs-info/`.

use http::StatusCode;
use serde_json::{Value, json};

use super::quotes::{Candle, MINUTE_MS, Quoted, Quotes, book};
use super::reply::Reply;
use super::request::Query;

pub(super) const LIST: &str = "/api/v2/trading-pairs-info/";

/// The beginning of the path of a market's candles.
pub(super) const CANDLES: &str = "/api/v2/ohlc/";

const TICKER: &str = "/api/v2/ticker/";

/// The pairs that also have a perpetual future, whose price is that of the pair.
const PERPETUALS: [&str; 2] = ["BTC-USD", "ETH-USD"];

pub(super) fn answer(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    if path == LIST {
        return Reply::ok(&quotes.markets().iter().filter_map(trading_pair).collect());
    }
    let all = quotes.priced();
    if let Some(one) = path.strip_prefix(CANDLES) {
        let is_wanted = |quoted: &&Quoted| one.strip_suffix('/') == Some(&url_symbol(&quoted.pair));
        return all.iter().find(is_wanted).map_or_else(not_found, |quoted| candles(quoted, query, quotes));
    }
    match path.strip_prefix(TICKER) {
        Some("") => {
            let perpetuals = all.iter().filter(|quoted| PERPETUALS.contains(&quoted.pair.as_str()));
            Reply::ok(&all.iter().map(spot_row).chain(perpetuals.map(perpetual_row)).collect())
        }
        Some(one) => match all.iter().find(|quoted| one.strip_suffix('/') == Some(&url_symbol(&quoted.pair)))
        {
            Some(quoted) => Reply::ok(&ticker(quoted)),
            None => not_found(),
        },
        None => not_found(),
    }
}

/// The `limit` newest candles that start at or before `end`. If there is an `end`, a `start` has no effect.
fn candles(quoted: &Quoted, query: &Query, quotes: &Quotes<'_>) -> Reply {
    let limit = query.number("limit").filter(|limit| (1..=1_000).contains(limit));
    let (Some(limit), Some(60)) = (limit, query.number("step")) else {
        return Reply::json(StatusCode::BAD_REQUEST, &json!({"code": 4, "errors": []}));
    };
    let end_ms = query.number("end").map_or(quotes.now_ms(), |end| end * 1_000);
    let row = |Candle { start_ms, close }| {
        json!({
            "close": close,
            "high": close,
            "low": close,
            "open": close,
            "timestamp": (start_ms / 1_000).to_string(),
            "volume": "0.08549090",
        })
    };
    let first_ms = end_ms - (limit - 1) * MINUTE_MS;
    let rows: Vec<Value> = quotes.candles(&quoted.pair, first_ms, end_ms).into_iter().map(row).collect();
    Reply::ok(&json!({"data": {"ohlc": rows, "pair": market(&quoted.named)}}))
}

/// A list without rows, or a ticker without fields.
pub(super) fn empty(path: &str) -> Reply {
    Reply::ok(&if path == TICKER { json!([]) } else { json!({}) })
}

/// The `response_code` is from Bitstamp's documentation. The documentation does not give the HTTP status, so 400 is an
/// assumption.
pub(super) fn limited() -> Reply {
    Reply::json(
        StatusCode::BAD_REQUEST,
        &json!({"response_code": "400.002", "response_explanation": "Request rate limit exceeded."}),
    )
}

fn not_found() -> Reply {
    Reply::json(StatusCode::NOT_FOUND, &json!({"message": "Not found."}))
}

/// The name of a pair in a path: `BTC-USD` is `btcusd`.
fn url_symbol(pair: &str) -> String {
    pair.replace('-', "").to_lowercase()
}

/// The name of a pair in a response: `BTC-USD` is `BTC/USD`.
fn market(pair: &str) -> String {
    pair.replace('-', "/")
}

/// All fields of a ticker. All except names, prices and time are constants with the right format.
fn ticker(quoted: &Quoted) -> Value {
    let price = &quoted.trade.price;
    let (bid, ask) = book(price);
    json!({
        "timestamp": quoted.trade.time_ms.div_euclid(1_000).to_string(),
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
        "market_type": "SPOT",
        "market": market(&quoted.named),
    })
}

/// A row of the list: a ticker that also names its pair.
fn spot_row(quoted: &Quoted) -> Value {
    let pair = market(&quoted.named);
    with(ticker(quoted), &[("pair", &pair)])
}

fn perpetual_row(quoted: &Quoted) -> Value {
    let (market, price) = (format!("{}-PERP", market(&quoted.named)), &quoted.trade.price);
    let fields = [
        ("market_type", "PERPETUAL"),
        ("pair", &market),
        ("market", &market),
        ("index_price", price),
        ("mark_price", price),
        ("open_interest", "66.98297"),
        ("open_interest_value", "5173637.6974705640488"),
    ];
    with(ticker(quoted), &fields)
}

/// Adds or replaces fields.
fn with(mut row: Value, fields: &[(&str, &str)]) -> Value {
    if let Some(row) = row.as_object_mut() {
        row.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
    }
    row
}

/// A row of the list of markets. All fields except names and state are constants with the right format.
fn trading_pair(listed: &Quoted) -> Option<Value> {
    let trading = listed.listing.word("Enabled", "Disabled")?;
    let (base, quote) = listed.pair.split_once('-')?;
    Some(json!({
        "name": market(&listed.pair),
        "url_symbol": url_symbol(&listed.pair),
        "base_decimals": 8,
        "counter_decimals": 2,
        "minimum_order": format!("20.0 {quote}"),
        "trading": trading,
        "instant_and_market_orders": "Enabled",
        "description": format!("{base} / {quote}"),
    }))
}
