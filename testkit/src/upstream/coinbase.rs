//! Coinbase Exchange: `GET /products/BTC-USD/ticker` for one product, `GET /products/stats` for all, candles at
//! `GET /products/BTC-USD/candles`, and the list of markets, `GET /products`.
//!
//! The ticker has the time of the last trade. The statistics have no time.

use chrono::DateTime;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::listing::Listing;
use super::quotes::{Candle, Quoted, Quotes, book};
use super::reply::{Reply, json_number};
use super::request::Query;
use crate::market::Trade;

pub(super) const LIST: &str = "/products";

/// The end of the path of a product's candles.
pub(super) const CANDLES: &str = "/candles";

/// More candles in a request are refused.
const MOST_CANDLES: i64 = 300;

const STATS: &str = "/products/stats";

pub(super) fn answer(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    let markets = quotes.markets();
    match path {
        LIST => Reply::ok(&markets.iter().filter_map(product).collect()),
        STATS => stats(quotes),
        _ if path.ends_with(CANDLES) => candles(path, query, quotes),
        _ => {
            let wanted = path.strip_prefix("/products/").and_then(|rest| rest.strip_suffix("/ticker"));
            match markets.iter().find(|market| Some(market.pair.as_str()) == wanted) {
                Some(market) if market.listing.is_priced() => Reply::ok(&ticker(&market.trade)),
                Some(market) if market.listing == Listing::Delisted => {
                    failure(StatusCode::BAD_REQUEST, "Not allowed for delisted products")
                }
                _ => failure(StatusCode::NOT_FOUND, "NotFound"),
            }
        }
    }
}

pub(super) fn error() -> Reply {
    failure(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error")
}

pub(super) fn limited() -> Reply {
    failure(StatusCode::TOO_MANY_REQUESTS, "Public rate limit exceeded")
}

fn failure(status: StatusCode, message: &str) -> Reply {
    Reply::json(status, &json!({"message": message}))
}

/// All fields of a ticker. All except prices and time are constants with the right format.
fn ticker(trade: &Trade) -> Value {
    let (bid, ask) = book(&trade.price);
    json!({
        "trade_id": trade.time_ms,
        "price": trade.price,
        "size": "0.05950000",
        "bid": bid,
        "ask": ask,
        "volume": "4661.70407704",
        "time": rfc3339_nanoseconds(trade.time_ms),
        "rfq_volume": "20.622389",
    })
}

/// The candles of a product, newest first. Minutes without trades are left out.
fn candles(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    let wanted = path.strip_prefix("/products/").and_then(|rest| rest.strip_suffix(CANDLES));
    let all = quotes.priced();
    let Some(quoted) = all.iter().find(|quoted| Some(quoted.pair.as_str()) == wanted) else {
        return failure(StatusCode::NOT_FOUND, "NotFound");
    };
    let [granularity, start, end] = ["granularity", "start", "end"].map(|name| query.number(name));
    let now = quotes.now_ms() / 1_000;
    let (start, end) = start.zip(end).unwrap_or((now - MOST_CANDLES * 60, now));
    if granularity != Some(60) {
        return failure(StatusCode::BAD_REQUEST, "Unsupported granularity");
    }
    if (end - start) / 60 >= MOST_CANDLES {
        let message = "granularity too small for the requested time range";
        return failure(StatusCode::BAD_REQUEST, message);
    }
    let row = |Candle { start_ms, close }| {
        let close = json_number(&close);
        format!("[{},{close},{close},{close},{close},0.69450254]", start_ms / 1_000)
    };
    let candles = quotes.candles(&quoted.pair, start * 1_000, end * 1_000);
    let rows: Vec<String> = candles.into_iter().rev().map(row).collect();
    Reply::bytes(StatusCode::OK, format!("[{}]", rows.join(",")))
}

fn stats(quotes: &Quotes<'_>) -> Reply {
    let row = |quoted: Quoted| {
        let price = quoted.trade.price;
        let day = json!({
            "open": price,
            "high": price,
            "low": price,
            "last": price,
            "volume": "4661.70407704",
            "rfq_volume": "20.622389",
        });
        let month = json!({"volume": "269980.64976703", "rfq_volume": "2310.097200"});
        (quoted.named, json!({"stats_30day": month, "stats_24hour": day}))
    };
    let rows: Map<String, Value> = quotes.priced().into_iter().map(row).collect();
    Reply::ok(&rows.into()).with("cache-control", "public, max-age=5")
}

/// All fields of a product. All except names and status are constants with the right format.
fn product(market: &Quoted) -> Option<Value> {
    let status = match market.listing {
        Listing::Delisted => "delisted",
        listing => listing.word("online", "offline")?,
    };
    let (base, quote) = market.pair.split_once('-')?;
    Some(json!({
        "id": market.pair,
        "base_currency": base,
        "quote_currency": quote,
        "quote_increment": "0.01",
        "base_increment": "0.00000001",
        "display_name": market.pair,
        "min_market_funds": "1",
        "margin_enabled": false,
        "post_only": false,
        "limit_only": false,
        "cancel_only": false,
        "status": status,
        "status_message": "",
        "trading_disabled": market.listing != Listing::Open,
        "fx_stablecoin": false,
        "max_slippage_percentage": "0.02000000",
        "auction_mode": false,
        "high_bid_limit_percentage": "",
    }))
}

fn rfc3339_nanoseconds(time_ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(time_ms).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_nanoseconds() {
        assert_eq!(rfc3339_nanoseconds(1_428_526_146_506), "2015-04-08T20:49:06.506000000Z");
        assert_eq!(rfc3339_nanoseconds(0), "1970-01-01T00:00:00.000000000Z");
    }
}
