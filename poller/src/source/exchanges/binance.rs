//! Binance: spot prices from its public-data host. One request returns up to twenty pairs with their last trades and best
//! bids and asks. Prices are strings, and no time shows how old a price is. Markets that are not trading are left out.
//!
//! <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints>
//! <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints>
//!
//! Candles are `klines`, which are described with the other market data.

use std::{borrow::Cow, time::Duration};

use common::domain::{Failure, Pair, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::source::{
    candle::{Candle, CandleRange, Candles, from_rows},
    exchange::{Exchange, LIST_WITHOUT_HALTS, ReportedError, Request, answers},
    interface::{Answers, Sample},
    json::{UniqueObject, arrays, if_traded, millis_of, only, price_of, rows},
    key::Plan,
    limit::Limit,
    market::{Market, MarketList, pair_of},
};

/// How many pairs a request may name. A request for up to 20 weighs 2, and one for more weighs 40.
const PAIRS_PER_REQUEST: usize = 20;

/// The error code of "too many requests".
const TOO_MANY_REQUESTS: &str = "-1003";

/// The error code about a symbol that Binance does not know.
const UNKNOWN_SYMBOL: &str = "-1121";

pub(super) struct Binance;

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow, rename = "lastPrice")]
    last: Option<&'a RawValue>,
    #[serde(borrow, rename = "bidPrice")]
    bid: Option<&'a RawValue>,
    #[serde(borrow, rename = "askPrice")]
    ask: Option<&'a RawValue>,
}

/// The list of markets.
#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    symbols: &'a RawValue,
}

/// A market in Binance's list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listing<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    base_asset: Cow<'a, str>,
    #[serde(borrow)]
    quote_asset: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
}

impl Exchange for Binance {
    fn name(&self) -> &'static str {
        "binance"
    }

    fn base_url(&self, _plan: Option<Plan>) -> &'static str {
        "https://data-api.binance.vision"
    }

    fn limit(&self, _plan: Option<Plan>) -> Option<Limit> {
        // Binance allows a weight of 6,000 a minute, and a request for up to 20 symbols weighs 2:
        // https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
        Some(Limit::new(3_000, 60))
    }

    /// `BTCUSDT`. Binance has no market in USD, and USDT is not used in place of USD.
    fn market(&self, pair: Pair) -> Option<Market> {
        let has_dollar = pair.base() == "USD" || pair.quote() == "USD";
        (!has_dollar).then(|| Market::new(pair, format!("{}{}", pair.base(), pair.quote())))
    }

    fn list_is_used_for(&self) -> Duration {
        LIST_WITHOUT_HALTS
    }

    fn list_path(&self) -> Option<&'static str> {
        Some("/api/v3/exchangeInfo?showPermissionSets=false")
    }

    fn parse_list(&self, body: &str) -> Result<MarketList, Failure> {
        let List { symbols } = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        let mut list = MarketList::default();
        for listing in rows::<Listing>(symbols.get())? {
            if let Some(pair) = pair_of(&listing.base_asset, &listing.quote_asset) {
                list.add(Market::new(pair, listing.symbol), listing.status != "TRADING");
            }
        }
        Ok(list)
    }

    fn candles(&self) -> Option<&'static dyn Candles> {
        Some(&Binance)
    }

    fn why_not_served(&self, pair: Pair) -> String {
        format!(
            "binance is not asked for {pair}, because it has no market in USD, and USDT is not used in place of USD; use a \
             pair such as BTC-USDT, or remove binance from feed.sources"
        )
    }

    fn requests(&self, markets: &[Market], _most: usize) -> Vec<Request> {
        let request = |markets: &[Market]| {
            // `["BTCUSDT","ETHUSDT"]`, percent-encoded. Symbols have no characters that need encoding.
            let symbols: Vec<String> =
                markets.iter().map(|market| format!("%22{}%22", market.symbol)).collect();
            let symbols = symbols.join(",");
            let path = format!("/api/v3/ticker/24hr?symbolStatus=TRADING&symbols=%5B{symbols}%5D");
            Request { path, markets: markets.to_vec() }
        };
        markets.chunks(PAIRS_PER_REQUEST).map(request).collect()
    }

    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        let rows: Vec<Row> = rows(body)?;
        let read = |market: &Market| {
            let row = only(rows.iter().filter(|row| market.has_name(&row.symbol)))?;
            let side = |value| price_of(value).ok();
            // A market that was removed may still be listed, with prices of zero.
            Sample::quoted(if_traded(row.last, price_of)?, side(row.bid), side(row.ask))
        };
        Ok(answers(markets, read))
    }

    /// `{"code":-1121,"msg":"Invalid symbol."}`
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let members: UniqueObject = serde_json::from_str(body).ok()?;
        let code = members.get("code")?.get();
        Some(match code {
            TOO_MANY_REQUESTS => ReportedError::new(Failure::RateLimited),
            UNKNOWN_SYMBOL => ReportedError::unknown_symbol(),
            _ => ReportedError::new(Failure::Refused),
        })
    }
}

/// `klines`, which weigh 2 like prices. Rows are start, open, high, low, close, and more.
impl Candles for Binance {
    fn most(&self) -> u16 {
        1_000
    }

    fn path(&self, market: &Market, range: CandleRange) -> String {
        let [start, end] = [range.first, range.last].map(Timestamp::unix_millis);
        let (symbol, limit) = (&market.symbol, range.count());
        format!("/api/v3/klines?symbol={symbol}&interval=1m&limit={limit}&startTime={start}&endTime={end}")
    }

    fn parse(&self, body: &str, _market: &Market) -> Result<Vec<Candle>, Failure> {
        from_rows(&arrays(body)?, 4, millis_of, price_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
        Binance.read(body, &Binance.markets(pairs))
    }

    const BODY: &str = r#"[{"symbol":"BTCUSDT","lastPrice":"77726.10000000","bidPrice":"77726.00000000","askPrice":"77726.20000000","closeTime":1779092258000},{"symbol":"ETHUSDT","lastPrice":"2112.40000000"}]"#;

    fn pairs() -> [Pair; 3] {
        ["BTC-USDT", "ETH-USDT", "ETH-BTC"].map(|pair| pair.parse().unwrap())
    }

    #[test]
    fn tether_is_not_the_dollar() {
        assert!(pairs().into_iter().all(|pair| Binance.market(pair).is_some()));
        for pair in ["BTC-USD", "EUR-USD", "USD-JPY"] {
            assert!(Binance.market(pair.parse().unwrap()).is_none(), "{pair}");
        }
    }

    #[test]
    fn one_request_without_spaces_asks_for_all_pairs() {
        let requests = Binance.requests(&Binance.markets(&pairs()[..2]), 10);
        assert_eq!(requests.len(), 1);
        assert_eq!(
            requests[0].path,
            "/api/v3/ticker/24hr?symbolStatus=TRADING&symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D"
        );
    }

    #[test]
    fn the_requested_market_is_read() {
        let answers = parse(BODY.as_bytes(), &pairs()).unwrap();
        let price = |at: usize| answers[&pairs()[at]].map(|sample| sample.reported.last.unwrap().to_string());
        assert_eq!(price(0).as_deref(), Ok("77726.10000000"));
        assert_eq!(price(1).as_deref(), Ok("2112.40000000"));
        assert_eq!(price(2), Err(Failure::Missing));
        let nothing = parse(b"[]", &pairs()).unwrap();
        assert!(nothing.values().all(|answer| *answer == Err(Failure::Missing)));
    }

    #[test]
    fn other_bodies_and_invalid_prices_are_refused() {
        for (body, expected) in [
            ("", Failure::Malformed),
            ("{}", Failure::Malformed),
            ("[{}]", Failure::Malformed),
            (r#"[["BTCUSDT","77726.1"]]"#, Failure::Malformed),
            (r#"{"symbol":"BTCUSDT","lastPrice":"1"}"#, Failure::Malformed),
            (r#"{"code":-1121,"msg":"Invalid symbol."}"#, Failure::Refused),
            (r#"{"code":-1003,"msg":"Too many requests."}"#, Failure::RateLimited),
            (r#"{"code":0,"msg":"Service unavailable from a restricted location"}"#, Failure::Refused),
        ] {
            assert_eq!(parse(body.as_bytes(), &pairs()), Err(expected), "{body}");
        }
        let btc = pairs()[0];
        let alone = r#"[{"symbol":"BTCUSDT","lastPrice":PRICE}]"#;
        for price in [r#""0""#, r#""-1""#, r#""$46707.03000000""#, r#""1e5""#, "1e400", "[]"] {
            let body = alone.replace("PRICE", price);
            assert_eq!(parse(body.as_bytes(), &[btc]).unwrap()[&btc], Err(Failure::Invalid), "{price}");
        }
    }

    #[test]
    fn the_best_bid_and_ask_are_read_and_zero_means_that_there_is_none() {
        let sample = parse(BODY.as_bytes(), &pairs()).unwrap()[&pairs()[0]].unwrap();
        assert_eq!(
            sample.reported.to_string(),
            "last 77726.10000000, bid 77726.00000000, ask 77726.20000000"
        );
        assert_eq!((sample.trade_time, sample.book_time), (None, None));
        let removed = r#"[{"symbol":"BTCUSDT","lastPrice":"0.00000000","bidPrice":"0.00000000","askPrice":"0.00000000"}]"#;
        assert_eq!(parse(removed.as_bytes(), &pairs()[..1]).unwrap()[&pairs()[0]], Err(Failure::Invalid));
    }

    #[test]
    fn more_than_twenty_pairs_take_several_requests() {
        let many: Vec<Pair> = (0..41).map(|number| format!("A{number}-USDT").parse().unwrap()).collect();
        let requests = Binance.requests(&Binance.markets(&many), 10);
        let counts: Vec<usize> = requests.iter().map(|request| request.markets.len()).collect();
        assert_eq!(counts, [20, 20, 1]);
    }

    #[test]
    fn the_list_shows_which_markets_are_traded() {
        let body = r#"{"timezone":"UTC","symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT"},{"symbol":"ETHUSDT","status":"BREAK","baseAsset":"ETH","quoteAsset":"USDT"},{"symbol":1}]}"#;
        let list = Binance.read_list(body.as_bytes()).unwrap();
        assert!(
            !list.find(pairs()[0], None).unwrap().is_halted && list.find(pairs()[1], None).unwrap().is_halted
        );
        assert!(list.find(pairs()[2], None).is_none());
        assert!(
            Binance.read_list(r#"{"symbols":[]}"#.as_bytes()).is_err()
                && Binance.read_list("[]".as_bytes()).is_err()
        );
    }

    #[test]
    fn an_unknown_symbol_fails_the_whole_request() {
        let unknown = Binance.parse_error(r#"{"code":-1121,"msg":"Invalid symbol."}"#);
        assert_eq!(unknown, Some(ReportedError::unknown_symbol()));
        let other = Binance.parse_error(r#"{"code":-1100,"msg":"Illegal characters"}"#).unwrap();
        assert!(!other.blames_symbol);
    }
}
