//! Binance: `GET /api/v3/ticker/24hr?symbols=["BTCUSDT","ETHUSDT"]`, the shorter `GET /api/v3/ticker/price`, candles
//! at `GET /api/v3/klines`, and the list of markets, `GET /api/v3/exchangeInfo`.
//!
//! Prices have no times of their own. One unknown symbol fails the whole list. With `symbolStatus=TRADING`, halted markets
//! are left out. The response to `symbol=BTCUSDT` is an object.

use http::StatusCode;
use serde_json::{Value, json};

use super::listing::Listing;
use super::quotes::{Candle, MINUTE_MS, Quoted, Quotes, book};
use super::reply::Reply;
use super::request::Query;

pub(super) const LIST: &str = "/api/v3/exchangeInfo";

pub(super) const CANDLES: &str = "/api/v3/klines";

/// Every response has this header. Its value is how much of the limit of 6,000 per minute is used.
const USED_WEIGHT: (&str, &str) = ("x-mbx-used-weight-1m", "4");

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

pub(super) fn answer(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    let (header, value) = USED_WEIGHT;
    let reply = match path {
        "/api/v3/ticker/24hr" => tickers(query, &quotes.priced(), statistics),
        "/api/v3/ticker/price" => {
            let mut known = quotes.markets();
            known.retain(|market| market.listing != Listing::Unlisted);
            tickers(query, &known, price)
        }
        CANDLES => candles(query, quotes),
        LIST => list(quotes),
        _ => Reply::empty(StatusCode::NOT_FOUND),
    };
    reply.with(header, value)
}

/// The rows of the requested markets.
fn tickers(query: &Query, known: &[Quoted], row: fn(&Quoted) -> Value) -> Reply {
    let has_status =
        |quoted: &&Quoted| query.get("symbolStatus").is_none_or(|wanted| wanted == status(quoted.listing));
    let find = |wanted: &String| known.iter().find(|quoted| symbol(&quoted.pair) == *wanted);
    if let Some(one) = query.get("symbol") {
        return match find(&one) {
            None => error(),
            Some(quoted) if has_status(&quoted) => Reply::ok(&row(quoted)),
            Some(_other) => other_status(),
        };
    }
    let wanted: Option<Vec<&Quoted>> = match query.get("symbols") {
        None => Some(known.iter().collect()),
        Some(list) => match serde_json::from_str::<Vec<String>>(&list) {
            Ok(wanted) => wanted.iter().map(find).collect(),
            Err(_no_list) => None,
        },
    };
    let rows = |wanted: Vec<&Quoted>| wanted.into_iter().filter(has_status).map(row).collect();
    wanted.map_or_else(error, |wanted| Reply::ok(&rows(wanted)))
}

/// The oldest candles of a range, oldest first.
fn candles(query: &Query, quotes: &Quotes<'_>) -> Reply {
    let wanted = query.get("symbol");
    let all = quotes.priced();
    let Some(quoted) = all.iter().find(|quoted| Some(symbol(&quoted.pair)) == wanted) else {
        return error();
    };
    let limit = query.number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(500);
    let [start, end] = ["startTime", "endTime"].map(|name| query.number(name));
    let row = |Candle { start_ms, close }| {
        let volumes = ["121.20139100", "815879.49416818", "56.19067400", "378311.74215876"];
        let [base, quote, bought, paid] = volumes;
        json!([
            start_ms,
            close,
            close,
            close,
            close,
            base,
            start_ms + MINUTE_MS - 1,
            quote,
            2_208,
            bought,
            paid,
            "0"
        ])
    };
    let candles = quotes.candles(&quoted.pair, start.unwrap_or(0), end.unwrap_or_else(|| quotes.now_ms()));
    Reply::ok(&candles.into_iter().take(limit.min(1_000)).map(row).collect())
}

fn list(quotes: &Quotes<'_>) -> Reply {
    let markets = quotes.priced();
    let symbols: Vec<Value> = markets.iter().filter_map(symbol_information).collect();
    Reply::ok(&json!({
        "timezone": "UTC",
        "serverTime": quotes.now_ms(),
        "rateLimits": [],
        "exchangeFilters": [],
        "symbols": symbols,
    }))
}

pub(super) fn error() -> Reply {
    Reply::json(StatusCode::BAD_REQUEST, &json!({"code": -1121, "msg": "Invalid symbol."}))
}

/// The response if the only requested market does not have the requested status.
fn other_status() -> Reply {
    let message = "The symbol's status does not match the requested symbolStatus.";
    Reply::json(StatusCode::BAD_REQUEST, &json!({"code": -1220, "msg": message}))
}

pub(super) fn limited() -> Reply {
    let body = json!({"code": -1003, "msg": "Too many requests."});
    Reply::json(StatusCode::TOO_MANY_REQUESTS, &body).with("retry-after", "30")
}

/// Binance's response in countries that it may not serve.
pub(super) fn elsewhere() -> Value {
    json!({
        "code": 0,
        "msg": "Service unavailable from a restricted location according to 'b. Eligibility' in our terms.",
    })
}

fn symbol(pair: &str) -> String {
    pair.replace('-', "")
}

fn status(listing: Listing) -> &'static str {
    if listing == Listing::Open { "TRADING" } else { "BREAK" }
}

/// A row of `ticker/price`. A market without trading has the price zero.
fn price(quoted: &Quoted) -> Value {
    let is_open = quoted.listing == Listing::Open;
    let price = if is_open { &quoted.trade.price } else { "0.00000000" };
    json!({"symbol": symbol(&quoted.named), "price": price})
}

/// A row of `ticker/24hr`. All fields except names, prices and times are constants with the right format.
fn statistics(quoted: &Quoted) -> Value {
    let price = &quoted.trade.price;
    let (bid, ask) = book(price);
    let close_ms = quoted.trade.time_ms;
    json!({
        "symbol": symbol(&quoted.named),
        "priceChange": "0.00000000",
        "priceChangePercent": "0.000",
        "weightedAvgPrice": price,
        "prevClosePrice": price,
        "lastPrice": price,
        "lastQty": "0.00100000",
        "bidPrice": bid,
        "bidQty": "4.31000000",
        "askPrice": ask,
        "askQty": "2.07000000",
        "openPrice": price,
        "highPrice": price,
        "lowPrice": price,
        "volume": "8913.30000000",
        "quoteVolume": "15343052.40000000",
        "openTime": close_ms - DAY_MS,
        "closeTime": close_ms,
        "firstId": 28_385,
        "lastId": 28_460,
        "count": 76,
    })
}

/// A row of the list of markets. All fields except names and status are constants with the right format.
fn symbol_information(market: &Quoted) -> Option<Value> {
    let (base, quote) = market.pair.split_once('-')?;
    Some(json!({
        "symbol": symbol(&market.pair),
        "status": status(market.listing),
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": true,
        "ocoAllowed": true,
        "isSpotTradingAllowed": true,
        "isMarginTradingAllowed": true,
        "filters": [],
        "permissions": [],
        "permissionSets": [["SPOT", "MARGIN"]],
    }))
}
