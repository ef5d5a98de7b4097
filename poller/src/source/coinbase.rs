//! Coinbase Exchange's product ticker: one request a pair, strings, the time of the last trade.

use std::borrow::Cow;

use common::{
    domain::{Failure, Pair, Timestamp},
    object::Object,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Answers, Sample, http::Request, number::price_of};

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

pub(super) fn requests(pairs: &[Pair]) -> Vec<Request> {
    let request = |pair: &Pair| Request { path: format!("/products/{pair}/ticker"), pairs: vec![*pair] };
    pairs.iter().map(request).collect()
}

pub(super) fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
    let Object(body): Object<Body> = serde_json::from_slice(body).map_err(|_| Failure::Malformed)?;
    let price = price_of(body.price);
    let time: Timestamp = body.time.parse().map_err(|_| Failure::Invalid)?;
    let sample = price.map(|price| Sample { price, time: Some(time) });
    // The body does not name its pair; the request was for one.
    Ok(pairs.iter().map(|pair| (*pair, sample)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_is_a_request() {
        let pairs = ["BTC-USD".parse().unwrap(), "ETH-USD".parse().unwrap()];
        let paths: Vec<String> = requests(&pairs).into_iter().map(|request| request.path).collect();
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
    fn what_is_no_answer_is_refused() {
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
