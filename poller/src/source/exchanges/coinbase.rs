//! Coinbase Exchange: product ticker, and statistics of all products. Prices are strings.
//!
//! A ticker has the last trade with its time, and the best bid and ask, but each pair takes a request. If there are more
//! pairs than requests are possible in a slot, one request returns the last trades of all products, without times. Then
//! the price of a quote is the last trade, and only the rule about frozen quotes shows that a market is dead.
//!
//! <https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproductticker>
//! <https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproductsstats>
//! <https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproductcandles>
//! <https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproducts>

use std::borrow::Cow;

use common::{
    domain::{Failure, Pair, Timestamp},
    object::Object,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::source::{
    candle::{Candle, CandleRange, Candles, from_rows},
    exchange::{Exchange, ReportedError, Request, answers},
    interface::{Answers, Sample},
    json::{UniqueObject, arrays, if_traded, price_of, price_of_number, rows, seconds_of},
    key::Plan,
    limit::Limit,
    market::{Market, MarketList, pair_of},
};

/// Coinbase's errors are texts without codes.
const UNKNOWN_PRODUCT: [&str; 2] = ["NotFound", "Not allowed for delisted products"];
const RATE_LIMIT: &str = "rate limit exceeded";

pub(super) struct Coinbase;

#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// The statistics of a product.
#[derive(Deserialize)]
struct Statistics<'a> {
    #[serde(borrow)]
    stats_24hour: Object<Day<'a>>,
}

#[derive(Deserialize)]
struct Day<'a> {
    #[serde(borrow)]
    last: Option<&'a RawValue>,
}

/// A product in Coinbase's list.
#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    base_currency: Cow<'a, str>,
    #[serde(borrow)]
    quote_currency: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    trading_disabled: Option<bool>,
    cancel_only: Option<bool>,
    post_only: Option<bool>,
    auction_mode: Option<bool>,
}

impl Exchange for Coinbase {
    fn name(&self) -> &'static str {
        "coinbase"
    }

    fn base_url(&self, _plan: Option<Plan>) -> &'static str {
        "https://api.exchange.coinbase.com"
    }

    fn limit(&self, _plan: Option<Plan>) -> Option<Limit> {
        // "10 requests per second, up to 15 in bursts", per IP address:
        // https://docs.cdp.coinbase.com/exchange/rest-api/rate-limits
        Some(Limit::new(10, 1).with_burst(15))
    }

    /// `BTC-USD`
    fn market(&self, pair: Pair) -> Option<Market> {
        Some(Market::new(pair, pair.to_string()))
    }

    fn list_path(&self) -> Option<&'static str> {
        Some("/products")
    }

    fn parse_list(&self, body: &str) -> Result<MarketList, Failure> {
        let mut list = MarketList::default();
        for listing in rows::<Listing>(body)? {
            let pair = pair_of(&listing.base_currency, &listing.quote_currency);
            if let (Some(pair), true) = (pair, listing.status != "delisted") {
                let flags =
                    [listing.trading_disabled, listing.cancel_only, listing.post_only, listing.auction_mode];
                let is_halted = listing.status != "online" || flags.contains(&Some(true));
                list.add(Market::new(pair, listing.id), is_halted);
            }
        }
        Ok(list)
    }

    fn candles(&self) -> Option<&'static dyn Candles> {
        Some(&Coinbase)
    }

    fn requests(&self, markets: &[Market], most: usize) -> Vec<Request> {
        if markets.len() <= most {
            Request::for_each(|market| format!("/products/{}/ticker", market.symbol), markets)
        } else {
            Request::for_all("/products/stats".to_owned(), markets)
        }
    }

    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        let members: UniqueObject = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        if members.get("time").is_none() {
            return statistics(&members, markets);
        }
        // A ticker does not name the pair, but each request is for a single pair.
        let [_] = markets else { return Err(Failure::Malformed) };
        let Object(ticker): Object<Ticker> = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        let time: Timestamp = ticker.time.parse().map_err(|_| Failure::Invalid)?;
        Ok(answers(markets, |_| {
            let side = |value| price_of(value).ok();
            let sample =
                Sample::quoted(if_traded(ticker.price, price_of)?, side(ticker.bid), side(ticker.ask))?;
            // The time is that of the last trade, which may be hours ago in a thin market. The book is current.
            Ok(Sample { trade_time: Some(time), ..sample })
        }))
    }

    /// `{"message":"NotFound"}`
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let members: UniqueObject = serde_json::from_str(body).ok()?;
        let message = members.text("message")?;
        Some(if UNKNOWN_PRODUCT.contains(&message.as_ref()) {
            ReportedError::unknown_symbol()
        } else if message.contains(RATE_LIMIT) {
            ReportedError::new(Failure::RateLimited)
        } else {
            ReportedError::new(Failure::Refused)
        })
    }
}

/// Rows are start, low, high, open, close, volume. Minutes without trades are left out.
impl Candles for Coinbase {
    fn most(&self) -> u16 {
        300
    }

    fn path(&self, market: &Market, range: CandleRange) -> String {
        let [start, end] = [range.first, range.last].map(|instant| instant.unix_millis() / 1_000);
        format!("/products/{}/candles?granularity=60&start={start}&end={end}", market.symbol)
    }

    fn parse(&self, body: &str, _market: &Market) -> Result<Vec<Candle>, Failure> {
        from_rows(&arrays(body)?, 4, seconds_of, price_of_number)
    }
}

/// The last trades in the statistics of all products: `{"BTC-USD":{"stats_24hour":{"last":"65237"}}}`.
fn statistics(products: &UniqueObject, markets: &[Market]) -> Result<Answers, Failure> {
    let read = |market: &Market| {
        let product = products.get(&market.symbol).ok_or(Failure::Missing)?;
        let Object(Statistics { stats_24hour: Object(day) }) =
            serde_json::from_str(product.get()).map_err(|_| Failure::Malformed)?;
        Ok(Sample::traded(price_of(day.last)?, None))
    };
    let is_product = |value: &RawValue| serde_json::from_str::<Object<Statistics>>(value.get()).is_ok();
    if products.iter().any(|(_, value)| is_product(value)) {
        Ok(answers(markets, read))
    } else {
        Err(Failure::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
        Coinbase.read(body, &Coinbase.markets(pairs))
    }

    #[test]
    fn each_pair_takes_one_request() {
        let pairs = ["BTC-USD".parse().unwrap(), "ETH-USD".parse().unwrap()];
        let paths: Vec<String> = Coinbase
            .requests(&Coinbase.markets(&pairs), 10)
            .into_iter()
            .map(|request| request.path)
            .collect();
        assert_eq!(paths, ["/products/BTC-USD/ticker", "/products/ETH-USD/ticker"]);
    }

    #[test]
    fn price_and_time_are_read() {
        let pair: Pair = "BTC-USD".parse().unwrap();
        let body = br#"{"trade_id":1,"price":"246.28000000","size":"0.05","bid":"637","ask":"637.11","volume":"4","time":"2015-04-08T20:49:06.506997Z"}"#;
        let sample = parse(body, &[pair]).unwrap()[&pair].unwrap();
        assert_eq!(sample.reported.last.unwrap().to_string(), "246.28000000");
        assert_eq!(sample.trade_time.unwrap().to_string(), "2015-04-08T20:49:06.506Z");
    }

    #[test]
    fn the_best_bid_and_ask_are_read_and_an_empty_side_is_left_out() {
        let pair: Pair = "BTC-USD".parse().unwrap();
        let read = |price: &str, sides: &str| {
            let body = format!(r#"{{"price":{price},{sides}"time":"2015-04-08T20:49:06Z"}}"#);
            parse(body.as_bytes(), &[pair]).unwrap()[&pair]
        };
        for (sides, expected) in [
            (r#""bid":"637","ask":"637.11","#, "last 637.01, bid 637, ask 637.11"),
            (r#""bid":"637","#, "last 637.01, bid 637"),
            (r#""bid":"0","ask":"637.11","#, "last 637.01, ask 637.11"),
            (r#""bid":null,"ask":"","#, "last 637.01"),
        ] {
            let sample = read(r#""637.01""#, sides).unwrap();
            assert_eq!(sample.reported.to_string(), expected);
            // The time is that of the trade.
            assert!(sample.trade_time.is_some() && sample.book_time.is_none());
        }
        let without_trade = read(r#""0""#, r#""bid":"637","ask":"637.11","#).unwrap();
        assert_eq!(without_trade.reported.to_string(), "bid 637, ask 637.11");
        assert_eq!(read(r#""0""#, r#""bid":"637","#), Err(Failure::Invalid));
    }

    #[test]
    fn other_bodies_are_refused() {
        let pair: Pair = "BTC-USD".parse().unwrap();
        for body in ["", "[]", r#"["1","2015-04-08T20:49:06Z"]"#, "{}", r#"{"price":"1"}"#] {
            assert_eq!(parse(body.as_bytes(), &[pair]), Err(Failure::Malformed), "{body}");
        }
        assert_eq!(parse(br#"{"price":"1","time":"yesterday"}"#, &[pair]), Err(Failure::Invalid));
        let zero = parse(br#"{"price":"0","time":"2015-04-08T20:49:06Z"}"#, &[pair]).unwrap();
        assert_eq!(zero[&pair], Err(Failure::Invalid));
    }

    #[test]
    fn all_products_are_requested_at_once_if_there_are_more_than_can_be_asked_for_alone() {
        let pairs: Vec<Pair> = (0..35).map(|number| format!("A{number}-USD").parse().unwrap()).collect();
        let requests = |count: usize| Coinbase.requests(&Coinbase.markets(&pairs[..count]), 34);
        assert_eq!(requests(34).len(), 34);
        assert_eq!(requests(35), Request::for_all("/products/stats".into(), &Coinbase.markets(&pairs)));
    }

    #[test]
    fn the_last_trades_of_all_products_are_read_without_a_time() {
        let pairs = ["BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD"].map(|pair| pair.parse().unwrap());
        let body = r#"{"BTC-USD":{"stats_30day":{"volume":"1"},"stats_24hour":{"open":"64000","last":"65237"}},"ETH-USD":{"stats_24hour":{"open":"1","last":"0"}},"SOL-USD":null}"#;
        let answers = parse(body.as_bytes(), &pairs).unwrap();
        let sample = answers[&pairs[0]].unwrap();
        assert_eq!((sample.reported.to_string().as_str(), sample.trade_time), ("last 65237", None));
        let others: Vec<_> = pairs[1..].iter().map(|pair| answers[pair].unwrap_err()).collect();
        assert_eq!(others, [Failure::Invalid, Failure::Malformed, Failure::Missing]);
        assert_eq!(parse(br#"{"a":{},"b":1}"#, &pairs), Err(Failure::Malformed));
    }

    #[test]
    fn a_ticker_is_not_read_as_the_price_of_several_pairs() {
        let pairs = ["BTC-USD", "ETH-USD"].map(|pair| pair.parse().unwrap());
        assert_eq!(parse(br#"{"price":"1","time":"2015-04-08T20:49:06Z"}"#, &pairs), Err(Failure::Malformed));
    }

    #[test]
    fn errors_have_their_meanings() {
        for (message, expected) in [
            ("NotFound", ReportedError::unknown_symbol()),
            ("Not allowed for delisted products", ReportedError::unknown_symbol()),
            ("Public rate limit exceeded", ReportedError::new(Failure::RateLimited)),
            ("Internal server error", ReportedError::new(Failure::Refused)),
        ] {
            let body = format!(r#"{{"message":"{message}"}}"#);
            assert_eq!(Coinbase.parse_error(&body), Some(expected), "{body}");
        }
    }

    #[test]
    fn the_list_shows_which_products_are_traded() {
        let entry = |id: &str, more: &str| {
            let (base, quote) = id.split_once('-').unwrap();
            format!(r#"{{"id":"{id}","base_currency":"{base}","quote_currency":"{quote}",{more}}}"#)
        };
        let body = format!(
            "[{},{},{},{},{},null]",
            entry("BTC-USD", r#""status":"online","limit_only":true"#),
            entry("ETH-USD", r#""status":"offline""#),
            entry("SOL-USD", r#""status":"online","trading_disabled":true"#),
            entry("XRP-USD", r#""status":"online","auction_mode":true"#),
            entry("OLD-USD", r#""status":"delisted""#),
        );
        let list = Coinbase.read_list(body.as_bytes()).unwrap();
        let halted = |pair: &str| list.find(pair.parse().unwrap(), None).map(|listed| listed.is_halted);
        assert_eq!(
            ["BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD"].map(halted),
            [false, true, true, true].map(Some)
        );
        assert_eq!(halted("OLD-USD"), None);
    }
}
