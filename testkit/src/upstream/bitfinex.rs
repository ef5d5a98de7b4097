//! Bitfinex: `GET /v2/tickers?symbols=tBTCUSD,tETHUSD`, rows of JSON numbers, without times. Candles are at
//! `GET /v2/candles/trade:1m:tBTCUSD/hist`. The list of markets is
//! `GET /v2/conf/` with two keys: the pairs, and the assets that Bitfinex has renamed.
//!
//! Unknown symbols are left out, so the response to a list of unknown symbols is `[]`.

use http::StatusCode;
use serde_json::json;

use super::quotes::{Candle, Quoted, Quotes, book};
use super::reply::{Reply, json_number};
use super::request::Query;

pub(super) const LIST: &str = "/v2/conf/pub:list:pair:exchange,pub:map:currency:sym";

/// The beginning of the path of a market's candles.
pub(super) const CANDLES: &str = "/v2/candles/trade:1m:";

pub(super) fn answer(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    match path {
        "/v2/tickers" => tickers(query, quotes),
        LIST => list(quotes),
        _ if path.starts_with(CANDLES) => candles(path, query, quotes),
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

/// The newest candles of a range, newest first. Without a market there is no error, but there are no candles either.
fn candles(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    let wanted = path.strip_prefix(CANDLES).and_then(|rest| rest.strip_suffix("/hist"));
    let end_ms = query.number("end").unwrap_or_else(|| quotes.now_ms());
    let start_ms = query.number("start").unwrap_or(0);
    let limit = query.number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(100);
    let all = quotes.priced();
    let quoted = all.iter().find(|quoted| Some(symbol(&quoted.pair).as_str()) == wanted);
    let candles = quoted.map(|quoted| quotes.candles(&quoted.pair, start_ms, end_ms)).unwrap_or_default();
    let row = |Candle { start_ms, close }| {
        let close = json_number(&close);
        format!("[{start_ms},{close},{close},{close},{close},1.5]")
    };
    let rows: Vec<String> = candles.into_iter().rev().take(limit).map(row).collect();
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
