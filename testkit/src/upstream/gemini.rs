//! Gemini: `GET /v1/pricefeed` for all pairs, `GET /v1/pubticker/btcusd` for one, candles at
//! `GET /v2/candles/btcusd/1m`, and the list of markets,
//! `GET /v1/symbols/details/all`.
//!
//! The price feed has no times. The only time of a ticker is that of its volume, which is counted every five minutes.

use http::StatusCode;
use serde_json::{Value, json};

use super::quotes::{Candle, MINUTE_MS, Quoted, Quotes, book};
use super::reply::{Reply, json_number};

pub(super) const LIST: &str = "/v1/symbols/details/all";

/// The beginning of the path of a market's candles.
pub(super) const CANDLES: &str = "/v2/candles/";

const PRICE_FEED: &str = "/v1/pricefeed";

const VOLUME_PERIOD_MS: i64 = 5 * 60 * 1_000;

pub(super) fn answer(path: &str, quotes: &Quotes<'_>) -> Reply {
    match path {
        PRICE_FEED => Reply::ok(&quotes.priced().iter().map(row).collect()),
        LIST => list(quotes),
        _ if path.starts_with(CANDLES) => candles(path, quotes),
        _ => match path.strip_prefix("/v1/pubticker/") {
            Some(wanted) => match quotes.priced().iter().find(|quoted| is_symbol(&quoted.pair, wanted)) {
                Some(quoted) => Reply::ok(&ticker(quoted, quotes.now_ms())),
                None => unsupported(wanted),
            },
            None => {
                let body = failure("EndpointNotFound", "API entry point not found");
                Reply::json(StatusCode::NOT_FOUND, &body)
            }
        },
    }
}

/// The candles of the last day, newest first.
fn candles(path: &str, quotes: &Quotes<'_>) -> Reply {
    let wanted = path.strip_prefix(CANDLES).and_then(|rest| rest.strip_suffix("/1m")).unwrap_or_default();
    let all = quotes.priced();
    let Some(quoted) = all.iter().find(|quoted| is_symbol(&quoted.pair, wanted)) else {
        return unsupported(wanted);
    };
    let row = |Candle { start_ms, close }| {
        let close = json_number(&close);
        format!("[{start_ms},{close},{close},{close},{close},0.5]")
    };
    let candles = quotes.candles(&quoted.pair, quotes.now_ms() - 1_440 * MINUTE_MS, quotes.now_ms());
    let rows: Vec<String> = candles.into_iter().rev().map(row).collect();
    Reply::bytes(StatusCode::OK, format!("[{}]", rows.join(",")))
}

/// A list without rows, or a ticker without fields.
pub(super) fn empty(path: &str) -> Reply {
    Reply::ok(&if path == PRICE_FEED { json!([]) } else { json!({}) })
}

pub(super) fn error() -> Reply {
    unsupported("BTCUSD")
}

pub(super) fn limited() -> Reply {
    Reply::json(StatusCode::TOO_MANY_REQUESTS, &failure("RateLimited", "Requests were made too frequently"))
}

fn unsupported(symbol: &str) -> Reply {
    let body = failure("InvalidSymbol", &format!("Received unsupported symbol '{symbol}'"));
    Reply::json(StatusCode::BAD_REQUEST, &body)
}

fn failure(reason: &str, message: &str) -> Value {
    json!({"result": "error", "reason": reason, "message": message})
}

fn symbol(pair: &str) -> String {
    pair.replace('-', "")
}

/// Symbols in a path may be in capitals or not.
fn is_symbol(pair: &str, text: &str) -> bool {
    symbol(pair).eq_ignore_ascii_case(text)
}

fn row(quoted: &Quoted) -> Value {
    json!({"pair": symbol(&quoted.named), "price": quoted.trade.price, "percentChange24h": "0.0014"})
}

/// All fields of a ticker. The volumes are constants with the right format.
fn ticker(quoted: &Quoted, now_ms: i64) -> Value {
    let price = &quoted.trade.price;
    let (bid, ask) = book(price);
    let (base, quote) = quoted.named.split_once('-').unwrap_or_default();
    json!({
        "bid": bid,
        "ask": ask,
        "last": price,
        "volume": {
            base: "2210.505328803",
            quote: "2135477.463379586263",
            "timestamp": now_ms - now_ms.rem_euclid(VOLUME_PERIOD_MS),
        },
    })
}

/// The list of markets, with one that is not a spot market.
fn list(quotes: &Quotes<'_>) -> Reply {
    let spot = |market: &Quoted| {
        let status = market.listing.word("open", "closed")?;
        let (base, quote) = market.pair.split_once('-')?;
        Some(details(&symbol(&market.pair), [base, quote, "spot", "vanilla"], status))
    };
    let swap = details("BTCGUSDPERP", ["BTC", "GUSD", "swap", "linear"], "open");
    Reply::ok(&quotes.markets().iter().filter_map(spot).chain([swap]).collect())
}

/// All fields of a market. The sizes are constants with the right format.
fn details(symbol: &str, [base, quote, product, contract]: [&str; 4], status: &str) -> Value {
    json!({
        "symbol": symbol,
        "base_currency": base,
        "quote_currency": quote,
        "tick_size": 1e-8,
        "quote_increment": 0.01,
        "min_order_size": "0.00001",
        "status": status,
        "wrap_enabled": false,
        "product_type": product,
        "contract_type": contract,
        "contract_price_currency": quote,
    })
}
