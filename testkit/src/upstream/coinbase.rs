//! Coinbase Exchange: `GET /products/BTC-USD/ticker` for one product, `GET /products/stats` for all, and the list of
//! markets, `GET /products`.
//!
//! The ticker has the time of the last trade. The statistics have no time.

use chrono::DateTime;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::listing::Listing;
use super::quotes::{Quoted, Quotes, book};
use super::reply::Reply;
use crate::market::Trade;

pub(super) const LIST: &str = "/products";

const STATS: &str = "/products/stats";

pub(super) fn answer(path: &str, quotes: &Quotes<'_>) -> Reply {
    let markets = quotes.markets();
    match path {
        LIST => Reply::ok(&markets.iter().filter_map(product).collect()),
        STATS => stats(quotes),
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
