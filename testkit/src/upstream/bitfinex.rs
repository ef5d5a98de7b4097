//! Bitfinex: `GET /v2/tickers?symbols=tBTCUSD,tETHUSD`, rows of JSON numbers, without times. The list of markets is
//! `GET /v2/conf/` with two keys: the pairs, and the assets that Bitfinex has renamed.
//!
//! Unknown symbols are left out, so the response to a list of unknown symbols is `[]`.

use http::StatusCode;
use serde_json::json;

use super::quotes::{Quoted, Quotes, book};
use super::reply::{Reply, json_number};
use super::request::Query;

pub(super) const LIST: &str = "/v2/conf/pub:list:pair:exchange,pub:map:currency:sym";

pub(super) fn answer(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    match path {
        "/v2/tickers" => tickers(query, quotes),
        LIST => list(quotes),
        _ => Reply::json(StatusCode::NOT_FOUND, &json!(["error", null, "ERR_UNK_ENDPOINT"])),
    }
}

fn tickers(query: &Query, quotes: &Quotes<'_>) -> Reply {
    let wanted = query.list("symbols");
    if wanted.is_empty() {
        return Reply::json(StatusCode::INTERNAL_SERVER_ERROR, &json!(["error", 10_020, "symbols: invalid"]));
    }
    let everything = wanted == ["ALL"];
    let is_wanted = |quoted: &&Quoted| everything || wanted.contains(&symbol(&quoted.pair));
    let rows: Vec<String> = quotes.priced().iter().filter(is_wanted).map(row).collect();
    Reply::bytes(StatusCode::OK, format!("[{}]", rows.join(",")))
}

fn list(quotes: &Quotes<'_>) -> Reply {
    let pairs: Vec<String> = quotes.priced().iter().map(|quoted| joined(&quoted.pair)).collect();
    Reply::ok(&json!([pairs, RENAMED]))
}

pub(super) fn error() -> Reply {
    Reply::json(StatusCode::INTERNAL_SERVER_ERROR, &json!(["error", 20_060, "maintenance"]))
}

/// The response has no `Retry-After`. The documentation says to wait 60 seconds.
pub(super) fn limited() -> Reply {
    Reply::json(StatusCode::TOO_MANY_REQUESTS, &json!({"error": "ERR_RATE_LIMIT"}))
}

/// Bitfinex's codes of assets, and the usual codes as Bitfinex writes them. Two codes stand for BCH, of which `BAB` has
/// no markets any more.
const RENAMED: [(&str, &str); 16] = [
    ("ALG", "ALGO"),
    ("AMP", "AMPL"),
    ("ATO", "ATOM"),
    ("BAB", "BCH"),
    ("BCHN", "BCH"),
    ("DSH", "DASH"),
    ("EUT", "EURt"),
    ("GSD", "GUSD"),
    ("IOT", "IOTA"),
    ("MNA", "MANA"),
    ("QTM", "QTUM"),
    ("STJ", "STORJ"),
    ("TSD", "TUSD"),
    ("UDC", "USDC"),
    ("UST", "USDt"),
    ("WBT", "WBTC"),
];

fn own_code(code: &str) -> &str {
    let is_of = |(own, usual): &&(&str, &str)| *own != "BAB" && usual.eq_ignore_ascii_case(code);
    RENAMED.iter().find(is_of).map_or(code, |(own, _)| *own)
}

/// Bitfinex's name of a pair in the list: `BTC-USD` is `BTCUSD`. If a code has more than three letters, a colon
/// separates the two codes.
fn joined(pair: &str) -> String {
    let codes: Vec<&str> = pair.split('-').map(own_code).collect();
    codes.join(if codes.iter().any(|code| code.len() > 3) { ":" } else { "" })
}

/// The name of a pair in a request: `BTC-USD` is `tBTCUSD`.
fn symbol(pair: &str) -> String {
    format!("t{}", joined(pair))
}

/// All columns of a ticker. All except the prices are constants with the right format.
fn row(quoted: &Quoted) -> String {
    let price = json_number(&quoted.trade.price);
    let (bid, ask) = book(&quoted.trade.price);
    let (bid, ask) = (json_number(&bid), json_number(&ask));
    format!(
        r#"["{}",{bid},38.644979070000005,{ask},32.145906579999995,126.6,1e-08,{price},1982.88275223,{price},{price}]"#,
        symbol(&quoted.named)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_the_names_bitfinex_gives_them() {
        for (pair, expected) in [
            ("BTC-USD", "tBTCUSD"),
            ("BTC-USDT", "tBTCUST"),
            ("USDT-USD", "tUSTUSD"),
            ("USDC-USD", "tUDCUSD"),
            ("DASH-USD", "tDSHUSD"),
            ("BCH-USD", "tBCHN:USD"),
            ("DOGE2-USD", "tDOGE2:USD"),
            ("LINK-USDT", "tLINK:UST"),
        ] {
            assert_eq!(symbol(pair), expected);
        }
    }
}
