//! Bitstamp's list of all tickers: one request for every market it has, strings, seconds.

use std::borrow::Cow;

use common::domain::{Failure, Pair, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Answers, Sample, http::Request, price_of, text_of};

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
    let rows: Vec<Row> = serde_json::from_slice(body).map_err(|_| Failure::Malformed)?;
    let answer = |pair: &Pair| {
        let name = format!("{}/{}", pair.base(), pair.quote());
        let row = rows.iter().find(|row| row.pair == name).ok_or(Failure::Missing)?;
        Ok(Sample { price: price_of(row.last)?, time: Some(time_of(row.timestamp)?) })
    };
    Ok(pairs.iter().map(|pair| (*pair, answer(pair))).collect())
}

fn time_of(seconds: Option<&RawValue>) -> Result<Timestamp, Failure> {
    let text = text_of(seconds.ok_or(Failure::Malformed)?)?;
    let seconds: i64 = text.parse().map_err(|_| Failure::Invalid)?;
    let millis = seconds.checked_mul(1_000).ok_or(Failure::Invalid)?;
    Timestamp::from_unix_millis(millis).map_err(|_| Failure::Invalid)
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
        for body in ["", "{}", r#"{"code":"400.002"}"#, "[{}]"] {
            assert_eq!(parse(body.as_bytes(), &[pair]), Err(Failure::Malformed), "{body}");
        }
        for time in ["-1", "99999999999999999999", "1.5", "soon"] {
            let body = BODY.replace("1643640186", time);
            assert_eq!(parse(body.as_bytes(), &[pair]).unwrap()[&pair], Err(Failure::Invalid), "{time}");
        }
    }
}
