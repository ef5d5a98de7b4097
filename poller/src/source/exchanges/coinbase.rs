//! Coinbase Exchange: product ticker. Each pair takes one request. Prices are strings, and the timestamp is the
//! time of the last trade.
//!
//! <https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproductticker>

use std::borrow::Cow;

use common::{
    domain::{Failure, Pair, Timestamp},
    object::Object,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::source::{
    exchange::{Exchange, Market, Request, answers},
    interface::{Answers, Sample},
    json::price_of,
    key::Plan,
    limit::Limit,
};

/// Coinbase's errors are texts without codes, so this uses the default `parse_error`, which recognizes no errors.
pub(super) struct Coinbase;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

impl Exchange for Coinbase {
    fn name(&self) -> &'static str {
        "coinbase"
    }

    fn base_url(&self, _plan: Option<Plan>) -> &'static str {
        "https://api.exchange.coinbase.com"
    }

    fn limit(&self, _plan: Option<Plan>) -> Option<Limit> {
        // "10 requests per second, up to 15 in bursts", per IP address:
        // https://docs.cdp.coinbase.com/exchange/rest-api/rate-limits
        Some(Limit::new(10, 1).with_burst(15))
    }

    /// `BTC-USD`
    fn symbol(&self, pair: Pair) -> Option<String> {
        Some(pair.to_string())
    }

    fn requests(&self, markets: &[Market]) -> Vec<Request> {
        Request::for_each(|market| format!("/products/{}/ticker", market.symbol), markets)
    }

    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        let Object(body): Object<Body> = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        let time: Timestamp = body.time.parse().map_err(|_| Failure::Invalid)?;
        // The body does not name the pair, but each request is for a single pair.
        Ok(answers(markets, |_| Ok(Sample { price: price_of(body.price)?, time: Some(time) })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
        Coinbase.read(body, &Coinbase.markets(pairs))
    }

    #[test]
    fn each_pair_takes_one_request() {
        let pairs = ["BTC-USD".parse().unwrap(), "ETH-USD".parse().unwrap()];
        let paths: Vec<String> =
            Coinbase.requests(&Coinbase.markets(&pairs)).into_iter().map(|request| request.path).collect();
        assert_eq!(paths, ["/products/BTC-USD/ticker", "/products/ETH-USD/ticker"]);
    }

    #[test]
    fn price_and_time_are_read() {
        let pair: Pair = "BTC-USD".parse().unwrap();
        let body = br#"{"trade_id":1,"price":"246.28000000","size":"0.05","bid":"637","ask":"637.11","volume":"4","time":"2015-04-08T20:49:06.506997Z"}"#;
        let sample = parse(body, &[pair]).unwrap()[&pair].unwrap();
        assert_eq!(sample.price.to_string(), "246.28000000");
        assert_eq!(sample.time.unwrap().to_string(), "2015-04-08T20:49:06.506Z");
    }

    #[test]
    fn other_bodies_are_refused() {
        let pair: Pair = "BTC-USD".parse().unwrap();
        for body in
            ["", "[]", r#"["1","2015-04-08T20:49:06Z"]"#, r#"{"message":"NotFound"}"#, r#"{"price":"1"}"#]
        {
            assert_eq!(parse(body.as_bytes(), &[pair]), Err(Failure::Malformed), "{body}");
        }
        assert_eq!(parse(br#"{"price":"1","time":"yesterday"}"#, &[pair]), Err(Failure::Invalid));
        let zero = parse(br#"{"price":"0","time":"2015-04-08T20:49:06Z"}"#, &[pair]).unwrap();
        assert_eq!(zero[&pair], Err(Failure::Invalid));
    }
}
