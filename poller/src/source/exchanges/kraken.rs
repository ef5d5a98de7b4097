//! Kraken: `Ticker`. One request returns all pairs that it names. Prices are strings, there are no timestamps, and errors
//! come with the HTTP status 200.
//!
//! `Ticker` without names returns all of Kraken's markets, but that takes 433 kB. It would only be the smaller response
//! for more than a thousand pairs, so it is not used.
//!
//! <https://docs.kraken.com/api/docs/rest-api/get-ticker-information>
//! <https://docs.kraken.com/api/docs/rest-api/get-ohlc-data>
//! <https://docs.kraken.com/api/docs/rest-api/get-tradable-asset-pairs>

use std::borrow::Cow;

use common::{
    domain::{Failure, Pair},
    object::Object,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::source::{
    candle::{Candle, CandleRange, Candles, from_rows},
    exchange::{Exchange, ReportedError, Request, answers},
    interface::{Answers, Sample},
    json::{UniqueObject, arrays, if_traded, only, price_of, seconds_of},
    key::Plan,
    limit::Limit,
    market::{Market, MarketList, pair_of},
};

/// Prefixes of the errors that mean "too many requests".
const RATE_LIMIT_ERRORS: [&str; 3] = ["EAPI:Rate limit exceeded", "EGeneral:Too many requests", THROTTLED];

/// The prefix of the error that also contains the time until which requests are refused:
/// `EService: Throttled: 1779092258`.
const THROTTLED: &str = "EService: Throttled";

/// What the beginning of other errors means. Other errors are refusals.
const ERRORS: [(&str, Failure); 3] = [
    ("EGeneral:Temporary lockout", Failure::LockedOut),
    ("EGeneral:Internal error", Failure::Unavailable),
    ("EService", Failure::Unavailable),
];

/// Kraken refuses a whole request because of one unknown pair.
const UNKNOWN_PAIR: &str = "EQuery:Unknown asset pair";

/// The states of a market in which nothing is traded.
const HALTED: [&str; 2] = ["cancel_only", "post_only"];

/// Kraken's own codes for assets.
const OWN_CODES: [(&str, &str); 2] = [("BTC", "XBT"), ("DOGE", "XDG")];

/// The coins and currencies whose codes have a prefix in responses, if the market is one of Kraken's oldest.
const OLD_COINS: [&str; 12] =
    ["ETC", "ETH", "ICN", "LTC", "MLN", "REP", "XBT", "XDG", "XLM", "XMR", "XRP", "ZEC"];
const OLD_CURRENCIES: [&str; 6] = ["AUD", "CAD", "EUR", "GBP", "JPY", "USD"];

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

/// A market in Kraken's list.
#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    altname: Cow<'a, str>,
    /// Base and quote, such as `XBT/USD`.
    #[serde(borrow)]
    wsname: Cow<'a, str>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
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
        // second, and short bursts.
        Some(Limit::new(1, 1).with_burst(3).undocumented())
    }

    /// `XBTUSD`, which Kraken calls the pair's alternative name. In responses, the oldest markets have other names.
    fn market(&self, pair: Pair) -> Option<Market> {
        let (base, quote) = (own_code(pair.base()), own_code(pair.quote()));
        let symbol = format!("{base}{quote}");
        let old = old_code(base).zip(old_code(quote)).map(|(base, quote)| format!("{base}{quote}"));
        let names = old.into_iter().filter(|old| *old != symbol).chain([symbol.clone()]).collect::<Vec<_>>();
        Some(Market::named(pair, symbol, names))
    }

    fn list_path(&self) -> Option<&'static str> {
        Some("/0/public/AssetPairs")
    }

    fn parse_list(&self, body: &str) -> Result<MarketList, Failure> {
        let Object(body): Object<Body> = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        let mut list = MarketList::default();
        for (name, listing) in body.result.ok_or(Failure::Malformed)?.iter() {
            let Ok(Object(listing)) = serde_json::from_str::<Object<Listing>>(listing.get()) else {
                continue;
            };
            let Some((base, quote)) = listing.wsname.split_once('/') else { continue };
            if let Some(pair) = pair_of(common_code(base), common_code(quote)) {
                let market = Market::named(pair, listing.altname, [name.to_owned()]);
                let is_halted = listing.status.is_some_and(|status| HALTED.contains(&status.as_ref()));
                list.add(market, is_halted);
            }
        }
        Ok(list)
    }

    fn requests(&self, markets: &[Market], _most: usize) -> Vec<Request> {
        let symbols: Vec<&str> = markets.iter().map(|market| market.symbol.as_str()).collect();
        Request::for_all(format!("/0/public/Ticker?pair={}", symbols.join(",")), markets)
    }

    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        let Object(body): Object<Body> = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        let read = |market: &Market| {
            let result = body.result.as_ref().ok_or(Failure::Malformed)?;
            let ticker = only(market.names.iter().filter_map(|name| result.get(name)))?;
            let Object(ticker): Object<Ticker> =
                serde_json::from_str(ticker.get()).map_err(|_| Failure::Malformed)?;
            let side = |list: &[&RawValue]| price_of(list.first().copied()).ok();
            let last = if_traded(ticker.c.first().copied(), price_of)?;
            Sample::quoted(last, side(&ticker.b), side(&ticker.a))
        };
        Ok(answers(markets, read))
    }

    fn candles(&self) -> Option<&'static dyn Candles> {
        Some(&Kraken)
    }

    /// `{"error":["EAPI:Rate limit exceeded"]}`. An error that comes with results does not concern these results.
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let Object(body): Object<Body> = serde_json::from_str(body).ok()?;
        if body.result.is_some_and(|result| result.iter().next().is_some()) {
            return None;
        }
        let errors: Vec<&str> =
            body.error.iter().map(AsRef::as_ref).filter(|error| !error.starts_with('W')).collect();
        let starts = |with: &str| errors.iter().any(|error| error.starts_with(with));
        let is_rate_limit = RATE_LIMIT_ERRORS.into_iter().any(starts);
        let known = || ERRORS.into_iter().find(|(start, _)| starts(start)).map(|(_, failure)| failure);
        let failure = match (is_rate_limit, errors.first()) {
            (_, None) => return None,
            (true, _) => Failure::RateLimited,
            (false, _) => known().unwrap_or(Failure::Refused),
        };
        let until = errors.iter().filter_map(|error| error.strip_prefix(THROTTLED)?.strip_prefix(':'));
        let until = until.filter_map(|seconds| seconds.trim().parse().ok()).max();
        let blames_symbol = failure == Failure::Refused && starts(UNKNOWN_PAIR);
        Some(ReportedError { failure, until, blames_symbol })
    }
}

/// `OHLC`: the newest 720 candles, whatever is asked for. Rows are start, open, high, low, close, and more.
impl Candles for Kraken {
    fn most(&self) -> u16 {
        720
    }

    fn has_pages(&self) -> bool {
        false
    }

    fn path(&self, market: &Market, range: CandleRange) -> String {
        let since = range.first.unix_millis() / 1_000;
        format!("/0/public/OHLC?pair={}&interval=1&since={since}", market.symbol)
    }

    fn parse(&self, body: &str, market: &Market) -> Result<Vec<Candle>, Failure> {
        let Object(body): Object<Body> = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        let result = body.result.ok_or(Failure::Malformed)?;
        let rows = only(market.names.iter().filter_map(|name| result.get(name)))?;
        from_rows(&arrays(rows.get())?, 4, seconds_of, price_of)
    }
}

fn own_code(code: &str) -> &str {
    OWN_CODES.into_iter().find(|(common, _)| *common == code).map_or(code, |(_, own)| own)
}

fn common_code(own: &str) -> &str {
    OWN_CODES.into_iter().find(|(_, code)| *code == own).map_or(own, |(common, _)| common)
}

/// The code in the names of Kraken's oldest markets: an X precedes each coin and a Z each currency. USDT has no prefix,
/// but its market with the dollar is named like an old one, `USDTZUSD`.
fn old_code(code: &str) -> Option<String> {
    match code {
        "USDT" => Some(code.to_owned()),
        _ if OLD_COINS.contains(&code) => Some(format!("X{code}")),
        _ if OLD_CURRENCIES.contains(&code) => Some(format!("Z{code}")),
        _ => None,
    }
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
        let requests = Kraken.requests(&Kraken.markets(&pairs()), 10);
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
            ("EService:Unavailable", Failure::Unavailable),
            ("EService:Busy", Failure::Unavailable),
            ("EGeneral:Temporary lockout", Failure::LockedOut),
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

    #[test]
    fn only_an_unknown_pair_is_blamed_on_a_symbol() {
        let blames =
            |error: &str| Kraken.parse_error(&format!(r#"{{"error":["{error}"]}}"#)).unwrap().blames_symbol;
        assert!(blames("EQuery:Unknown asset pair"));
        for other in ["EService:Unavailable", "EGeneral:Invalid arguments", "EGeneral:Temporary lockout"] {
            assert!(!blames(other), "{other}");
        }
    }

    #[test]
    fn results_that_come_with_an_error_are_used() {
        let body = br#"{"error":["EQuery:Unknown asset pair"],"result":{"XXBTZUSD":{"c":["1.5","1"]}}}"#;
        let answers = parse(body, &pairs()).unwrap();
        assert!(answers[&pairs()[0]].is_ok());
        assert_eq!(answers[&pairs()[1]], Err(Failure::Missing));
        let empty = br#"{"error":["EQuery:Unknown asset pair"],"result":{}}"#;
        assert_eq!(parse(empty, &pairs()), Err(Failure::Refused));
    }

    #[test]
    fn names_follow_kraken_s_rules_until_there_is_a_list() {
        for (pair, symbol, names) in [
            ("BTC-USD", "XBTUSD", vec!["XXBTZUSD", "XBTUSD"]),
            ("USDT-USD", "USDTUSD", vec!["USDTZUSD", "USDTUSD"]),
            ("EUR-USD", "EURUSD", vec!["ZEURZUSD", "EURUSD"]),
            ("ETH-BTC", "ETHXBT", vec!["XETHXXBT", "ETHXBT"]),
            ("XTZ-USD", "XTZUSD", vec!["XTZUSD"]),
            ("T-USD", "TUSD", vec!["TUSD"]),
            ("AIO-USD", "AIOUSD", vec!["AIOUSD"]),
            ("DOGE-USD", "XDGUSD", vec!["XXDGZUSD", "XDGUSD"]),
        ] {
            let market = Kraken.market(pair.parse().unwrap()).unwrap();
            assert_eq!(
                (market.symbol.as_str(), market.names),
                (symbol, names.iter().map(|name| (*name).to_owned()).collect())
            );
        }
    }

    #[test]
    fn the_list_names_markets_and_shows_which_are_traded() {
        let body = r#"{"error":[],"result":{"USDTZUSD":{"altname":"USDTUSD","wsname":"USDT/USD","status":"online"},"XXDGXXBT":{"altname":"XDGXBT","wsname":"XDG/XBT","status":"limit_only"},"RHEAUSD":{"altname":"RHEAUSD","wsname":"RHEA/USD","status":"cancel_only"},"ODD":{"altname":7},"BTC/USD:BTNL":{"altname":"BTCUSDBTNL","wsname":"BTC/USD:BTNL","status":"online"}}}"#;
        let list = Kraken.read_list(body.as_bytes()).unwrap();
        let market = |pair: &str| list.find(pair.parse().unwrap(), None).unwrap();
        assert_eq!(
            (market("USDT-USD").market.symbol.as_str(), &market("USDT-USD").market.names[..]),
            ("USDTUSD", &["USDTZUSD".to_owned()][..])
        );
        assert_eq!(market("DOGE-BTC").market.names, ["XXDGXXBT"]);
        let halted: Vec<bool> =
            ["USDT-USD", "DOGE-BTC", "RHEA-USD"].map(|pair| market(pair).is_halted).into();
        assert_eq!(halted, [false, false, true]);
        assert_eq!(list.iter().count(), 3);
        for other in [r#"{"error":["EService:Unavailable"]}"#, r#"{"error":[],"result":{}}"#, "[]", ""] {
            assert!(Kraken.read_list(other.as_bytes()).is_err(), "{other}");
        }
    }
}
