//! Kraken: `GET /0/public/Ticker?pair=XBTUSD,ETHUSD`.
//!
//! The reply is keyed by each pair's canonical name, whatever it was asked by. Errors come with HTTP 200, and
//! one unknown pair fails the whole list. There is no time in it.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::quotes::Quotes;
use super::reply::Reply;

pub(super) fn answer(path: &str, query: Option<&str>, quotes: &Quotes<'_>) -> Reply {
    if path != "/0/public/Ticker" {
        return Reply::json(StatusCode::NOT_FOUND, &json!({"error": ["EGeneral:Unknown method"]}));
    }
    let all = quotes.all();
    let wanted = pair_parameter(query.unwrap_or_default());
    let mut result = Map::new();
    if wanted.is_empty() {
        // Without a list Kraken answers with everything it trades.
        result.extend(all.iter().map(|(pair, trade)| (canonical_name(pair), ticker(&trade.price))));
    }
    for name in wanted.split(',').filter(|_| !wanted.is_empty()) {
        let known = all.iter().find(|(pair, _)| altname(pair) == name || canonical_name(pair) == name);
        let Some((pair, trade)) = known else {
            return Reply::ok(&json!({"error": ["EQuery:Unknown asset pair"]}));
        };
        result.insert(canonical_name(pair), ticker(&trade.price));
    }
    Reply::ok(&json!({"error": [], "result": result}))
}

/// The name a client asks by: `BTC-USD` is `XBTUSD`.
fn altname(pair: &str) -> String {
    let kraken_code = |code: &str| if code == "BTC" { "XBT".to_owned() } else { code.to_owned() };
    pair.split('-').map(kraken_code).collect()
}

/// The name Kraken answers by. Its oldest pairs have one of their own; for the others it is the altname.
fn canonical_name(pair: &str) -> String {
    match pair {
        "BTC-USD" => "XXBTZUSD".to_owned(),
        "ETH-USD" => "XETHZUSD".to_owned(),
        other => altname(other),
    }
}

/// All fields of a ticker. Beside the price they are constants of the right form.
fn ticker(price: &str) -> Value {
    json!({
        "a": [price, "1", "1.000"],
        "b": [price, "5", "5.000"],
        "c": [price, "0.00001393"],
        "v": ["615.68639239", "2388.56785114"],
        "p": [price, price],
        "t": [22_946, 103_648],
        "l": [price, price],
        "h": [price, price],
        "o": price,
    })
}

/// The decoded value of `pair=`, empty when there is none.
fn pair_parameter(query: &str) -> String {
    let value = query.split('&').find_map(|parameter| parameter.strip_prefix("pair="));
    percent_decode(value.unwrap_or_default())
}

/// Decodes `%2C` and its like; clients differ in whether they encode the comma of the list.
fn percent_decode(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte.filter(u8::is_ascii), part.get(2..)) {
            (Some(byte), Some(rest)) => {
                decoded.push(char::from(byte));
                decoded.push_str(rest);
            }
            _ => {
                decoded.push('%');
                decoded.push_str(part);
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_the_names_kraken_gives_them() {
        for (pair, asked_by, answered_by) in [
            ("BTC-USD", "XBTUSD", "XXBTZUSD"),
            ("ETH-USD", "ETHUSD", "XETHZUSD"),
            ("BTC-CHF", "XBTCHF", "XBTCHF"),
            ("ETH-BTC", "ETHXBT", "ETHXBT"),
            ("SOL-USD", "SOLUSD", "SOLUSD"),
        ] {
            assert_eq!((altname(pair).as_str(), canonical_name(pair).as_str()), (asked_by, answered_by));
        }
    }

    #[test]
    fn the_list_may_be_percent_encoded() {
        assert_eq!(pair_parameter("pair=XBTUSD,ETHUSD"), "XBTUSD,ETHUSD");
        assert_eq!(pair_parameter("x=1&pair=XBTUSD%2CETHUSD&y=2"), "XBTUSD,ETHUSD");
        assert_eq!(pair_parameter("pair=%2cA%"), ",A%");
        assert_eq!(pair_parameter("pair=%zzA%é"), "%zzA%é");
        assert_eq!(pair_parameter("pairs=XBTUSD"), "");
    }
}
