//! Gemini: price feed. One request returns every market of the exchange. Prices are strings, and there are no
//! timestamps.
//!
//! <https://docs.gemini.com/rest-api/#price-feed>

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

pub(super) struct Gemini;

/// The price stays raw until the row is known to be of a requested market, so that an odd row of another market
/// does no harm.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    pair: Cow<'a, str>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
}

impl Exchange for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn base_url(&self, _plan: Option<Plan>) -> &'static str {
        "https://api.gemini.com"
    }

    fn limit(&self, _plan: Option<Plan>) -> Option<Limit> {
        // "120 requests per minute", and Gemini queues five more: https://docs.gemini.com/rate-limit
        Some(Limit::new(120, 60).with_burst(5))
    }

    /// `BTCUSD`
    fn symbol(&self, pair: Pair) -> Option<String> {
        Some(format!("{}{}", pair.base(), pair.quote()))
    }

    fn requests(&self, markets: &[Market]) -> Vec<Request> {
        Request::for_all("/v1/pricefeed".to_owned(), markets)
    }

    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        let rows: Vec<Object<Row>> = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        let read = |market: &Market| {
            let row = only(rows.iter().map(|Object(row)| row).filter(|row| row.pair == market.symbol))?;
            Ok(Sample::traded(price_of(row.price)?, None))
        };
        Ok(answers(markets, read))
    }

    /// `{"result":"error","reason":"InvalidSymbol","message":"…"}`
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let members: UniqueObject = serde_json::from_str(body).ok()?;
        let is_error = members.text("result")? == "error";
        let reason = members.text("reason").unwrap_or_default();
        is_error.then(|| ReportedError::new(reason.starts_with("RateLimit")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
        Gemini.read(body, &Gemini.markets(pairs))
    }

    const BODY: &str = r#"[{"pair":"BTCGBP","price":"1","percentChange24h":"0"},{"pair":"BTCUSD","price":"97012.30","percentChange24h":"-0.0104"},{"pair":"ETHUSD","price":null}]"#;

    #[test]
    fn the_requested_market_is_read() {
        let pairs = ["BTC-USD", "ETH-USD", "BTC-USDT"].map(|pair| pair.parse().unwrap());
        let answers = parse(BODY.as_bytes(), &pairs).unwrap();
        let sample = answers[&pairs[0]].unwrap();
        assert_eq!(
            (sample.reported.last.unwrap().to_string().as_str(), sample.trade_time),
            ("97012.30", None)
        );
        assert_eq!(answers[&pairs[1]], Err(Failure::Malformed));
        assert_eq!(answers[&pairs[2]], Err(Failure::Missing));
    }

    #[test]
    fn other_bodies_and_invalid_prices_are_refused() {
        let pair: Pair = "BTC-USD".parse().unwrap();
        for (body, expected) in [
            ("", Failure::Malformed),
            ("{}", Failure::Malformed),
            ("[{}]", Failure::Malformed),
            (r#"[["BTCUSD","97012.30"]]"#, Failure::Malformed),
            (r#"{"bid":"977.59","last":"977.65"}"#, Failure::Malformed),
            (r#"{"result":"error","reason":"InvalidSymbol","message":""}"#, Failure::Refused),
            (r#"{"result":"error","reason":"RateLimit","message":""}"#, Failure::RateLimited),
        ] {
            assert_eq!(parse(body.as_bytes(), &[pair]), Err(expected), "{body}");
        }
        let twice = r#"[{"pair":"BTCUSD","price":"1"},{"pair":"BTCUSD","price":"2"}]"#;
        assert_eq!(parse(twice.as_bytes(), &[pair]).unwrap()[&pair], Err(Failure::Malformed));
        for price in [r#""0""#, r#""-1""#, r#""NaN""#, "1e400", "[]"] {
            let body = BODY.replace(r#""97012.30""#, price);
            assert_eq!(parse(body.as_bytes(), &[pair]).unwrap()[&pair], Err(Failure::Invalid), "{price}");
        }
    }
}
