//! Bitfinex: tickers. One request returns all pairs. Rows have no member names, prices are JSON numbers, and
//! there are no timestamps.
//!
//! <https://docs.bitfinex.com/reference/rest-public-tickers>

use std::borrow::Cow;

use common::domain::{Failure, Pair};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::source::{
    exchange::{Exchange, Market, ReportedError, Request, answers},
    interface::{Answers, Sample},
    json::{UniqueObject, only, price_of_number},
    key::Plan,
    limit::Limit,
};

/// Columns of a trading pair's row: symbol, bid, size, ask, size, change, relative change, last, volume,
/// high, low. Funding rows have seventeen columns. A trading pair's row with any other number of columns has a
/// format that we don't know.
const COLUMNS: usize = 11;

/// The column with the price of the last trade.
const LAST: usize = 7;

pub(super) struct Bitfinex;

/// A string that is borrowed unless it contains escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Exchange for Bitfinex {
    fn name(&self) -> &'static str {
        "bitfinex"
    }

    fn base_url(&self, _plan: Option<Plan>) -> &'static str {
        "https://api-pub.bitfinex.com"
    }

    fn limit(&self, _plan: Option<Plan>) -> Option<Limit> {
        // 30 requests a minute for the tickers: https://docs.bitfinex.com/reference/rest-public-tickers
        Some(Limit::new(30, 60))
    }

    /// `tBTCUSD`, or `tDOGE:USD` if an asset's code is longer than three letters.
    fn symbol(&self, pair: Pair) -> Option<String> {
        let (base, quote) = (asset(pair.base()), asset(pair.quote()));
        let colon = if base.len() > 3 || quote.len() > 3 { ":" } else { "" };
        Some(format!("t{base}{colon}{quote}"))
    }

    fn requests(&self, markets: &[Market]) -> Vec<Request> {
        let symbols: Vec<&str> = markets.iter().map(|market| market.symbol.as_str()).collect();
        Request::for_all(format!("/v2/tickers?symbols={}", symbols.join(",")), markets)
    }

    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        let rows: Vec<Vec<&RawValue>> = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        let named = rows.iter().map(|row| Ok((text(row.first()).ok_or(Failure::Malformed)?, row)));
        let named = named.collect::<Result<Vec<_>, Failure>>()?;
        let read = |market: &Market| {
            let (_, row) = only(named.iter().filter(|(name, _)| *name == market.symbol))?;
            if row.len() != COLUMNS {
                return Err(Failure::Malformed);
            }
            Ok(Sample { price: price_of_number(row.get(LAST).copied())?, time: None })
        };
        Ok(answers(markets, read))
    }

    /// `["error",10020,"symbol: invalid"]`, or `{"error":"ERR_RATE_LIMIT"}`.
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let message = match serde_json::from_str::<UniqueObject>(body) {
            Ok(members) => members.text("error")?.into_owned(),
            Err(_) => {
                let row: Vec<&RawValue> = serde_json::from_str(body).ok()?;
                text(row.first()).filter(|first| first == "error")?;
                text(row.get(2)).unwrap_or_default().into_owned()
            }
        };
        // An object contains the documented `ERR_RATE_LIMIT`, and an array contains `ratelimit: error`.
        Some(ReportedError::new(message.contains("RATE_LIMIT") || message.starts_with("ratelimit")))
    }
}

fn text<'a>(value: Option<&&'a RawValue>) -> Option<Cow<'a, str>> {
    serde_json::from_str::<Text<'a>>(value?.get()).ok().map(|text| text.0)
}

/// Bitfinex has its own codes for some assets.
fn asset(code: &str) -> &str {
    match code {
        "USDT" => "UST",
        "USDC" => "UDC",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
        Bitfinex.read(body, &Bitfinex.markets(pairs))
    }

    const BODY: &str = r#"[["fUSD",1.0958904109589042e-08,0,0,0,1e-08,2,2663861.8810786298,0,0,1e-08,664.1085,1e-08,1e-08,null,null,2594257.74114297],["tBTCUSD",7381.6,38.644979070000005,7381.7,32.145906579999995,126.6,0.0175,7381.2,1982.88275223,7390,7228.1],["tDOGE:USD",1,1,1,1,1,1,1.5e-7,1,1,1]]"#;

    fn pairs() -> [Pair; 3] {
        ["BTC-USD", "DOGE-USD", "ETH-USDT"].map(|pair| pair.parse().unwrap())
    }

    #[test]
    fn one_request_asks_for_all_pairs_by_symbol() {
        let requests = Bitfinex.requests(&Bitfinex.markets(&pairs()));
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].path, "/v2/tickers?symbols=tBTCUSD,tDOGE:USD,tETHUST");
    }

    #[test]
    fn the_last_trade_is_read_exactly() {
        let answers = parse(BODY.as_bytes(), &pairs()).unwrap();
        let price = |at: usize| answers[&pairs()[at]].map(|sample| sample.price.to_string());
        assert_eq!(price(0).as_deref(), Ok("7381.2"));
        assert_eq!(price(1).as_deref(), Ok("0.00000015"));
        assert_eq!(price(2), Err(Failure::Missing));
        let nothing = parse(b"[]", &pairs()).unwrap();
        assert!(nothing.values().all(|answer| *answer == Err(Failure::Missing)));
    }

    #[test]
    fn other_bodies_and_invalid_prices_are_refused() {
        for (body, expected) in [
            ("", Failure::Malformed),
            ("{}", Failure::Malformed),
            ("[[]]", Failure::Malformed),
            ("[[7381.6,38,7381.7]]", Failure::Malformed),
            (r#"["error",10020,"symbol: invalid"]"#, Failure::Refused),
            (r#"["error",20060,"maintenance"]"#, Failure::Refused),
            (r#"["error",11010,"ratelimit: error"]"#, Failure::RateLimited),
            (r#"{"error":"ERR_RATE_LIMIT"}"#, Failure::RateLimited),
            (r#"{"error":"ERR_OTHER"}"#, Failure::Refused),
        ] {
            assert_eq!(parse(body.as_bytes(), &pairs()), Err(expected), "{body}");
        }
        let btc = pairs()[0];
        for (last, expected) in [
            ("0", Failure::Invalid),
            ("-7381.2", Failure::Invalid),
            ("1e400", Failure::Invalid),
            (r#""7381.2""#, Failure::Invalid),
            ("7381.2000000000001", Failure::Invalid),
            ("7381.2,1", Failure::Malformed),
        ] {
            let body = BODY.replace("7381.2,", &format!("{last},"));
            assert_eq!(parse(body.as_bytes(), &pairs()).unwrap()[&btc], Err(expected), "{last}");
        }
    }
}
