//! CoinGecko: `GET /api/v3/simple/price?ids=bitcoin,ethereum&vs_currencies=usd`, JSON numbers.
//!
//! Unknown ids are left out. If the currency is unknown, the object of each coin is empty.

use http::StatusCode;
use serde_json::json;

use super::quotes::{Quoted, Quotes};
use super::reply::{Reply, json_number};
use super::request::Query;

pub(super) fn answer(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    if path != "/api/v3/simple/price" {
        return Reply::json(StatusCode::NOT_FOUND, &json!({"error": "Not Found"}));
    }
    let currencies = query.list("vs_currencies");
    if currencies.is_empty() {
        let body = json!({"error": "Missing parameter vs_currencies"});
        return Reply::json(StatusCode::UNPROCESSABLE_ENTITY, &body);
    }
    let with_time = query.get("include_last_updated_at").as_deref() == Some("true");
    coins(query, quotes, |markets| {
        let price = |quoted: &&Quoted| {
            let currency = quoted.pair.split_once('-').map(|(_, quote)| quote.to_lowercase())?;
            let price = json_number(&quoted.trade.price);
            currencies.contains(&currency).then(|| format!(r#""{currency}":{price}"#))
        };
        let mut fields: Vec<String> = markets.iter().filter_map(price).collect();
        if let Some(first) = markets.first().filter(|_| with_time && !fields.is_empty()) {
            fields.push(format!(r#""last_updated_at":{}"#, first.trade.time_ms.div_euclid(1_000)));
        }
        fields
    })
}

/// The response if no coin has a price in the requested currency: each coin is an empty object.
pub(super) fn empty(query: &Query, quotes: &Quotes<'_>) -> Reply {
    coins(query, quotes, |_markets| Vec::new())
}

/// CoinGecko's response to an invalid key.
pub(super) fn error() -> Reply {
    status(StatusCode::UNAUTHORIZED, 10_002, "API Key Missing")
}

pub(super) fn limited() -> Reply {
    status(StatusCode::TOO_MANY_REQUESTS, 429, "You've exceeded the Rate Limit.")
}

fn status(status: StatusCode, code: u32, message: &str) -> Reply {
    Reply::json(status, &json!({"status": {"error_code": code, "error_message": message}}))
}

/// An object with the requested coins that are known, each with the result of `fields`.
fn coins(query: &Query, quotes: &Quotes<'_>, fields: impl Fn(&[&Quoted]) -> Vec<String>) -> Reply {
    let all = quotes.all();
    let coin = |wanted: String| {
        let markets: Vec<&Quoted> = all.iter().filter(|quoted| id(&quoted.pair) == wanted).collect();
        let named = id(&markets.first()?.named);
        Some(format!(r#""{named}":{{{}}}"#, fields(&markets).join(",")))
    };
    let coins: Vec<String> = query.list("ids").into_iter().filter_map(coin).collect();
    Reply::bytes(StatusCode::OK, format!("{{{}}}", coins.join(",")))
}

/// CoinGecko's id of a pair's base coin, such as `bitcoin`. For coins that are not listed here, the code is used.
fn id(pair: &str) -> String {
    match pair.split('-').next().unwrap_or_default() {
        "BTC" => "bitcoin".to_owned(),
        "ETH" => "ethereum".to_owned(),
        "LTC" => "litecoin".to_owned(),
        "ETC" => "ethereum-classic".to_owned(),
        "SOL" => "solana".to_owned(),
        other => other.to_lowercase(),
    }
}
