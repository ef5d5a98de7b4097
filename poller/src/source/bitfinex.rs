//! Bitfinex's tickers: one request for all pairs, rows without names, JSON numbers, no time.

use std::borrow::Cow;

use common::domain::{Failure, Pair};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Answers, Sample,
    http::Request,
    number::{each, number_of, only},
    unique::Unique,
};

/// Columns of a trading pair's row: symbol, bid, size, ask, size, change, relative change, last, volume,
/// high, low. A row with another number of them is not one we know; funding rows have seventeen.
const COLUMNS: usize = 11;

/// Where the price of the last trade stands.
const LAST: usize = 7;

/// A text, borrowed where it needs no unescaping.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

pub(super) fn requests(pairs: &[Pair]) -> Vec<Request> {
    let symbols: Vec<String> = pairs.iter().map(symbol).collect();
    vec![Request { path: format!("/v2/tickers?symbols={}", symbols.join(",")), pairs: pairs.to_vec() }]
}

pub(super) fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
    if let Some(complaint) = complaint(body) {
        return Err(complaint);
    }
    let rows: Vec<Vec<&RawValue>> = serde_json::from_slice(body).map_err(|_| Failure::Malformed)?;
    let named = rows.iter().map(|row| Ok((text(row.first()).ok_or(Failure::Malformed)?, row)));
    let named = named.collect::<Result<Vec<_>, Failure>>()?;
    let answer = |pair: &Pair| {
        let symbol = symbol(pair);
        let (_, row) = only(named.iter().filter(|(name, _)| *name == symbol))?;
        if row.len() != COLUMNS {
            return Err(Failure::Malformed);
        }
        Ok(Sample { price: number_of(row.get(LAST).copied())?, time: None })
    };
    Ok(each(pairs, answer))
}

/// `["error",10020,"symbol: invalid"]`, or `{"error":"ERR_RATE_LIMIT"}`.
pub(super) fn complaint(body: &[u8]) -> Option<Failure> {
    let said = match serde_json::from_slice::<Unique>(body) {
        Ok(fields) => fields.text("error")?.into_owned(),
        Err(_) => {
            let row: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
            text(row.first()).filter(|first| first == "error")?;
            text(row.get(2)).unwrap_or_default().into_owned()
        }
    };
    // `ERR_RATE_LIMIT` is documented; `ratelimit: error` is how the same comes as a row.
    let limited = said.contains("RATE_LIMIT") || said.starts_with("ratelimit");
    Some(if limited { Failure::RateLimited } else { Failure::Refused })
}

fn text<'a>(value: Option<&&'a RawValue>) -> Option<Cow<'a, str>> {
    serde_json::from_str::<Text<'a>>(value?.get()).ok().map(|text| text.0)
}

/// Bitfinex's own codes for the assets that it calls otherwise than the rest of the world.
fn asset(code: &str) -> &str {
    match code {
        "USDT" => "UST",
        "USDC" => "UDC",
        other => other,
    }
}

/// `tBTCUSD`; with a colon where an asset has more than three letters, `tDOGE:USD`.
fn symbol(pair: &Pair) -> String {
    let (base, quote) = (asset(pair.base()), asset(pair.quote()));
    let colon = if base.len() > 3 || quote.len() > 3 { ":" } else { "" };
    format!("t{base}{colon}{quote}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"[["fUSD",1.0958904109589042e-08,0,0,0,1e-08,2,2663861.8810786298,0,0,1e-08,664.1085,1e-08,1e-08,null,null,2594257.74114297],["tBTCUSD",7381.6,38.644979070000005,7381.7,32.145906579999995,126.6,0.0175,7381.2,1982.88275223,7390,7228.1],["tDOGE:USD",1,1,1,1,1,1,1.5e-7,1,1,1]]"#;

    fn pairs() -> [Pair; 3] {
        ["BTC-USD", "DOGE-USD", "ETH-USDT"].map(|pair| pair.parse().unwrap())
    }

    #[test]
    fn one_request_asks_for_all_by_bitfinex_own_names() {
        let requests = requests(&pairs());
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
    fn what_is_no_answer_is_refused() {
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
