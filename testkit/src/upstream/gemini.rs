//! Gemini: `GET /v1/pricefeed`, all pairs that it trades, without times.

use http::StatusCode;
use serde_json::{Value, json};

use super::quotes::{Quoted, Quotes};
use super::reply::Reply;

pub(super) fn answer(path: &str, quotes: &Quotes<'_>) -> Reply {
    if path != "/v1/pricefeed" {
        return Reply::json(StatusCode::NOT_FOUND, &failure("EndpointNotFound", "API entry point not found"));
    }
    Reply::ok(&quotes.all().iter().map(row).collect())
}

pub(super) fn error() -> Reply {
    let body = failure("InvalidSymbol", "Received unsupported symbol 'BTCUSD'");
    Reply::json(StatusCode::BAD_REQUEST, &body)
}

pub(super) fn limited() -> Reply {
    Reply::json(StatusCode::TOO_MANY_REQUESTS, &failure("RateLimited", "Requests were made too frequently"))
}

fn failure(reason: &str, message: &str) -> Value {
    json!({"result": "error", "reason": reason, "message": message})
}

fn row(quoted: &Quoted) -> Value {
    json!({"pair": quoted.named.replace('-', ""), "price": quoted.trade.price, "percentChange24h": "0.0014"})
}
