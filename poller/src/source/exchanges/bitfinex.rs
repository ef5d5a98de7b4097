//! Bitfinex: tickers. One request returns all pairs. Rows have no member names, prices are JSON numbers, and
//! there are no timestamps.
//!
//! <https://docs.bitfinex.com/reference/rest-public-tickers>
//! <https://docs.bitfinex.com/reference/rest-public-conf>
//! <https://docs.bitfinex.com/reference/rest-public-candles>

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use common::domain::{Failure, Pair, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::source::{
    candle::{Candle, CandleRange, Candles, from_rows},
    exchange::{Exchange, LIST_WITHOUT_HALTS, ReportedError, Request, answers},
    interface::{Answers, Sample},
    json::{UniqueObject, arrays, if_traded, millis_of, only, price_of_number},
    key::Plan,
    limit::Limit,
    market::{Market, MarketList, pair_of},
};

/// The least number of columns of a trading pair's row: symbol, bid, size, ask, size, change, relative change, last,
/// volume, high, low. More may follow.
const COLUMNS: usize = 11;

/// The column with the price of the last trade.
const LAST: usize = 7;
/// The columns of the best bid and ask.
const BID: usize = 1;
const ASK: usize = 3;

/// Bitfinex's own codes for assets. They are used until Bitfinex's list has arrived. A code in the second column stands
/// for that asset only: AMP is Ampleforth, so there is no market of the coin that others call AMP.
const OWN_CODES: [(&str, &str); 42] = [
    ("ABYSS", "ABS"),
    ("AION", "AIO"),
    ("ALGO", "ALG"),
    ("AMPL", "AMP"),
    ("ATOM", "ATO"),
    ("BCH", "BCHN"),
    ("CS", "CSX"),
    ("CTXC", "CTX"),
    ("DASH", "DSH"),
    ("DATA", "DAT"),
    ("DRGN", "DRN"),
    ("DT", "DTX"),
    ("EDGE", "DAD"),
    ("EURS", "EUS"),
    ("EURT", "EUT"),
    ("GUSD", "GSD"),
    ("IOST", "IOS"),
    ("IOTA", "IOT"),
    ("LBTC", "LBT"),
    ("MANA", "MNA"),
    ("MITH", "MIT"),
    ("NCASH", "NCA"),
    ("OMNI", "OMN"),
    ("PASS", "PAS"),
    ("POLY", "POY"),
    ("QASH", "QSH"),
    ("QTUM", "QTM"),
    ("RBTC", "RBT"),
    ("SNGLS", "SNG"),
    ("SPANK", "SPK"),
    ("STORJ", "STJ"),
    ("TUSD", "TSD"),
    ("USDC", "UDC"),
    ("USDK", "USK"),
    ("USDT", "UST"),
    ("UTNP", "UTN"),
    ("VSYS", "VSY"),
    ("WBTC", "WBT"),
    ("XCHF", "XCH"),
    ("XD", "SCR"),
    ("YEED", "YGG"),
    ("YOYOW", "YYW"),
];

/// The error codes of an unknown symbol and of maintenance.
const UNKNOWN_SYMBOL: &str = "10020";
const MAINTENANCE: &str = "20060";

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
    fn market(&self, pair: Pair) -> Option<Market> {
        let (base, quote) = (own_code(pair.base())?, own_code(pair.quote())?);
        let colon = if base.len() > 3 || quote.len() > 3 { ":" } else { "" };
        Some(Market::new(pair, format!("t{base}{colon}{quote}")))
    }

    fn list_is_used_for(&self) -> Duration {
        LIST_WITHOUT_HALTS
    }

    fn list_path(&self) -> Option<&'static str> {
        Some("/v2/conf/pub:list:pair:exchange,pub:map:currency:sym")
    }

    /// `[["BTCUSD","LINK:USD"],[["UST","USDt"]]]`: the markets, and the assets whose codes are not the usual ones.
    fn parse_list(&self, body: &str) -> Result<MarketList, Failure> {
        let (names, codes): (Vec<&RawValue>, Vec<&RawValue>) =
            serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        let codes = codes.iter().filter_map(|row| serde_json::from_str::<(String, String)>(row.get()).ok());
        let codes: BTreeMap<String, String> = codes.collect();
        let common = |own: &str| codes.get(own).map_or(own, String::as_str).to_owned();
        let mut list = MarketList::default();
        for name in names.iter().filter_map(|name| text(Some(name))) {
            let parts = name.split_once(':').or_else(|| name.split_at_checked(3));
            let code = |own: &str| usual(&common(own));
            if let Some(pair) = parts.and_then(|(base, quote)| pair_of(&code(base), &code(quote))) {
                list.add(Market::new(pair, format!("t{name}")), false);
            }
        }
        Ok(list)
    }

    fn candles(&self) -> Option<&'static dyn Candles> {
        Some(&Bitfinex)
    }

    fn requests(&self, markets: &[Market], _most: usize) -> Vec<Request> {
        let symbols: Vec<&str> = markets.iter().map(|market| market.symbol.as_str()).collect();
        Request::for_all(format!("/v2/tickers?symbols={}", symbols.join(",")), markets)
    }

    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        let elements: Vec<&RawValue> = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        // A row that cannot be read may belong to a market that nobody asked for.
        let rows = elements.iter().filter_map(|row| serde_json::from_str::<Vec<&RawValue>>(row.get()).ok());
        let named: Vec<_> = rows.filter_map(|row| Some((text(row.first())?, row))).collect();
        if named.is_empty() && !elements.is_empty() {
            return Err(Failure::Malformed);
        }
        let read = |market: &Market| {
            let (_, row) = only(named.iter().filter(|(name, _)| market.has_name(name)))?;
            if row.len() < COLUMNS {
                return Err(Failure::Malformed);
            }
            let value = |column: usize| row.get(column).copied();
            let side = |column| price_of_number(value(column)).ok();
            Sample::quoted(if_traded(value(LAST), price_of_number)?, side(BID), side(ASK))
        };
        Ok(answers(markets, read))
    }

    /// `["error",10020,"symbol: invalid"]`, or `{"error":"ERR_RATE_LIMIT"}`.
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let (code, message) = match serde_json::from_str::<UniqueObject>(body) {
            Ok(members) => (None, members.text("error")?.into_owned()),
            Err(_) => {
                let row: Vec<&RawValue> = serde_json::from_str(body).ok()?;
                text(row.first()).filter(|first| first == "error")?;
                (row.get(1).map(|code| code.get()), text(row.get(2)).unwrap_or_default().into_owned())
            }
        };
        Some(match code {
            Some(UNKNOWN_SYMBOL) => ReportedError::unknown_symbol(),
            Some(MAINTENANCE) => ReportedError::new(Failure::Unavailable),
            // An object contains the documented `ERR_RATE_LIMIT`, and an array contains `ratelimit: error`.
            _ if message.contains("RATE_LIMIT") || message.starts_with("ratelimit") => {
                ReportedError::new(Failure::RateLimited)
            }
            _ => ReportedError::new(Failure::Refused),
        })
    }
}

/// Rows are start, open, close, high, low, volume. Minutes without trades are left out.
impl Candles for Bitfinex {
    fn most(&self) -> u16 {
        10_000
    }

    fn path(&self, market: &Market, range: CandleRange) -> String {
        let [start, end] = [range.first, range.last].map(Timestamp::unix_millis);
        let (symbol, limit) = (&market.symbol, range.count());
        format!("/v2/candles/trade:1m:{symbol}/hist?limit={limit}&sort=-1&start={start}&end={end}")
    }

    fn parse(&self, body: &str, _market: &Market) -> Result<Vec<Candle>, Failure> {
        from_rows(&arrays(body)?, 2, millis_of, price_of_number)
    }
}

fn text<'a>(value: Option<&&'a RawValue>) -> Option<Cow<'a, str>> {
    serde_json::from_str::<Text<'a>>(value?.get()).ok().map(|text| text.0)
}

/// Bitfinex's code for an asset. None if Bitfinex uses the code for another asset.
fn own_code(code: &str) -> Option<&str> {
    let own = OWN_CODES.into_iter().find(|(common, _)| *common == code).map(|(_, own)| own);
    let is_of_another = || OWN_CODES.into_iter().any(|(_, own)| own == code);
    own.or_else(|| (!is_of_another()).then_some(code))
}

/// The usual code of an asset that Bitfinex's own list writes differently: `USDt` is USDT, and BAB and BCHN are BCH.
fn usual(code: &str) -> String {
    match code {
        "BAB" | "BCHN" => "BCH".to_owned(),
        "ALG" => "ALGO".to_owned(),
        _ => code.to_ascii_uppercase(),
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
        let requests = Bitfinex.requests(&Bitfinex.markets(&pairs()), 10);
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].path, "/v2/tickers?symbols=tBTCUSD,tDOGE:USD,tETHUST");
    }

    #[test]
    fn the_last_trade_is_read_exactly() {
        let answers = parse(BODY.as_bytes(), &pairs()).unwrap();
        let price = |at: usize| answers[&pairs()[at]].map(|sample| sample.reported.last.unwrap().to_string());
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
            (r#"["error",20060,"maintenance"]"#, Failure::Unavailable),
            (r#"["error",11010,"ratelimit: error"]"#, Failure::RateLimited),
            (r#"{"error":"ERR_RATE_LIMIT"}"#, Failure::RateLimited),
            (r#"{"error":"ERR_OTHER"}"#, Failure::Refused),
        ] {
            assert_eq!(parse(body.as_bytes(), &pairs()), Err(expected), "{body}");
        }
        let btc = pairs()[0];
        for (last, expected) in [
            ("-7381.2", Failure::Invalid),
            ("1e400", Failure::Invalid),
            (r#""7381.2""#, Failure::Invalid),
            ("7381.2000000000001", Failure::Invalid),
        ] {
            let body = BODY.replace("7381.2,", &format!("{last},"));
            assert_eq!(parse(body.as_bytes(), &pairs()).unwrap()[&btc], Err(expected), "{last}");
        }
    }

    #[test]
    fn the_best_bid_and_ask_are_read_and_an_empty_side_is_left_out() {
        let btc = pairs()[0];
        for (bid, ask, last, expected) in [
            ("7381.6", "7381.7", "7381.2", "last 7381.2, bid 7381.6, ask 7381.7"),
            ("7.3816e3", "7381.7", "7381.2", "last 7381.2, bid 7381.6, ask 7381.7"),
            ("0", "7381.7", "7381.2", "last 7381.2, ask 7381.7"),
            ("7381.6", "null", "7381.2", "last 7381.2, bid 7381.6"),
            ("null", "0", "7381.2", "last 7381.2"),
            ("7381.6", "7381.7", "0", "bid 7381.6, ask 7381.7"),
            ("7381.6", "7381.7", "null", "bid 7381.6, ask 7381.7"),
            (r#""7381.6""#, "1e400", "7381.2", "last 7381.2"),
        ] {
            let body = BODY.replace("7381.6,", &format!("{bid},"));
            let body = body.replace("7381.7,", &format!("{ask},")).replace("7381.2,", &format!("{last},"));
            let sample = parse(body.as_bytes(), &pairs()).unwrap()[&btc].unwrap();
            assert_eq!(sample.reported.to_string(), expected);
            assert_eq!((sample.trade_time, sample.book_time), (None, None));
        }
        let empty = BODY.replace("7381.6,", "0,").replace("7381.2,", "0,");
        assert_eq!(parse(empty.as_bytes(), &pairs()).unwrap()[&btc], Err(Failure::Invalid));
    }

    #[test]
    fn an_odd_row_does_no_harm_and_further_columns_are_allowed() {
        let longer = BODY.replace("],[", ",1,null],[").replace("]]", ",1,null]]");
        let body = longer.replace("[[", r#"[null,7,[],["fUSD",0.0003],{"a":1},["tXYZUSD"],["#);
        let answers = parse(BODY.as_bytes(), &pairs()).unwrap();
        assert!(answers[&pairs()[0]].is_ok());
        for (pair, answer) in parse(body.as_bytes(), &pairs()).unwrap() {
            assert_eq!(answer, answers[&pair], "{body}");
        }
        let short = r#"[["tBTCUSD",7381.6,38,7381.7,32,126.6,0.0175,7381.2,1982,7390]]"#;
        assert_eq!(parse(short.as_bytes(), &pairs()).unwrap()[&pairs()[0]], Err(Failure::Malformed));
    }

    #[test]
    fn the_list_names_markets_and_renamed_assets() {
        let body = r#"[["BTCUSD","LINK:UST","ATOUSD","BCHN:USD","BTCF0:USTF0",7,"ÄÖ"],[["UST","USDt"],["ATO","ATOM"],["BAB","BCH"],["LES","LEO-EOS"]]]"#;
        let list = Bitfinex.read_list(body.as_bytes()).unwrap();
        let symbol =
            |pair: &str| list.find(pair.parse().unwrap(), None).map(|listed| listed.market.symbol.clone());
        assert_eq!(symbol("BTC-USD").as_deref(), Some("tBTCUSD"));
        assert_eq!(symbol("LINK-USDT").as_deref(), Some("tLINK:UST"));
        assert_eq!(symbol("ATOM-USD").as_deref(), Some("tATOUSD"));
        assert_eq!(symbol("BCH-USD").as_deref(), Some("tBCHN:USD"));
        assert_eq!(symbol("ATO-USD"), None);
        for other in ["[]", "[[],[]]", r#"[["BTCUSD"]]"#, "{}", ""] {
            assert!(Bitfinex.read_list(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn a_code_of_another_asset_has_no_market() {
        let market = |pair: &str| Bitfinex.market(pair.parse().unwrap()).map(|market| market.symbol);
        assert_eq!(market("AMPL-USD").as_deref(), Some("tAMPUSD"));
        assert_eq!(market("AMP-USD"), None);
        assert_eq!(market("DASH-USD").as_deref(), Some("tDSHUSD"));
    }
}
