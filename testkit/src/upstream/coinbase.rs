//! Coinbase Exchange: `GET /products/BTC-USD/ticker`, one pair per request.

use chrono::DateTime;
use http::StatusCode;
use serde_json::json;

use super::quotes::{Quotes, book};
use super::reply::Reply;

pub(super) fn answer(path: &str, quotes: &Quotes<'_>) -> Reply {
    let product = path.strip_prefix("/products/").and_then(|rest| rest.strip_suffix("/ticker"));
    let Some(trade) = product.and_then(|product| quotes.trade(product)) else {
        return Reply::json(StatusCode::NOT_FOUND, &json!({"message": "NotFound"}));
    };
    let (bid, ask) = book(&trade.price);
    Reply::ok(&json!({
        "trade_id": trade.time_ms,
        "price": trade.price,
        "size": "0.05950000",
        "bid": bid,
        "ask": ask,
        "volume": "4661.70407704",
        "time": rfc3339_microseconds(trade.time_ms),
    }))
}

pub(super) fn error() -> Reply {
    Reply::json(StatusCode::INTERNAL_SERVER_ERROR, &json!({"message": "Internal server error"}))
}

pub(super) fn limited() -> Reply {
    Reply::json(StatusCode::TOO_MANY_REQUESTS, &json!({"message": "Public rate limit exceeded"}))
}

fn rfc3339_microseconds(time_ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(time_ms).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_microseconds() {
        assert_eq!(rfc3339_microseconds(1_428_526_146_506), "2015-04-08T20:49:06.506000Z");
        assert_eq!(rfc3339_microseconds(0), "1970-01-01T00:00:00.000000Z");
    }
}
