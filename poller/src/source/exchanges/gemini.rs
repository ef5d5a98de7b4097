//! Gemini: ticker and price feed. A request returns one market with its best bid and ask, or the last trades of all
//! markets. Prices are strings. The only timestamp is that of the volume, which does not show how old a price is.
//!
//! <https://docs.gemini.com/rest-api/#ticker>
//! <https://docs.gemini.com/rest-api/#price-feed>
//! <https://docs.gemini.com/rest-api/#symbol-details>
//! <https://docs.gemini.com/rest-api/#candles>

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
    json::{UniqueObject, arrays, if_traded, millis_of, only, price_of, price_of_number, rows},
    key::Plan,
    limit::Limit,
    market::{Market, MarketList, pair_of},
};

/// Up to this number of pairs, each is asked for alone. Gemini accepts a burst of five requests.
const ALONE_UP_TO: usize = 5;

/// The states of a market in which nothing is traded.
const HALTED: [&str; 3] = ["closed", "cancel_only", "post_only"];

pub(super) struct Gemini;

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    pair: Cow<'a, str>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
}

/// The response about one market, which does not name the market.
#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    last: &'a RawValue,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    /// The volumes by asset, and their time.
    #[serde(borrow)]
    volume: UniqueObject<'a>,
}

/// A market in Gemini's list.
#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    base_currency: Cow<'a, str>,
    #[serde(borrow)]
    quote_currency: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    /// `spot` or `swap`. Old responses do not have it.
    #[serde(borrow)]
    product_type: Option<Cow<'a, str>>,
}

impl Exchange for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn base_url(&self, _plan: Option<Plan>) -> &'static str {
        "https://api.gemini.com"
    }

    fn limit(&self, _plan: Option<Plan>) -> Option<Limit> {
        // "120 requests per minute", and Gemini queues five more: https://docs.gemini.com/rate-limit
        Some(Limit::new(120, 60).with_burst(5))
    }

    /// `BTCUSD`
    fn market(&self, pair: Pair) -> Option<Market> {
        Some(Market::new(pair, format!("{}{}", pair.base(), pair.quote())))
    }

    fn list_path(&self) -> Option<&'static str> {
        Some("/v1/symbols/details/all")
    }

    fn parse_list(&self, body: &str) -> Result<MarketList, Failure> {
        let mut list = MarketList::default();
        for listing in rows::<Listing>(body)? {
            let pair = pair_of(&listing.base_currency, &listing.quote_currency);
            let is_spot = listing.product_type.is_none_or(|product| product == "spot");
            if let (Some(pair), true) = (pair, is_spot) {
                let market = Market::new(pair, listing.symbol.to_ascii_uppercase());
                list.add(market, HALTED.contains(&listing.status.as_ref()));
            }
        }
        Ok(list)
    }

    fn candles(&self) -> Option<&'static dyn Candles> {
        Some(&Gemini)
    }

    fn requests(&self, markets: &[Market], most: usize) -> Vec<Request> {
        if markets.len() <= ALONE_UP_TO.min(most) {
            let path = |market: &Market| format!("/v1/pubticker/{}", market.symbol.to_ascii_lowercase());
            Request::for_each(path, markets)
        } else {
            Request::for_all("/v1/pricefeed".to_owned(), markets)
        }
    }

    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        if let (Ok(Object(ticker)), [market]) = (serde_json::from_str::<Object<Ticker>>(body), markets) {
            // The volumes name the market's assets.
            let pair = market.pair;
            if [pair.base(), pair.quote()].iter().any(|asset| ticker.volume.get(asset).is_none()) {
                return Err(Failure::Malformed);
            }
            let side = |value| price_of(value).ok();
            let last = if_traded(Some(ticker.last), price_of);
            return Ok(answers(markets, |_| Sample::quoted(last?, side(ticker.bid), side(ticker.ask))));
        }
        let rows: Vec<Row> = rows(body)?;
        let read = |market: &Market| {
            let row = only(rows.iter().filter(|row| market.has_name(&row.pair)))?;
            Ok(Sample::traded(price_of(row.price)?, None))
        };
        Ok(answers(markets, read))
    }

    /// `{"result":"error","reason":"InvalidSymbol","message":"…"}`. Some errors about symbols have the reason
    /// `Bad Request`.
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let members: UniqueObject = serde_json::from_str(body).ok()?;
        let is_error = members.text("result")? == "error";
        let (reason, message) = (members.text("reason"), members.text("message"));
        let (reason, message) = (reason.unwrap_or_default(), message.unwrap_or_default());
        is_error.then(|| match reason.as_ref() {
            "InvalidSymbol" => ReportedError::unknown_symbol(),
            _ if message.contains("not a valid symbol") => ReportedError::unknown_symbol(),
            "Maintenance" => ReportedError::new(Failure::Unavailable),
            reason if reason.starts_with("RateLimit") => ReportedError::new(Failure::RateLimited),
            _ => ReportedError::new(Failure::Refused),
        })
    }
}

/// The candles of about a day. Rows are start, open, high, low, close, volume.
impl Candles for Gemini {
    fn most(&self) -> u16 {
        1_440
    }

    fn has_pages(&self) -> bool {
        false
    }

    fn path(&self, market: &Market, _range: CandleRange) -> String {
        format!("/v2/candles/{}/1m", market.symbol.to_ascii_lowercase())
    }

    fn parse(&self, body: &str, _market: &Market) -> Result<Vec<Candle>, Failure> {
        from_rows(&arrays(body)?, 4, millis_of, price_of_number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
        Gemini.read(body, &Gemini.markets(pairs))
    }

    const BODY: &str = r#"[{"pair":"BTCGBP","price":"1","percentChange24h":"0"},{"pair":"BTCUSD","price":"97012.30","percentChange24h":"-0.0104"},{"pair":"ETHUSD","price":null}]"#;

    #[test]
    fn the_requested_market_is_read() {
        let pairs = ["BTC-USD", "ETH-USD", "BTC-USDT"].map(|pair| pair.parse().unwrap());
        let answers = parse(BODY.as_bytes(), &pairs).unwrap();
        let sample = answers[&pairs[0]].unwrap();
        assert_eq!(
            (sample.reported.last.unwrap().to_string().as_str(), sample.trade_time),
            ("97012.30", None)
        );
        assert_eq!(answers[&pairs[1]], Err(Failure::Malformed));
        assert_eq!(answers[&pairs[2]], Err(Failure::Missing));
    }

    #[test]
    fn other_bodies_and_invalid_prices_are_refused() {
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

    #[test]
    fn up_to_five_markets_are_requested_alone() {
        let pairs: Vec<Pair> = (0..6).map(|number| format!("A{number}-USD").parse().unwrap()).collect();
        let paths = |count: usize| {
            let requests = Gemini.requests(&Gemini.markets(&pairs[..count]), 8);
            requests.into_iter().map(|request| request.path).collect::<Vec<_>>()
        };
        assert_eq!(paths(2), ["/v1/pubticker/a0usd", "/v1/pubticker/a1usd"]);
        assert_eq!((paths(5).len(), paths(6)), (5, vec!["/v1/pricefeed".to_owned()]));
    }

    #[test]
    fn a_response_about_one_market_is_read_if_its_volumes_are_those_of_the_pair() {
        let pair: Pair = "BTC-USD".parse().unwrap();
        let body = r#"{"bid":"977.59","ask":"977.65","last":"977.60","volume":{"BTC":"2210.5","USD":"2135477.4","timestamp":1483018200000}}"#;
        let sample = parse(body.as_bytes(), &[pair]).unwrap()[&pair].unwrap();
        assert_eq!(sample.reported.to_string(), "last 977.60, bid 977.59, ask 977.65");
        // The time is that of the volume.
        assert_eq!((sample.trade_time, sample.book_time), (None, None));
        assert_eq!(parse(body.as_bytes(), &["BTC-EUR".parse().unwrap()]), Err(Failure::Malformed));
        let without_trade = body.replace("977.60", "0");
        let sample = parse(without_trade.as_bytes(), &[pair]).unwrap()[&pair].unwrap();
        assert_eq!(sample.reported.to_string(), "bid 977.59, ask 977.65");
    }

    #[test]
    fn errors_have_their_meanings() {
        for (reason, message, expected) in [
            ("InvalidSymbol", "Received unsupported symbol 'X'", ReportedError::unknown_symbol()),
            ("Bad Request", "Supplied value 'x' is not a valid symbol.", ReportedError::unknown_symbol()),
            ("Maintenance", "", ReportedError::new(Failure::Unavailable)),
            ("Bad Request", "", ReportedError::new(Failure::Refused)),
        ] {
            let body = format!(r#"{{"result":"error","reason":"{reason}","message":"{message}"}}"#);
            assert_eq!(Gemini.parse_error(&body), Some(expected), "{body}");
        }
    }

    #[test]
    fn the_list_shows_which_spot_markets_are_traded() {
        let body = r#"[{"symbol":"btcusd","base_currency":"BTC","quote_currency":"USD","status":"open","product_type":"spot"},{"symbol":"EFILFIL","base_currency":"EFIL","quote_currency":"FIL","status":"closed"},{"symbol":"BTCGUSDPERP","base_currency":"BTC","quote_currency":"GUSD","status":"open","product_type":"swap"}]"#;
        let list = Gemini.read_list(body.as_bytes()).unwrap();
        let listed: Vec<_> =
            list.iter().map(|listed| (listed.market.symbol.as_str(), listed.is_halted)).collect();
        assert_eq!(listed, [("BTCUSD", false), ("EFILFIL", true)]);
    }
}
