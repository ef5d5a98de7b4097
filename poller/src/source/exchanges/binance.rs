//! Binance: spot prices from its public-data host. One request returns all pairs. Prices are strings, and there
//! are no timestamps.
//!
//! <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints>

use std::borrow::Cow;

use common::{
    domain::{Failure, Pair},
    object::Object,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::source::{
    exchange::{Exchange, Market, ReportedError, Request, answers},
    interface::{Answers, Sample},
    json::{UniqueObject, only, price_of},
    key::Plan,
    limit::Limit,
};

/// Fiat currencies, for which no request is made. Binance has no USD market. Its markets in other fiat
/// currencies differ by region and come and go, and Binance refuses a whole request because of a single unknown
/// symbol.
const FIAT: [&str; 20] = [
    "USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "NZD", "SEK", "NOK", "DKK", "PLN", "CZK", "TRY", "BRL",
    "ARS", "MXN", "ZAR", "UAH", "KRW",
];

/// The error code of "too many requests".
const TOO_MANY_REQUESTS: &str = "-1003";

pub(super) struct Binance;

/// The price stays raw until the row is known to be of a requested market, so that an odd row of another market
/// does no harm.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
}

impl Exchange for Binance {
    fn name(&self) -> &'static str {
        "binance"
    }

    fn base_url(&self, _plan: Option<Plan>) -> &'static str {
        "https://data-api.binance.vision"
    }

    fn limit(&self, _plan: Option<Plan>) -> Option<Limit> {
        // Binance allows a weight of 6,000 a minute, and a request for a list of symbols weighs 4:
        // https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
        Some(Limit::new(1_500, 60))
    }

    /// `BTCUSDT`. None if the pair contains a fiat currency. USDT is not used in place of USD.
    fn symbol(&self, pair: Pair) -> Option<String> {
        let is_fiat = FIAT.contains(&pair.quote()) || FIAT.contains(&pair.base());
        (!is_fiat).then(|| format!("{}{}", pair.base(), pair.quote()))
    }

    fn why_not_served(&self, pair: Pair) -> String {
        format!(
            "binance is not asked for {pair}, because one of the assets is a fiat currency, and USDT is not used in \
             place of USD; use a pair such as BTC-USDT, or remove binance from feed.sources"
        )
    }

    fn requests(&self, markets: &[Market]) -> Vec<Request> {
        // `["BTCUSDT","ETHUSDT"]`, percent-encoded. Symbols need no encoding: they consist of letters and digits.
        let symbols: Vec<String> = markets.iter().map(|market| format!("%22{}%22", market.symbol)).collect();
        Request::for_all(format!("/api/v3/ticker/price?symbols=%5B{}%5D", symbols.join(",")), markets)
    }

    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        let rows: Vec<Object<Row>> = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        let read = |market: &Market| {
            let row = only(rows.iter().map(|Object(row)| row).filter(|row| row.symbol == market.symbol))?;
            Ok(Sample::traded(price_of(row.price)?, None))
        };
        Ok(answers(markets, read))
    }

    /// `{"code":-1121,"msg":"Invalid symbol."}`
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let members: UniqueObject = serde_json::from_str(body).ok()?;
        Some(ReportedError::new(members.get("code")?.get() == TOO_MANY_REQUESTS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
        Binance.read(body, &Binance.markets(pairs))
    }

    const BODY: &str =
        r#"[{"symbol":"BTCUSDT","price":"77726.10000000"},{"symbol":"ETHUSDT","price":"2112.40000000"}]"#;

    fn pairs() -> [Pair; 3] {
        ["BTC-USDT", "ETH-USDT", "ETH-BTC"].map(|pair| pair.parse().unwrap())
    }

    #[test]
    fn tether_is_not_the_dollar() {
        assert!(pairs().into_iter().all(|pair| Binance.symbol(pair).is_some()));
        for pair in ["BTC-USD", "BTC-EUR", "EUR-USDT"] {
            assert!(Binance.symbol(pair.parse().unwrap()).is_none(), "{pair}");
        }
    }

    #[test]
    fn one_request_without_spaces_asks_for_all_pairs() {
        let requests = Binance.requests(&Binance.markets(&pairs()[..2]));
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].path, "/api/v3/ticker/price?symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D");
    }

    #[test]
    fn the_requested_market_is_read() {
        let answers = parse(BODY.as_bytes(), &pairs()).unwrap();
        let price = |at: usize| answers[&pairs()[at]].map(|sample| sample.reported.last.unwrap().to_string());
        assert_eq!(price(0).as_deref(), Ok("77726.10000000"));
        assert_eq!(price(1).as_deref(), Ok("2112.40000000"));
        assert_eq!(price(2), Err(Failure::Missing));
        let nothing = parse(b"[]", &pairs()).unwrap();
        assert!(nothing.values().all(|answer| *answer == Err(Failure::Missing)));
    }

    #[test]
    fn other_bodies_and_invalid_prices_are_refused() {
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
