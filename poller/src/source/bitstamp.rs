//! Bitstamp's list of all tickers: one request for every market it has, strings, seconds.

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
    number::{each, only, price_of, seconds_of},
    unique::Unique,
};

/// The code of "too many requests".
const TOO_MANY_REQUESTS: &str = "400.002";

/// Fields stay raw until their market is one that was asked for: a strange row about another market is
/// none of our business.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    pair: Cow<'a, str>,
    #[serde(borrow)]
    last: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
}

pub(super) fn requests(pairs: &[Pair]) -> Vec<Request> {
    vec![Request { path: "/api/v2/ticker/".to_owned(), pairs: pairs.to_vec() }]
}

pub(super) fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
    let rows: Vec<Object<Row>> =
        serde_json::from_slice(body).map_err(|_| complaint(body).unwrap_or(Failure::Malformed))?;
    let answer = |pair: &Pair| {
        let name = format!("{}/{}", pair.base(), pair.quote());
        let row = only(rows.iter().map(|Object(row)| row).filter(|row| row.pair == name))?;
        Ok(Sample { price: price_of(row.last)?, time: Some(seconds_of(row.timestamp)?) })
    };
    Ok(each(pairs, answer))
}

/// `{"status":"error","reason":"…"}` or `{"response_code":"400.002","response_explanation":"…"}`, under
/// `code` in older answers.
pub(super) fn complaint(body: &[u8]) -> Option<Failure> {
    let fields: Unique = serde_json::from_slice(body).ok()?;
    let code = ["response_code", "code"].into_iter().find_map(|name| fields.text(name));
    if code.as_deref() == Some(TOO_MANY_REQUESTS) {
        return Some(Failure::RateLimited);
    }
    let error = fields.text("status").is_some_and(|status| status == "error");
    (error || code.is_some()).then_some(Failure::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"[{"pair":"ETH/USD","last":null,"timestamp":[]},{"timestamp":"1643640186","open":"2211.00","last":"2211.00","pair":"BTC/USD"}]"#;

    #[test]
    fn the_asked_market_is_read_and_strange_rows_are_not() {
        let (btc, eth, sol) =
            ("BTC-USD".parse().unwrap(), "ETH-USD".parse().unwrap(), "SOL-USD".parse().unwrap());
        let answers = parse(BODY.as_bytes(), &[btc, eth, sol]).unwrap();
        let sample = answers[&btc].unwrap();
        assert_eq!(sample.price.to_string(), "2211.00");
        assert_eq!(sample.time.unwrap().to_string(), "2022-01-31T14:43:06.000Z");
        assert_eq!(answers[&eth], Err(Failure::Malformed));
        assert_eq!(answers[&sol], Err(Failure::Missing));
    }

    #[test]
    fn what_is_no_list_or_time_is_refused() {
        let pair: Pair = "BTC-USD".parse().unwrap();
        for (body, expected) in [
            ("", Failure::Malformed),
            ("{}", Failure::Malformed),
            ("[{}]", Failure::Malformed),
            (r#"[["BTC/USD","2211.00","1643640186"]]"#, Failure::Malformed),
            (r#"{"timestamp":"1643640186","last":"2211.00"}"#, Failure::Malformed),
            (r#"{"response_code":"400.002","response_explanation":""}"#, Failure::RateLimited),
            (r#"{"code":"400.002"}"#, Failure::RateLimited),
            (r#"{"status":"error","reason":"Unknown"}"#, Failure::Refused),
        ] {
            assert_eq!(parse(body.as_bytes(), &[pair]), Err(expected), "{body}");
        }
        let row = BODY.split_once(",{").map(|(_, row)| row.trim_end_matches(']')).unwrap();
        let twice = format!("[{{{row},{{{row}]");
        assert_eq!(parse(twice.as_bytes(), &[pair]).unwrap()[&pair], Err(Failure::Malformed));
        for time in ["-1", "99999999999999999999", "1.5", "soon"] {
            let body = BODY.replace("1643640186", time);
            assert_eq!(parse(body.as_bytes(), &[pair]).unwrap()[&pair], Err(Failure::Invalid), "{time}");
        }
    }
}
