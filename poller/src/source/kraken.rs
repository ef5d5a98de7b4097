//! Kraken's `Ticker`: one request for all pairs, strings, no time, errors inside HTTP 200.

use std::{borrow::Cow, collections::BTreeMap};

use common::domain::{Failure, Pair};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Answers, Sample, http::Request, price_of};

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    error: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    result: BTreeMap<Cow<'a, str>, Ticker<'a>>,
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
    let body: Body = serde_json::from_slice(body).map_err(|_| Failure::Malformed)?;
    // `E…` is an error, `W…` a mere warning.
    if body.error.iter().any(|error| !error.starts_with('W')) {
        return Err(Failure::Refused);
    }
    let answer = |pair: &Pair| {
        let names = canonical_names(pair);
        let ticker = names.iter().find_map(|name| body.result.get(name.as_str())).ok_or(Failure::Missing)?;
        Ok(Sample { price: price_of(ticker.c.first().copied())?, time: None })
    };
    Ok(pairs.iter().map(|pair| (*pair, answer(pair))).collect())
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
        for error in ["EQuery:Unknown asset pair", "EAPI:Rate limit exceeded", "EService:Unavailable"] {
            let body = format!(r#"{{"error":["{error}"]}}"#);
            assert_eq!(parse(body.as_bytes(), &pairs()), Err(Failure::Refused));
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
        for body in ["", "<html>", "[]", "{}", r#"{"error":[],"result":{"XXBTZUSD":{}}}"#] {
            assert_eq!(parse(body.as_bytes(), &pairs()), Err(Failure::Malformed), "{body}");
        }
    }
}
