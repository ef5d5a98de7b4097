//! Binance: `GET /api/v3/ticker/price?symbols=["BTCUSDT","ETHUSDT"]`, without times.
//!
//! One unknown symbol fails the whole list. The response to `symbol=BTCUSDT` is an object.

use http::StatusCode;
use serde_json::{Value, json};

use super::quotes::{Quoted, Quotes};
use super::reply::Reply;
use super::request::Query;

/// Every response has this header. Its value is how much of the limit of 6,000 per minute is used.
const USED_WEIGHT: (&str, &str) = ("x-mbx-used-weight-1m", "4");

pub(super) fn answer(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    let (header, value) = USED_WEIGHT;
    reply(path, query, quotes).with(header, value)
}

fn reply(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    if path != "/api/v3/ticker/price" {
        return Reply::empty(StatusCode::NOT_FOUND);
    }
    let all = quotes.all();
    let find = |symbol: &String| all.iter().find(|quoted| quoted.pair.replace('-', "") == *symbol).map(row);
    if let Some(one) = query.get("symbol") {
        return find(&one).map_or_else(error, |row| Reply::ok(&row));
    }
    let rows: Option<Vec<Value>> = match query.get("symbols") {
        None => Some(all.iter().map(row).collect()),
        Some(list) => match serde_json::from_str::<Vec<String>>(&list) {
            Ok(wanted) => wanted.iter().map(find).collect(),
            Err(_no_list) => None,
        },
    };
    rows.map_or_else(error, |rows| Reply::ok(&rows.into()))
}

pub(super) fn error() -> Reply {
    Reply::json(StatusCode::BAD_REQUEST, &json!({"code": -1121, "msg": "Invalid symbol."}))
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

fn row(quoted: &Quoted) -> Value {
    json!({"symbol": quoted.named.replace('-', ""), "price": quoted.trade.price})
}
