//! Bitstamp: tickers. A request returns one market, or every market of the exchange. Prices are strings, and times are in
//! seconds.
//!
//! <https://www.bitstamp.net/api/#tag/Tickers>
//! <https://www.bitstamp.net/api/#tag/Market-info>
//! <https://www.bitstamp.net/api/#tag/Tickers/operation/GetOHLCData>

use std::borrow::Cow;

use common::{
    domain::{Failure, Pair},
    object::Object,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::source::{
    candle::{Candle, CandleRange, Candles},
    exchange::{Exchange, ReportedError, Request, answers},
    interface::{Answers, Sample},
    json::{UniqueObject, if_traded, only, price_of, rows, seconds_of},
    key::Plan,
    limit::Limit,
    market::{Market, MarketList},
};

/// The error codes of "too many requests".
const TOO_MANY_REQUESTS: [&str; 3] = ["400.002", "400.067", "400.068"];

/// The message about a market that does not exist.
const NOT_FOUND: &str = "Not found.";

/// From this number of pairs on, the list of all 277 markets (120 kB) is requested rather than single markets.
const ALL_FROM: usize = 11;

pub(super) struct Bitstamp;

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    pair: Option<Cow<'a, str>>,
    /// The name in responses about one market.
    #[serde(borrow)]
    market: Option<Cow<'a, str>>,
    #[serde(borrow)]
    last: Option<&'a RawValue>,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
}

/// A market in Bitstamp's list.
#[derive(Deserialize)]
struct Listing<'a> {
    /// Base and quote, such as `BTC/USD`.
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    url_symbol: Cow<'a, str>,
    /// `Enabled` or `Disabled`.
    #[serde(borrow)]
    trading: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Ohlc<'a> {
    #[serde(borrow)]
    data: Object<OhlcOfMarket<'a>>,
}

#[derive(Deserialize)]
struct OhlcOfMarket<'a> {
    #[serde(borrow)]
    pair: Cow<'a, str>,
    #[serde(borrow)]
    ohlc: Vec<Object<OhlcRow<'a>>>,
}

/// A candle.
#[derive(Deserialize)]
struct OhlcRow<'a> {
    #[serde(borrow)]
    timestamp: &'a RawValue,
    #[serde(borrow)]
    close: &'a RawValue,
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

    /// `btcusd` in requests for one market, `BTC/USD` in the list of all.
    fn market(&self, pair: Pair) -> Option<Market> {
        let (base, quote) = (pair.base(), pair.quote());
        let symbol = format!("{base}{quote}").to_ascii_lowercase();
        Some(Market::named(pair, symbol, [format!("{base}/{quote}")]))
    }

    fn list_path(&self) -> Option<&'static str> {
        Some("/api/v2/trading-pairs-info/")
    }

    fn parse_list(&self, body: &str) -> Result<MarketList, Failure> {
        let mut list = MarketList::default();
        for Listing { name, url_symbol, trading } in rows(body)? {
            if let Ok(pair) = name.parse() {
                list.add(Market::named(pair, url_symbol, [name.into_owned()]), trading == "Disabled");
            }
        }
        Ok(list)
    }

    fn candles(&self) -> Option<&'static dyn Candles> {
        Some(&Bitstamp)
    }

    fn requests(&self, markets: &[Market], most: usize) -> Vec<Request> {
        if markets.len() < ALL_FROM.min(most.saturating_add(1)) {
            Request::for_each(|market| format!("/api/v2/ticker/{}/", market.symbol), markets)
        } else {
            Request::for_all("/api/v2/ticker/".to_owned(), markets)
        }
    }

    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        let read = |row: &Row| {
            let side = |value| price_of(value).ok();
            let sample = Sample::quoted(if_traded(row.last, price_of)?, side(row.bid), side(row.ask))?;
            // The time of the response, so it is the time of both.
            let time = Some(seconds_of(row.timestamp)?);
            Ok(Sample { trade_time: time, book_time: time, ..sample })
        };
        if let (Ok(Object(row)), [market]) = (serde_json::from_str::<Object<Row>>(body), markets) {
            // A response about one market may leave out its name.
            let is_other =
                row.pair.as_ref().or(row.market.as_ref()).is_some_and(|name| !market.has_name(name));
            let is_ticker = row.last.is_some() && row.timestamp.is_some();
            return if is_other || !is_ticker {
                Err(Failure::Malformed)
            } else {
                Ok(answers(markets, |_| read(&row)))
            };
        }
        let rows: Vec<Row> = rows(body)?;
        let is_of = |row: &&Row, market: &Market| row.pair.as_ref().is_some_and(|pair| market.has_name(pair));
        Ok(answers(markets, |market| read(only(rows.iter().filter(|row| is_of(row, market)))?)))
    }

    /// `{"status":"error","reason":"…"}`, `{"response_code":"400.002","response_explanation":"…"}` or
    /// `{"message":"Not found."}`. Older responses have `code` instead of `response_code`.
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let members: UniqueObject = serde_json::from_str(body).ok()?;
        let code = ["response_code", "code"].into_iter().find_map(|name| members.text(name));
        let message = members.text("message");
        if code.as_deref().is_some_and(|code| TOO_MANY_REQUESTS.contains(&code)) {
            Some(ReportedError::new(Failure::RateLimited))
        } else if message.as_deref() == Some(NOT_FOUND) {
            Some(ReportedError::unknown_symbol())
        } else {
            let is_error = members.text("status").is_some_and(|status| status == "error");
            (is_error || code.is_some() || message.is_some()).then(|| ReportedError::new(Failure::Refused))
        }
    }
}

/// `{"data":{"ohlc":[{"timestamp":"1577836200","close":"7170.66",…}],"pair":"BTC/USD"}}`. Minutes without trades may be
/// left out.
impl Candles for Bitstamp {
    fn most(&self) -> u16 {
        1_000
    }

    /// The number of candles and the end decide which ones are returned. If there is a `start` too, Bitstamp ignores it.
    fn path(&self, market: &Market, range: CandleRange) -> String {
        let (limit, end) = (range.count().max(2), range.last.unix_millis() / 1_000);
        format!("/api/v2/ohlc/{}/?step=60&limit={limit}&end={end}", market.symbol)
    }

    fn parse(&self, body: &str, market: &Market) -> Result<Vec<Candle>, Failure> {
        let Object(Ohlc { data: Object(data) }) =
            serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        if !market.has_name(&data.pair) {
            return Err(Failure::Malformed);
        }
        let candle = |Object(row): &Object<OhlcRow>| {
            Ok(Candle { start: seconds_of(Some(row.timestamp))?, close: price_of(Some(row.close))? })
        };
        data.ohlc.iter().map(candle).collect()
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
            (r#"[["BTC/USD","2211.00","1643640186"]]"#, Failure::Malformed),
            (r#"{"timestamp":"1643640186","last":"2211.00","market":"ETH/USD"}"#, Failure::Malformed),
            (r#"{"response_code":"400.067"}"#, Failure::RateLimited),
            (r#"{"response_code":"400.068"}"#, Failure::RateLimited),
            (r#"{"message":"Not found."}"#, Failure::Refused),
            (r#"{"response_code":"400.002","response_explanation":""}"#, Failure::RateLimited),
            (r#"{"code":"400.002"}"#, Failure::RateLimited),
            (r#"{"status":"error","reason":"Unknown"}"#, Failure::Refused),
        ] {
            assert_eq!(parse(body.as_bytes(), &[pair]), Err(expected), "{body}");
        }
        assert_eq!(parse(b"[{}]", &[pair]).unwrap()[&pair], Err(Failure::Missing));
        let row = BODY.split_once(",{").map(|(_, row)| row.trim_end_matches(']')).unwrap();
        let twice = format!("[{{{row},{{{row}]");
        assert_eq!(parse(twice.as_bytes(), &[pair]).unwrap()[&pair], Err(Failure::Malformed));
        for time in ["-1", "99999999999999999999", "1.5", "soon"] {
            let body = BODY.replace("1643640186", time);
            assert_eq!(parse(body.as_bytes(), &[pair]).unwrap()[&pair], Err(Failure::Invalid), "{time}");
        }
    }

    #[test]
    fn up_to_ten_markets_are_requested_alone() {
        let pairs: Vec<Pair> = (0..11).map(|number| format!("A{number}-USD").parse().unwrap()).collect();
        let paths = |count: usize, most: usize| {
            let requests = Bitstamp.requests(&Bitstamp.markets(&pairs[..count]), most);
            requests.into_iter().map(|request| request.path).collect::<Vec<_>>()
        };
        assert_eq!(paths(2, 100), ["/api/v2/ticker/a0usd/", "/api/v2/ticker/a1usd/"]);
        assert_eq!(paths(10, 100).len(), 10);
        assert_eq!(paths(11, 100), ["/api/v2/ticker/"]);
        assert_eq!(paths(2, 1), ["/api/v2/ticker/"]);
    }

    #[test]
    fn a_response_about_one_market_is_read() {
        let pair: Pair = "BTC-USD".parse().unwrap();
        for name in ["", r#""pair":"BTC/USD","#, r#""market":"BTC/USD","#] {
            let body = format!(r#"{{{name}"last":"2211.00","timestamp":"1643640186"}}"#);
            let sample = parse(body.as_bytes(), &[pair]).unwrap()[&pair].unwrap();
            assert_eq!(sample.reported.to_string(), "last 2211.00");
        }
    }

    #[test]
    fn the_list_shows_which_markets_are_traded() {
        let body = r#"[{"name":"BTC/USD","trading":"Enabled","url_symbol":"btcusd"},{"name":"PAX/USD","trading":"Disabled","url_symbol":"paxusd"},{"name":"BTC/USD-PERP","trading":"Enabled","url_symbol":"btcusd-perp"},null]"#;
        let list = Bitstamp.read_list(body.as_bytes()).unwrap();
        let halted: Vec<bool> = list.iter().map(|listed| listed.is_halted).collect();
        assert_eq!(halted, [false, true]);
        assert_eq!(
            list.find("BTC-USD".parse().unwrap(), None).unwrap().market,
            Bitstamp.market("BTC-USD".parse().unwrap()).unwrap()
        );
    }
}
