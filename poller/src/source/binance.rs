//! Binance's spot prices from its public-data host: one request for all pairs, strings, no time.

use std::borrow::Cow;

use common::{
    domain::{Failure, Pair},
    object::Object,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Answers, Sample,
    http::Request,
    number::{each, only, price_of},
    unique::Unique,
};

/// Money of states. Binance has no USD market, and what it has in other money differs by place and comes
/// and goes; one market that it does not know makes it refuse the whole list.
const FIAT: [&str; 20] = [
    "USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "NZD", "SEK", "NOK", "DKK", "PLN", "CZK", "TRY", "BRL",
    "ARS", "MXN", "ZAR", "UAH", "KRW",
];

/// The code of "too many requests".
const TOO_MANY_REQUESTS: &str = "-1003";

/// The price stays raw until its market is one that was asked for.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
}

/// Whether Binance is asked for a pair: USDT and coins, no money of states. USDT is not USD.
pub(super) fn serves(pair: Pair) -> bool {
    !FIAT.contains(&pair.quote()) && !FIAT.contains(&pair.base())
}

pub(super) fn requests(pairs: &[Pair]) -> Vec<Request> {
    // `["BTCUSDT","ETHUSDT"]` in the encoding of URLs; symbols are letters and digits.
    let symbols: Vec<String> = pairs.iter().map(|pair| format!("%22{}%22", symbol(pair))).collect();
    let path = format!("/api/v3/ticker/price?symbols=%5B{}%5D", symbols.join(","));
    vec![Request { path, pairs: pairs.to_vec() }]
}

pub(super) fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
    let rows: Vec<Object<Row>> =
        serde_json::from_slice(body).map_err(|_| complaint(body).unwrap_or(Failure::Malformed))?;
    let answer = |pair: &Pair| {
        let symbol = symbol(pair);
        let row = only(rows.iter().map(|Object(row)| row).filter(|row| row.symbol == symbol))?;
        Ok(Sample { price: price_of(row.price)?, time: None })
    };
    Ok(each(pairs, answer))
}

/// `{"code":-1121,"msg":"Invalid symbol."}`
pub(super) fn complaint(body: &[u8]) -> Option<Failure> {
    let fields: Unique = serde_json::from_slice(body).ok()?;
    let code = fields.get("code")?.get();
    Some(if code == TOO_MANY_REQUESTS { Failure::RateLimited } else { Failure::Refused })
}

fn symbol(pair: &Pair) -> String {
    format!("{}{}", pair.base(), pair.quote())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str =
        r#"[{"symbol":"BTCUSDT","price":"77726.10000000"},{"symbol":"ETHUSDT","price":"2112.40000000"}]"#;

    fn pairs() -> [Pair; 3] {
        ["BTC-USDT", "ETH-USDT", "ETH-BTC"].map(|pair| pair.parse().unwrap())
    }

    #[test]
    fn tether_is_not_the_dollar() {
        assert!(pairs().into_iter().all(serves));
        for pair in ["BTC-USD", "BTC-EUR", "EUR-USDT"] {
            assert!(!serves(pair.parse().unwrap()), "{pair}");
        }
    }

    #[test]
    fn one_request_asks_for_all_without_a_space() {
        let requests = requests(&pairs()[..2]);
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].path, "/api/v3/ticker/price?symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D");
    }

    #[test]
    fn the_asked_market_is_read() {
        let answers = parse(BODY.as_bytes(), &pairs()).unwrap();
        let price = |at: usize| answers[&pairs()[at]].map(|sample| sample.price.to_string());
        assert_eq!(price(0).as_deref(), Ok("77726.10000000"));
        assert_eq!(price(1).as_deref(), Ok("2112.40000000"));
        assert_eq!(price(2), Err(Failure::Missing));
        let nothing = parse(b"[]", &pairs()).unwrap();
        assert!(nothing.values().all(|answer| *answer == Err(Failure::Missing)));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for (body, expected) in [
            ("", Failure::Malformed),
            ("{}", Failure::Malformed),
            ("[{}]", Failure::Malformed),
            (r#"[["BTCUSDT","77726.1"]]"#, Failure::Malformed),
            (r#"{"symbol":"BTCUSDT","price":"1"}"#, Failure::Malformed),
            (r#"{"code":-1121,"msg":"Invalid symbol."}"#, Failure::Refused),
            (r#"{"code":-1003,"msg":"Too many requests."}"#, Failure::RateLimited),
            (r#"{"code":0,"msg":"Service unavailable from a restricted location"}"#, Failure::Refused),
        ] {
            assert_eq!(parse(body.as_bytes(), &pairs()), Err(expected), "{body}");
        }
        let btc = pairs()[0];
        for price in [r#""0""#, r#""-1""#, r#""$46707.03000000""#, r#""1e5""#, "1e400", "[]"] {
            let body = BODY.replace(r#""77726.10000000""#, price);
            assert_eq!(parse(body.as_bytes(), &[btc]).unwrap()[&btc], Err(Failure::Invalid), "{price}");
        }
    }
}
