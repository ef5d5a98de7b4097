//! Bitstamp: list of all tickers. One request returns every market of the exchange. Prices are strings, and times
//! are in seconds.
//!
//! <https://www.bitstamp.net/api/#tag/Tickers>

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
    json::{UniqueObject, if_traded, only, price_of, seconds_of},
    key::Plan,
    limit::Limit,
};

/// The error code of "too many requests".
const TOO_MANY_REQUESTS: &str = "400.002";

pub(super) struct Bitstamp;

/// Values stay raw until the row is known to be of a requested market, so that an odd row of another market
/// does no harm.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    pair: Cow<'a, str>,
    #[serde(borrow)]
    last: Option<&'a RawValue>,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
}

impl Exchange for Bitstamp {
    fn name(&self) -> &'static str {
        "bitstamp"
    }

    fn base_url(&self, _plan: Option<Plan>) -> &'static str {
        "https://www.bitstamp.net"
    }

    fn limit(&self, _plan: Option<Plan>) -> Option<Limit> {
        // "400 requests per second, 10,000 per 10 minutes": https://www.bitstamp.net/api/#section/Rate-limits
        Some(Limit::new(10_000, 600).with_burst(400))
    }

    /// `BTC/USD`
    fn symbol(&self, pair: Pair) -> Option<String> {
        Some(format!("{}/{}", pair.base(), pair.quote()))
    }

    fn requests(&self, markets: &[Market]) -> Vec<Request> {
        Request::for_all("/api/v2/ticker/".to_owned(), markets)
    }

    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        let rows: Vec<Object<Row>> = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        let read = |market: &Market| {
            let row = only(rows.iter().map(|Object(row)| row).filter(|row| row.pair == market.symbol))?;
            let side = |value| price_of(value).ok();
            let sample = Sample::quoted(if_traded(row.last, price_of)?, side(row.bid), side(row.ask))?;
            // The time of the response, so it is the time of both.
            let time = Some(seconds_of(row.timestamp)?);
            Ok(Sample { trade_time: time, book_time: time, ..sample })
        };
        Ok(answers(markets, read))
    }

    /// `{"status":"error","reason":"…"}` or `{"response_code":"400.002","response_explanation":"…"}`. Older
    /// responses have `code` instead of `response_code`.
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let members: UniqueObject = serde_json::from_str(body).ok()?;
        let code = ["response_code", "code"].into_iter().find_map(|name| members.text(name));
        let is_error = members.text("status").is_some_and(|status| status == "error") || code.is_some();
        is_error.then(|| ReportedError::new(code.as_deref() == Some(TOO_MANY_REQUESTS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
        Bitstamp.read(body, &Bitstamp.markets(pairs))
    }

    const BODY: &str = r#"[{"pair":"ETH/USD","last":null,"timestamp":[]},{"timestamp":"1643640186","open":"2211.00","last":"2211.00","pair":"BTC/USD"}]"#;

    #[test]
    fn the_requested_market_is_read_and_odd_rows_of_others_are_ignored() {
        let (btc, eth, sol) =
            ("BTC-USD".parse().unwrap(), "ETH-USD".parse().unwrap(), "SOL-USD".parse().unwrap());
        let answers = parse(BODY.as_bytes(), &[btc, eth, sol]).unwrap();
        let sample = answers[&btc].unwrap();
        assert_eq!(sample.reported.last.unwrap().to_string(), "2211.00");
        assert_eq!(sample.trade_time.unwrap().to_string(), "2022-01-31T14:43:06.000Z");
        assert_eq!(answers[&eth], Err(Failure::Malformed));
        assert_eq!(answers[&sol], Err(Failure::Missing));
    }

    #[test]
    fn the_best_bid_and_ask_are_read_and_an_empty_side_is_left_out() {
        let pair: Pair = "BTC-USD".parse().unwrap();
        let read = |last: &str, sides: &str| {
            let body = format!(r#"[{{"pair":"BTC/USD","last":{last},{sides}"timestamp":"1643640186"}}]"#);
            parse(body.as_bytes(), &[pair]).unwrap()[&pair]
        };
        for (sides, expected) in [
            (r#""bid":"2210.50","ask":"2211.50","#, "last 2211.00, bid 2210.50, ask 2211.50"),
            (r#""ask":"2211.50","#, "last 2211.00, ask 2211.50"),
            (r#""bid":"2210.50","ask":"0.00","#, "last 2211.00, bid 2210.50"),
            (r#""bid":null,"ask":null,"#, "last 2211.00"),
        ] {
            let sample = read(r#""2211.00""#, sides).unwrap();
            assert_eq!(sample.reported.to_string(), expected);
            // The time is that of the response.
            assert!(sample.trade_time.is_some() && sample.book_time == sample.trade_time);
        }
        let without_trade = read(r#""0.00""#, r#""bid":"2210.50","ask":"2211.50","#).unwrap();
        assert_eq!(without_trade.reported.to_string(), "bid 2210.50, ask 2211.50");
        assert_eq!(read(r#""0.00""#, r#""bid":"2210.50","#), Err(Failure::Invalid));
    }

    #[test]
    fn other_bodies_and_invalid_times_are_refused() {
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
