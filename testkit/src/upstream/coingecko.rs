//! CoinGecko: `GET /api/v3/simple/price?ids=bitcoin,ethereum&vs_currencies=usd`, JSON numbers, and the list of coins,
//! `GET /api/v3/coins/list`.
//!
//! Unknown ids are left out. If the currency is unknown, the object of each coin is empty.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};

use super::quotes::{Quoted, Quotes};
use super::reply::{Reply, json_number};
use super::request::Query;

pub(super) const LIST: &str = "/api/v3/coins/list";

pub(super) fn answer(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    match path {
        "/api/v3/simple/price" => prices(query, quotes),
        LIST => list(quotes),
        _ => Reply::json(StatusCode::NOT_FOUND, &json!({"error": "Not Found"})),
    }
}

fn prices(query: &Query, quotes: &Quotes<'_>) -> Reply {
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
    let all = quotes.priced();
    let coin = |wanted: String| {
        let markets: Vec<&Quoted> = all.iter().filter(|quoted| id(&quoted.pair) == wanted).collect();
        let named = id(&markets.first()?.named);
        Some(format!(r#""{named}":{{{}}}"#, fields(&markets).join(",")))
    };
    let coins: Vec<String> = query.list("ids").into_iter().filter_map(coin).collect();
    Reply::bytes(StatusCode::OK, format!("{{{}}}", coins.join(",")))
}

/// The known coins and those of all pairs. A coin is left out if none of its pairs is listed.
fn list(quotes: &Quotes<'_>) -> Reply {
    let markets = quotes.markets();
    let base = |market: &Quoted| market.pair.split('-').next().unwrap_or_default().to_owned();
    let listed: BTreeSet<String> =
        markets.iter().filter(|market| market.listing.is_priced()).map(base).collect();
    let mut codes: BTreeSet<String> = COINS.into_iter().map(|(code, ..)| code.to_owned()).collect();
    for code in markets.iter().map(base) {
        if listed.contains(&code) {
            codes.insert(code);
        } else {
            codes.remove(&code);
        }
    }
    Reply::ok(&codes.iter().map(|code| coin(code)).collect())
}

fn coin(code: &str) -> Value {
    let known = COINS.into_iter().find(|(known, ..)| *known == code);
    let name = known.map_or(code, |(_, _, name)| name);
    json!({"id": coin_id(code), "symbol": code.to_lowercase(), "name": name})
}

/// CoinGecko's id of a pair's base coin, such as `bitcoin`.
fn id(pair: &str) -> String {
    coin_id(pair.split('-').next().unwrap_or_default())
}

/// For coins that are not in the table, the id is the code.
fn coin_id(code: &str) -> String {
    let known = COINS.into_iter().find(|(known, ..)| *known == code);
    known.map_or_else(|| code.to_lowercase(), |(_, id, _)| id.to_owned())
}

/// The code, the id and the name of coins.
const COINS: [(&str, &str, &str); 30] = [
    ("AAVE", "aave", "Aave"),
    ("ADA", "cardano", "Cardano"),
    ("ALGO", "algorand", "Algorand"),
    ("ATOM", "cosmos", "Cosmos Hub"),
    ("AVAX", "avalanche-2", "Avalanche"),
    ("BCH", "bitcoin-cash", "Bitcoin Cash"),
    ("BNB", "binancecoin", "BNB"),
    ("BTC", "bitcoin", "Bitcoin"),
    ("BTT", "bittorrent", "BitTorrent"),
    ("DAI", "dai", "Dai"),
    ("DOGE", "dogecoin", "Dogecoin"),
    ("DOT", "polkadot", "Polkadot"),
    ("ETC", "ethereum-classic", "Ethereum Classic"),
    ("ETH", "ethereum", "Ethereum"),
    ("EURT", "tether-eurt", "Euro Tether"),
    ("LINK", "chainlink", "Chainlink"),
    ("LTC", "litecoin", "Litecoin"),
    ("NEAR", "near", "NEAR Protocol"),
    ("PAXG", "pax-gold", "PAX Gold"),
    ("PEPE", "pepe", "Pepe"),
    ("SHIB", "shiba-inu", "Shiba Inu"),
    ("SOL", "solana", "Solana"),
    ("TRX", "tron", "TRON"),
    ("UNI", "uniswap", "Uniswap"),
    ("USDC", "usd-coin", "USDC"),
    ("USDT", "tether", "Tether"),
    ("XLM", "stellar", "Stellar"),
    ("XMR", "monero", "Monero"),
    ("XRP", "ripple", "XRP"),
    ("XTZ", "tezos", "Tezos"),
];
