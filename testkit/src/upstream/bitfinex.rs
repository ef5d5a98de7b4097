//! Bitfinex: `GET /v2/tickers?symbols=tBTCUSD,tETHUSD`, rows of JSON numbers, without times.
//!
//! Unknown symbols are left out, so the response to a list of unknown symbols is `[]`.

use http::StatusCode;
use serde_json::json;

use super::quotes::{Quoted, Quotes, book};
use super::reply::{Reply, json_number};
use super::request::Query;

pub(super) fn answer(path: &str, query: &Query, quotes: &Quotes<'_>) -> Reply {
    if path != "/v2/tickers" {
        return Reply::json(StatusCode::NOT_FOUND, &json!(["error", null, "ERR_UNK_ENDPOINT"]));
    }
    let wanted = query.list("symbols");
    if wanted.is_empty() {
        return Reply::json(StatusCode::INTERNAL_SERVER_ERROR, &json!(["error", 10_020, "symbols: invalid"]));
    }
    let everything = wanted == ["ALL"];
    let is_wanted = |quoted: &&Quoted| everything || wanted.contains(&symbol(&quoted.pair));
    let rows: Vec<String> = quotes.all().iter().filter(is_wanted).map(row).collect();
    Reply::bytes(StatusCode::OK, format!("[{}]", rows.join(",")))
}

pub(super) fn error() -> Reply {
    Reply::json(StatusCode::INTERNAL_SERVER_ERROR, &json!(["error", 20_060, "maintenance"]))
}

/// The response has no `Retry-After`. The documentation says to wait 60 seconds.
pub(super) fn limited() -> Reply {
    Reply::json(StatusCode::TOO_MANY_REQUESTS, &json!({"error": "ERR_RATE_LIMIT"}))
}

/// Bitfinex's name of a pair: `BTC-USD` is `tBTCUSD`. If a code has more than three letters, a colon separates the two
/// codes. USDT is `UST`.
fn symbol(pair: &str) -> String {
    let own_code = |code: &str| match code {
        "USDT" => "UST".to_owned(),
        other => other.to_owned(),
    };
    let codes: Vec<String> = pair.split('-').map(own_code).collect();
    let separator = if codes.iter().any(|code| code.len() > 3) { ":" } else { "" };
    format!("t{}", codes.join(separator))
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
            ("DOGE2-USD", "tDOGE2:USD"),
            ("LINK-USDT", "tLINK:UST"),
        ] {
            assert_eq!(symbol(pair), expected);
        }
    }
}
