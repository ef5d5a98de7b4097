//! Gemini's price feed: one request for every market it has, strings, no time.

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

/// The price stays raw until its market is one that was asked for.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    pair: Cow<'a, str>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
}

pub(super) fn requests(pairs: &[Pair]) -> Vec<Request> {
    vec![Request { path: "/v1/pricefeed".to_owned(), pairs: pairs.to_vec() }]
}

pub(super) fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
    let rows: Vec<Object<Row>> =
        serde_json::from_slice(body).map_err(|_| complaint(body).unwrap_or(Failure::Malformed))?;
    let answer = |pair: &Pair| {
        let name = format!("{}{}", pair.base(), pair.quote());
        let row = only(rows.iter().map(|Object(row)| row).filter(|row| row.pair == name))?;
        Ok(Sample { price: price_of(row.price)?, time: None })
    };
    Ok(each(pairs, answer))
}

/// `{"result":"error","reason":"InvalidSymbol","message":"…"}`
pub(super) fn complaint(body: &[u8]) -> Option<Failure> {
    let fields: Unique = serde_json::from_slice(body).ok()?;
    if fields.text("result")? != "error" {
        return None;
    }
    let reason = fields.text("reason").unwrap_or_default();
    Some(if reason.starts_with("RateLimit") { Failure::RateLimited } else { Failure::Refused })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"[{"pair":"BTCGBP","price":"1","percentChange24h":"0"},{"pair":"BTCUSD","price":"97012.30","percentChange24h":"-0.0104"},{"pair":"ETHUSD","price":null}]"#;

    #[test]
    fn the_asked_market_is_read() {
        let pairs = ["BTC-USD", "ETH-USD", "BTC-USDT"].map(|pair| pair.parse().unwrap());
        let answers = parse(BODY.as_bytes(), &pairs).unwrap();
        let sample = answers[&pairs[0]].unwrap();
        assert_eq!((sample.price.to_string().as_str(), sample.time), ("97012.30", None));
        assert_eq!(answers[&pairs[1]], Err(Failure::Malformed));
        assert_eq!(answers[&pairs[2]], Err(Failure::Missing));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
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
