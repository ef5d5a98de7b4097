//! Kraken: `GET /0/public/Ticker?pair=XBTUSD,ETHUSD`, candles at `GET /0/public/OHLC`, and the list of markets,
//! `GET /0/public/AssetPairs`.
//!
//! The response uses each pair's canonical name as its key, whatever name was requested. Errors have the HTTP status
//! 200. One unknown pair fails the whole list. Prices have no timestamps.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::quotes::{Candle, MINUTE_MS, Quoted, Quotes, book};
use super::reply::Reply;
use super::request::Query;

pub(super) const LIST: &str = "/0/public/AssetPairs";

pub(super) const CANDLES: &str = "/0/public/OHLC";

/// How many candles Kraken has, whatever `since` is.
const MOST_CANDLES: i64 = 720;

pub(super) fn answer(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    match path {
        "/0/public/Ticker" => tickers(query, quotes),
        CANDLES => candles(query, quotes),
        LIST => list(quotes),
        _ => Reply::json(StatusCode::NOT_FOUND, &json!({"error": ["EGeneral:Unknown method"]})),
    }
}

fn tickers(query: &Query, quotes: &Quotes<'_>) -> Reply {
    let all = quotes.priced();
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

/// The newest candles of one pair; the last one is still running.
fn candles(query: &Query, quotes: &Quotes<'_>) -> Reply {
    let name = query.get("pair").unwrap_or_default();
    let all = quotes.priced();
    let Some(quoted) = all.iter().find(|quoted| altname(&quoted.pair) == name) else {
        return failure("EQuery:Unknown asset pair");
    };
    if query.get("interval").as_deref() != Some("1") {
        return failure("EGeneral:Invalid arguments");
    }
    let now_ms = quotes.now_ms();
    let since_ms = query.number("since").unwrap_or(0) * 1_000;
    let first_ms = since_ms.max(now_ms - MOST_CANDLES * MINUTE_MS);
    let rows: Vec<Value> = quotes
        .candles(&quoted.pair, first_ms, now_ms)
        .into_iter()
        .map(|Candle { start_ms, close }| {
            json!([start_ms / 1_000, close, close, close, close, close, "1.5", 7])
        })
        .collect();
    let last = rows.iter().rev().nth(1).map_or(json!(0), |row| row[0].clone());
    Reply::ok(&json!({"error": [], "result": {canonical_name(&quoted.named): rows, "last": last}}))
}

fn list(quotes: &Quotes<'_>) -> Reply {
    let row = |market: &Quoted| {
        let status = market.listing.word("online", "cancel_only")?;
        Some((canonical_name(&market.pair), asset_pair(&market.pair, status)))
    };
    let result: Map<String, Value> = quotes.markets().iter().filter_map(row).collect();
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

/// The short name of a pair: `BTC-USD` is `XBTUSD`.
fn altname(pair: &str) -> String {
    pair.split('-').map(code).collect()
}

/// The name of a pair in responses.
fn canonical_name(pair: &str) -> String {
    let old: String = pair.split('-').map(asset).collect();
    if OLD_PAIRS.contains(&old.as_str()) { old } else { altname(pair) }
}

fn code(code: &str) -> &str {
    match code {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    }
}

/// The name of an asset. Old ones have a prefix: X for a cryptocurrency, Z for a currency of a country.
fn asset(name: &str) -> String {
    let code = code(name);
    match code {
        "XBT" | "ETC" | "ETH" | "LTC" | "MLN" | "REP" | "XDG" | "XLM" | "XMR" | "XRP" | "ZEC" => {
            format!("X{code}")
        }
        "AUD" | "CAD" | "EUR" | "GBP" | "JPY" | "USD" => format!("Z{code}"),
        _ => code.to_owned(),
    }
}

/// The pairs whose canonical name consists of the names of their assets. For all other pairs it is the short name, also
/// if both assets are old: `XBTAUD`, `XDGUSD`.
const OLD_PAIRS: [&str; 49] = [
    "USDTZUSD", "XETCXETH", "XETCXXBT", "XETCZEUR", "XETCZUSD", "XETHXXBT", "XETHZCAD", "XETHZEUR",
    "XETHZGBP", "XETHZJPY", "XETHZUSD", "XLTCXXBT", "XLTCZEUR", "XLTCZJPY", "XLTCZUSD", "XMLNXETH",
    "XMLNXXBT", "XMLNZEUR", "XMLNZUSD", "XREPXETH", "XREPXXBT", "XREPZEUR", "XREPZUSD", "XXBTZCAD",
    "XXBTZEUR", "XXBTZGBP", "XXBTZJPY", "XXBTZUSD", "XXDGXXBT", "XXLMXXBT", "XXLMZAUD", "XXLMZEUR",
    "XXLMZGBP", "XXLMZUSD", "XXMRXXBT", "XXMRZEUR", "XXMRZUSD", "XXRPXXBT", "XXRPZCAD", "XXRPZEUR",
    "XXRPZJPY", "XXRPZUSD", "XZECXXBT", "XZECZEUR", "XZECZUSD", "ZEURZUSD", "ZGBPZUSD", "ZUSDZCAD",
    "ZUSDZJPY",
];

/// All fields of a ticker. All except the prices are constants with the right format.
fn ticker(price: &str) -> Value {
    let (bid, ask) = book(price);
    json!({
        "a": [ask, "1", "1.000"],
        "b": [bid, "5", "5.000"],
        "c": [price, "0.00001393"],
        "v": ["615.68639239", "2388.56785114"],
        "p": [price, price],
        "t": [22_946, 103_648],
        "l": [price, price],
        "h": [price, price],
        "o": price,
    })
}

/// All fields of a market. All except names and status are constants with the right format.
fn asset_pair(pair: &str, status: &str) -> Value {
    let (base, quote) = pair.split_once('-').unwrap_or_default();
    json!({
        "altname": altname(pair),
        "wsname": format!("{}/{}", code(base), code(quote)),
        "aclass_base": "currency",
        "base": asset(base),
        "aclass_quote": "currency",
        "quote": asset(quote),
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": 5,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [2, 3],
        "leverage_sell": [2, 3],
        "fees": [[0, 0.4], [10_000, 0.35]],
        "fees_maker": [[0, 0.25], [10_000, 0.2]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": "0.00005",
        "costmin": "0.5",
        "tick_size": "0.00001",
        "status": status,
        "long_position_limit": 250,
        "short_position_limit": 200,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_the_names_kraken_gives_them() {
        for (pair, in_requests, in_responses) in [
            ("BTC-USD", "XBTUSD", "XXBTZUSD"),
            ("BTC-EUR", "XBTEUR", "XXBTZEUR"),
            ("BTC-CHF", "XBTCHF", "XBTCHF"),
            ("BTC-AUD", "XBTAUD", "XBTAUD"),
            ("ETH-USD", "ETHUSD", "XETHZUSD"),
            ("ETH-BTC", "ETHXBT", "XETHXXBT"),
            ("LTC-USD", "LTCUSD", "XLTCZUSD"),
            ("DOGE-BTC", "XDGXBT", "XXDGXXBT"),
            ("DOGE-USD", "XDGUSD", "XDGUSD"),
            ("SOL-USD", "SOLUSD", "SOLUSD"),
            ("USDT-USD", "USDTUSD", "USDTZUSD"),
            ("USDT-EUR", "USDTEUR", "USDTEUR"),
            ("USDC-USD", "USDCUSD", "USDCUSD"),
            ("EUR-USD", "EURUSD", "ZEURZUSD"),
            ("GBP-USD", "GBPUSD", "ZGBPZUSD"),
            ("AUD-USD", "AUDUSD", "AUDUSD"),
            ("XTZ-USD", "XTZUSD", "XTZUSD"),
        ] {
            assert_eq!((altname(pair).as_str(), canonical_name(pair).as_str()), (in_requests, in_responses));
        }
    }

    #[test]
    fn old_assets_have_a_prefix() {
        for (ours, expected) in
            [("BTC", "XXBT"), ("DOGE", "XXDG"), ("USD", "ZUSD"), ("USDT", "USDT"), ("SOL", "SOL")]
        {
            assert_eq!(asset(ours), expected);
        }
    }
}
