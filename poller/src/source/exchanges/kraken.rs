//! Kraken: `Ticker`. One request returns all pairs. Prices are strings, there are no timestamps, and errors come
//! with the HTTP status 200.
//!
//! <https://docs.kraken.com/api/docs/rest-api/get-ticker-information>

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
    json::{UniqueObject, if_traded, only, price_of},
    key::Plan,
    limit::Limit,
};

/// Prefixes of the errors that mean "too many requests".
const RATE_LIMIT_ERRORS: [&str; 3] = ["EAPI:Rate limit exceeded", "EGeneral:Too many requests", THROTTLED];

/// The prefix of the error that also contains the time until which requests are refused:
/// `EService: Throttled: 1779092258`.
const THROTTLED: &str = "EService: Throttled";

pub(super) struct Kraken;

#[derive(Deserialize)]
struct Body<'a> {
    /// Errors start with `E`, warnings with `W`.
    #[serde(borrow)]
    error: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    result: Option<UniqueObject<'a>>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    /// Last trade: price and volume.
    #[serde(borrow)]
    c: Vec<&'a RawValue>,
    /// Best bid: price and volumes.
    #[serde(borrow, default)]
    b: Vec<&'a RawValue>,
    /// Best ask: price and volumes.
    #[serde(borrow, default)]
    a: Vec<&'a RawValue>,
}

impl Exchange for Kraken {
    fn name(&self) -> &'static str {
        "kraken"
    }

    fn base_url(&self, _plan: Option<Plan>) -> &'static str {
        "https://api.kraken.com"
    }

    fn limit(&self, _plan: Option<Plan>) -> Option<Limit> {
        // The documentation says only that public calls are limited per IP address. Users report about one a
        // second.
        Some(Limit::new(1, 1).undocumented())
    }

    /// `XBTUSD`. Kraken calls this the pair's alternative name.
    fn symbol(&self, pair: Pair) -> Option<String> {
        Some(format!("{}{}", asset(pair.base()), asset(pair.quote())))
    }

    fn requests(&self, markets: &[Market]) -> Vec<Request> {
        let symbols: Vec<&str> = markets.iter().map(|market| market.symbol.as_str()).collect();
        Request::for_all(format!("/0/public/Ticker?pair={}", symbols.join(",")), markets)
    }

    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        let Object(body): Object<Body> = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        let read = |market: &Market| {
            let result = body.result.as_ref().ok_or(Failure::Malformed)?;
            let ticker = only(names_in_response(market.pair).iter().filter_map(|name| result.get(name)))?;
            let Object(ticker): Object<Ticker> =
                serde_json::from_str(ticker.get()).map_err(|_| Failure::Malformed)?;
            let side = |list: &[&RawValue]| price_of(list.first().copied()).ok();
            let last = if_traded(ticker.c.first().copied(), price_of)?;
            Sample::quoted(last, side(&ticker.b), side(&ticker.a))
        };
        Ok(answers(markets, read))
    }

    /// `{"error":["EAPI:Rate limit exceeded"]}`
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let Object(body): Object<Body> = serde_json::from_str(body).ok()?;
        let mut errors = body.error.iter().filter(|error| !error.starts_with('W')).peekable();
        errors.peek()?;
        let is_rate_limit =
            errors.any(|error| RATE_LIMIT_ERRORS.iter().any(|start| error.starts_with(start)));
        let until = body.error.iter().filter_map(|error| error.strip_prefix(THROTTLED)?.strip_prefix(':'));
        let until = until.filter_map(|seconds| seconds.trim().parse().ok()).max();
        Some(ReportedError { until, ..ReportedError::new(is_rate_limit) })
    }
}

/// Kraken has its own codes for some assets.
fn asset(code: &str) -> &str {
    match code {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    }
}

/// The names under which a response may list a pair. In the names of old pairs, an X precedes each coin and a Z
/// precedes each currency.
fn names_in_response(pair: Pair) -> [String; 3] {
    let (base, quote) = (asset(pair.base()), asset(pair.quote()));
    [format!("X{base}Z{quote}"), format!("X{base}X{quote}"), format!("{base}{quote}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> Vec<Pair> {
        vec!["BTC-USD".parse().unwrap(), "ETH-USD".parse().unwrap()]
    }

    fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
        Kraken.read(body, &Kraken.markets(pairs))
    }

    #[test]
    fn one_request_asks_for_all() {
        let requests = Kraken.requests(&Kraken.markets(&pairs()));
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].path, "/0/public/Ticker?pair=XBTUSD,ETHUSD");
    }

    #[test]
    fn tickers_are_found_under_canonical_and_plain_names() {
        let body = br#"{"error":[],"result":{"XXBTZUSD":{"a":["1","1","1"],"c":["77726.10000","0.00001393"]},"ETHUSD":{"c":["2112.40","1"]}}}"#;
        let answers = parse(body, &pairs()).unwrap();
        let price = |pair: &str| answers[&pair.parse().unwrap()].unwrap().reported.last.unwrap().to_string();
        assert_eq!(price("BTC-USD"), "77726.10000");
        assert_eq!(price("ETH-USD"), "2112.40");
    }

    #[test]
    fn the_best_bid_and_ask_are_read_and_an_empty_side_is_left_out() {
        for (sides, expected) in [
            (r#""a":["77726.2","1"],"b":["77725.9","2"],"#, "last 77726.1, bid 77725.9, ask 77726.2"),
            (r#""a":["77726.2","1"],"#, "last 77726.1, ask 77726.2"),
            (r#""a":["0.00000","0"],"b":["77725.9","2"],"#, "last 77726.1, bid 77725.9"),
            (r#""a":[null],"b":[],"#, "last 77726.1"),
            (r#""a":["cheap"],"b":[[]],"#, "last 77726.1"),
            ("", "last 77726.1"),
        ] {
            let body = format!(r#"{{"error":[],"result":{{"XXBTZUSD":{{{sides}"c":["77726.1","1"]}}}}}}"#);
            let sample = parse(body.as_bytes(), &pairs()[..1]).unwrap()[&pairs()[0]].unwrap();
            assert_eq!(sample.reported.to_string(), expected, "{sides}");
            assert_eq!((sample.trade_time, sample.book_time), (None, None));
        }
    }

    #[test]
    fn a_book_without_a_trade_is_a_quote() {
        let read = |sides: &str| {
            let body = format!(r#"{{"error":[],"result":{{"XXBTZUSD":{{{sides},"c":["0.00000","0"]}}}}}}"#);
            parse(body.as_bytes(), &pairs()[..1]).unwrap()[&pairs()[0]]
        };
        let sample = read(r#""a":["2"],"b":["1"]"#).unwrap();
        assert_eq!(sample.reported.to_string(), "bid 1, ask 2");
        assert_eq!(read(r#""a":["2"],"b":["0"]"#), Err(Failure::Invalid));
    }

    #[test]
    fn a_similar_pair_is_not_mistaken_for_the_requested_one() {
        let body = br#"{"error":[],"result":{"XBTUSDT":{"c":["1.0","1"]},"XXBTZEUR":{"c":["2.0","1"]}}}"#;
        let answers = parse(body, &pairs()).unwrap();
        assert!(answers.values().all(|answer| *answer == Err(Failure::Missing)));
    }

    #[test]
    fn errors_inside_success_are_failures_and_warnings_are_not() {
        for (error, expected) in [
            ("EQuery:Unknown asset pair", Failure::Refused),
            ("EService:Unavailable", Failure::Refused),
            ("EAPI:Rate limit exceeded", Failure::RateLimited),
            ("EGeneral:Too many requests", Failure::RateLimited),
            ("EService: Throttled: 1779092258", Failure::RateLimited),
        ] {
            let body = format!(r#"{{"error":["WGeneral:Danger","{error}"]}}"#);
            assert_eq!(parse(body.as_bytes(), &pairs()), Err(expected), "{error}");
            let until = error.contains("Throttled").then_some(1_779_092_258);
            assert_eq!(Kraken.parse_error(&body).unwrap().until, until);
        }
        let warned = br#"{"error":["WGeneral:Danger"],"result":{"XXBTZUSD":{"c":["1.5","1"]}}}"#;
        assert!(parse(warned, &pairs()[..1]).unwrap()[&pairs()[0]].is_ok());
    }

    #[test]
    fn bodies_without_a_valid_price_are_refused() {
        for price in [r#""0""#, r#""-1""#, r#""NaN""#, r#""1e5""#, "null", "[]", r#""""#] {
            let body = format!(r#"{{"error":[],"result":{{"XXBTZUSD":{{"c":[{price}]}}}}}}"#);
            assert_eq!(
                parse(body.as_bytes(), &pairs()[..1]).unwrap()[&pairs()[0]],
                Err(Failure::Invalid),
                "{price}"
            );
        }
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"[[],{"XXBTZUSD":{"c":["1"]}}]"#,
            r#"{"error":[],"result":{"XXBTZUSD":1,"XXBTZUSD":1}}"#,
        ] {
            assert_eq!(parse(body.as_bytes(), &pairs()), Err(Failure::Malformed), "{body}");
        }
        // The last result has the form of Kraken's response to a request for trades.
        for result in [
            r#"{"XXBTZUSD":{}}"#,
            r#"{"XXBTZUSD":{"c":["1"]},"XBTUSD":{"c":["2"]}}"#,
            r#"{"XXBTZUSD":[["1023.82219","0.00435995",1385579841.7774,"s",""]],"last":"1"}"#,
        ] {
            let body = format!(r#"{{"error":[],"result":{result}}}"#);
            assert_eq!(
                parse(body.as_bytes(), &pairs()[..1]).unwrap()[&pairs()[0]],
                Err(Failure::Malformed),
                "{result}"
            );
        }
    }
}
