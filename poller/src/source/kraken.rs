//! Kraken's `Ticker`: one request for all pairs, strings, no time, errors inside HTTP 200.

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

/// How errors begin that mean "asked too often". The last comes with the time until when.
const TOO_OFTEN: [&str; 3] = ["EAPI:Rate limit exceeded", "EGeneral:Too many requests", THROTTLED];

const THROTTLED: &str = "EService: Throttled";

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    error: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    result: Option<Unique<'a>>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    /// Last trade: price and volume.
    #[serde(borrow)]
    c: Vec<&'a RawValue>,
}

pub(super) fn requests(pairs: &[Pair]) -> Vec<Request> {
    let names: Vec<String> = pairs.iter().map(alternative_name).collect();
    vec![Request { path: format!("/0/public/Ticker?pair={}", names.join(",")), pairs: pairs.to_vec() }]
}

pub(super) fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
    let Object(body): Object<Body> = serde_json::from_slice(body).map_err(|_| Failure::Malformed)?;
    if let Some(complaint) = body.complaint() {
        return Err(complaint);
    }
    let answer = |pair: &Pair| {
        let result = body.result.as_ref().ok_or(Failure::Malformed)?;
        let ticker = only(canonical_names(pair).iter().filter_map(|name| result.get(name)))?;
        let Object(ticker): Object<Ticker> =
            serde_json::from_str(ticker.get()).map_err(|_| Failure::Malformed)?;
        Ok(Sample { price: price_of(ticker.c.first().copied())?, time: None })
    };
    Ok(each(pairs, answer))
}

/// `{"error":["EAPI:Rate limit exceeded"]}`
pub(super) fn complaint(body: &[u8]) -> Option<Failure> {
    serde_json::from_slice::<Object<Body>>(body).ok()?.0.complaint()
}

/// Until when it will not be asked, in seconds since 1970, where it says so: `EService: Throttled: 1779092258`.
pub(super) fn throttled_until(body: &[u8]) -> Option<i64> {
    let Object(body): Object<Body> = serde_json::from_slice(body).ok()?;
    let until = body.error.iter().filter_map(|error| error.strip_prefix(THROTTLED)?.strip_prefix(':'));
    until.filter_map(|seconds| seconds.trim().parse().ok()).max()
}

impl Body<'_> {
    /// `E…` is an error, `W…` a mere warning.
    fn complaint(&self) -> Option<Failure> {
        let mut errors = self.error.iter().filter(|error| !error.starts_with('W')).peekable();
        errors.peek()?;
        let too_often = errors.any(|error| TOO_OFTEN.iter().any(|start| error.starts_with(start)));
        Some(if too_often { Failure::RateLimited } else { Failure::Refused })
    }
}

/// Kraken's own codes for the assets that it calls otherwise than the rest of the world.
fn asset(code: &str) -> &str {
    match code {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    }
}

fn alternative_name(pair: &Pair) -> String {
    format!("{}{}", asset(pair.base()), asset(pair.quote()))
}

/// The names under which the answer may list a pair: old pairs mark coins with X and currencies with Z.
fn canonical_names(pair: &Pair) -> [String; 3] {
    let (base, quote) = (asset(pair.base()), asset(pair.quote()));
    [format!("X{base}Z{quote}"), format!("X{base}X{quote}"), format!("{base}{quote}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> Vec<Pair> {
        vec!["BTC-USD".parse().unwrap(), "ETH-USD".parse().unwrap()]
    }

    #[test]
    fn one_request_asks_for_all() {
        let requests = requests(&pairs());
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].path, "/0/public/Ticker?pair=XBTUSD,ETHUSD");
    }

    #[test]
    fn answers_come_under_canonical_or_plain_names() {
        let body = br#"{"error":[],"result":{"XXBTZUSD":{"a":["1","1","1"],"c":["77726.10000","0.00001393"]},"ETHUSD":{"c":["2112.40","1"]}}}"#;
        let answers = parse(body, &pairs()).unwrap();
        let price = |pair: &str| answers[&pair.parse().unwrap()].unwrap().price.to_string();
        assert_eq!(price("BTC-USD"), "77726.10000");
        assert_eq!(price("ETH-USD"), "2112.40");
    }

    #[test]
    fn a_pair_like_the_one_asked_for_is_another_pair() {
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
            assert_eq!(throttled_until(body.as_bytes()), until);
        }
        let warned = br#"{"error":["WGeneral:Danger"],"result":{"XXBTZUSD":{"c":["1.5","1"]}}}"#;
        assert!(parse(warned, &pairs()[..1]).unwrap()[&pairs()[0]].is_ok());
    }

    #[test]
    fn what_is_no_price_is_refused() {
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
        // The last is how Kraken answers when it is asked for trades.
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
