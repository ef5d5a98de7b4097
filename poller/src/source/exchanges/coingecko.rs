//! CoinGecko: simple price. One request returns all pairs. Prices are JSON numbers, and times are in seconds.
//!
//! CoinGecko aggregates exchanges itself and trails them, sometimes by minutes, so it is a fallback by
//! default. We request its timestamps and refuse prices without one, because nothing else shows how old a
//! price is.
//!
//! <https://docs.coingecko.com/reference/simple-price>
//! <https://docs.coingecko.com/reference/coins-list>

use std::{borrow::Cow, collections::BTreeSet, time::Duration};

use common::{
    coins::COINS,
    domain::{Failure, Pair, Span},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::source::{
    exchange::{Exchange, ReportedError, Request, answers},
    interface::{Answers, Role, Sample},
    json::{UniqueObject, price_of_number, rows, seconds_of},
    key::Plan,
    limit::Limit,
    market::{Market, MarketList},
};

/// The currencies in which we request prices. All of them are in CoinGecko's list
/// `/simple/supported_vs_currencies`, which has no stablecoins.
const CURRENCIES: [&str; 27] = [
    "USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "NZD", "CNY", "HKD", "SGD", "KRW", "INR", "BRL", "MXN",
    "SEK", "NOK", "DKK", "PLN", "CZK", "TRY", "ZAR", "BTC", "ETH", "LTC", "BCH", "BNB",
];

/// How many decimal places to request: as many as a quote may have. With `full`, CoinGecko returns up to
/// sixteen for cheap coins, more than [`Price`](common::domain::Price) can hold.
const PRECISION: &str = "12";

/// The error code of "too many requests".
const TOO_MANY_REQUESTS: &str = "429";

/// Coins hardly ever disappear, and every request counts towards the monthly limit.
const LIST_OF_COINS: Duration = Duration::from_secs(86_400);

/// How many requests a month the demo plan allows: <https://www.coingecko.com/en/api/pricing>
const DEMO_REQUESTS_PER_MONTH: u32 = 10_000;

/// CoinGecko refreshes prices once a minute, and has been seen to trail the exchanges by more than that.
const MAX_QUOTE_AGE: Span = Span::from_seconds(180);

pub(super) struct Coingecko;

/// A coin in CoinGecko's list.
#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

impl Exchange for Coingecko {
    fn name(&self) -> &'static str {
        "coingecko"
    }

    fn base_url(&self, plan: Option<Plan>) -> &'static str {
        match plan {
            Some(Plan::Pro) => "https://pro-api.coingecko.com",
            Some(Plan::Demo) | None => "https://api.coingecko.com",
        }
    }

    fn limit(&self, plan: Option<Plan>) -> Option<Limit> {
        // https://docs.coingecko.com/docs/errors-and-rate-limits
        match plan {
            Some(Plan::Demo) => Some(Limit::new(100, 60).with_month(DEMO_REQUESTS_PER_MONTH)),
            // Each paid plan has its own limit.
            Some(Plan::Pro) => None,
            // Without a key, all clients at the same IP address share the limit, which is not documented.
            None => Some(Limit::new(10, 60).undocumented()),
        }
    }

    /// `bitcoin/usd`: the coin and the currency, which are separate parameters of a request.
    fn market(&self, pair: Pair) -> Option<Market> {
        let coin = COINS.iter().find(|coin| coin.asset == pair.base())?;
        let is_known = CURRENCIES.contains(&pair.quote());
        is_known.then(|| Market::new(pair, format!("{}/{}", coin.id, pair.quote().to_ascii_lowercase())))
    }

    fn list_is_used_for(&self) -> Duration {
        LIST_OF_COINS
    }

    fn list_path(&self) -> Option<&'static str> {
        Some("/api/v3/coins/list")
    }

    /// `[{"id":"bitcoin","symbol":"btc","name":"Bitcoin"}]`. The list shows which of the known coins CoinGecko still has.
    fn parse_list(&self, body: &str) -> Result<MarketList, Failure> {
        let ids: BTreeSet<Cow<str>> = rows::<Listing>(body)?.into_iter().map(|listing| listing.id).collect();
        let mut list = MarketList::default();
        for coin in COINS.iter().filter(|coin| ids.contains(coin.id)) {
            let pairs =
                CURRENCIES.iter().filter_map(|currency| format!("{}-{currency}", coin.asset).parse().ok());
            pairs.filter_map(|pair| self.market(pair)).for_each(|market| list.add(market, false));
        }
        Ok(list)
    }

    fn requests(&self, markets: &[Market], _most: usize) -> Vec<Request> {
        let (mut coins, mut currencies): (Vec<&str>, Vec<&str>) = markets.iter().filter_map(names).unzip();
        for names in [&mut coins, &mut currencies] {
            names.sort_unstable();
            names.dedup();
        }
        // No spaces: CoinGecko silently ignores a coin whose name follows a space.
        let path = format!(
            "/api/v3/simple/price?ids={}&vs_currencies={}&include_last_updated_at=true&precision={PRECISION}",
            coins.join(","),
            currencies.join(",")
        );
        Request::for_all(path, markets)
    }

    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        let coins: UniqueObject = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
        let read = |market: &Market| {
            let (coin, currency) = names(market).ok_or(Failure::Missing)?;
            let coin = coins.get(coin).ok_or(Failure::Missing)?;
            let members: UniqueObject = serde_json::from_str(coin.get()).map_err(|_| Failure::Malformed)?;
            let price = members.get(currency).ok_or(Failure::Missing)?;
            let price = price_of_number(Some(price))?;
            Ok(Sample::traded(price, Some(seconds_of(members.get("last_updated_at"))?)))
        };
        Ok(answers(markets, read))
    }

    /// `{"error":"Missing parameter ids"}`, `{"status":{"error_code":10002,"error_message":"…"}}` or
    /// `{"error_code":10010,"status":{"error_message":"…"}}`.
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let members: UniqueObject = serde_json::from_str(body).ok()?;
        if members.text("error").is_some() {
            return Some(ReportedError::new(Failure::Refused));
        }
        // A coin is named `status` too, so the member is an error only if there is a code.
        let status = members.get("status").and_then(|status| serde_json::from_str(status.get()).ok());
        let in_status = status.and_then(|status: UniqueObject| status.get("error_code"));
        let code = members.get("error_code").or(in_status).map(RawValue::get)?;
        let is_rate_limit = code == TOO_MANY_REQUESTS;
        Some(ReportedError::new(if is_rate_limit { Failure::RateLimited } else { Failure::Refused }))
    }

    /// CoinGecko ignores a key in the wrong header.
    fn key_header(&self, plan: Plan) -> Option<&'static str> {
        Some(match plan {
            Plan::Demo => "x-cg-demo-api-key",
            Plan::Pro => "x-cg-pro-api-key",
        })
    }

    fn default_role(&self) -> Role {
        Role::Fallback
    }

    fn default_max_quote_age(&self) -> Option<Span> {
        Some(MAX_QUOTE_AGE)
    }
}

/// The coin and the currency in a symbol.
fn names(market: &Market) -> Option<(&str, &str)> {
    market.symbol.split_once('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
        Coingecko.read(body, &Coingecko.markets(pairs))
    }

    const BODY: &str = r#"{"bitcoin":{"usd":76975,"eur":66512.3400000001,"usd_market_cap":1.5,"last_updated_at":1779092258},"ethereum":{}}"#;

    fn pairs() -> [Pair; 4] {
        ["BTC-USD", "BTC-EUR", "ETH-USD", "SOL-USD"].map(|pair| pair.parse().unwrap())
    }

    #[test]
    fn known_coins_and_currencies_are_served() {
        assert!(pairs().into_iter().all(|pair| Coingecko.market(pair).is_some()));
        for pair in ["BTC-USDT", "FOO-USD", "ETH-FOO"] {
            assert!(Coingecko.market(pair.parse().unwrap()).is_none(), "{pair}");
        }
    }

    #[test]
    fn one_request_lists_each_name_once() {
        let requests = Coingecko.requests(&Coingecko.markets(&pairs()[..3]), 10);
        assert_eq!(requests.len(), 1);
        assert_eq!(
            requests[0].path,
            "/api/v3/simple/price?ids=bitcoin,ethereum&vs_currencies=eur,usd\
             &include_last_updated_at=true&precision=12"
        );
    }

    #[test]
    fn price_and_time_are_read() {
        let answers = parse(BODY.as_bytes(), &pairs()).unwrap();
        let sample = answers[&pairs()[0]].unwrap();
        assert_eq!(sample.reported.last.unwrap().to_string(), "76975");
        assert_eq!(sample.trade_time.unwrap().unix_millis(), 1_779_092_258_000);
        assert_eq!(answers[&pairs()[1]].unwrap().reported.last.unwrap().to_string(), "66512.3400000001");
        assert_eq!(answers[&pairs()[2]], Err(Failure::Missing));
        assert_eq!(answers[&pairs()[3]], Err(Failure::Missing));
    }

    #[test]
    fn other_bodies_and_invalid_prices_are_refused() {
        for (body, expected) in [
            ("", Failure::Malformed),
            ("[]", Failure::Malformed),
            (r#"{"bitcoin":{},"bitcoin":{"usd":1}}"#, Failure::Malformed),
            (r#"{"error":"Missing parameter ids"}"#, Failure::Refused),
            (r#"{"status":{"error_code":10002,"error_message":"API Key Missing"}}"#, Failure::Refused),
            (r#"{"status":{"error_code":429,"error_message":"Rate Limit"}}"#, Failure::RateLimited),
        ] {
            assert_eq!(parse(body.as_bytes(), &pairs()), Err(expected), "{body}");
        }
        let btc = pairs()[0];
        let now = r#""last_updated_at":1779092258"#;
        for (from, to, expected) in [
            ("76975", "0", Failure::Invalid),
            ("76975", "-1", Failure::Invalid),
            ("76975", "1e400", Failure::Invalid),
            ("76975", "null", Failure::Invalid),
            ("76975", r#""76975""#, Failure::Invalid),
            ("76975", "1.0000000000001", Failure::Invalid),
            ("76975,", r#"76975,"usd":1,"#, Failure::Malformed),
            (now, r#""last_updated_at":1.5"#, Failure::Invalid),
            (now, r#""other":1"#, Failure::Malformed),
        ] {
            let body = BODY.replace(from, to);
            assert_eq!(parse(body.as_bytes(), &[btc]).unwrap()[&btc], Err(expected), "{to}");
        }
    }

    #[test]
    fn errors_have_their_meanings() {
        for (body, expected) in [
            (r#"{"error_code":10010,"status":{"error_message":"host"}}"#, Failure::Refused),
            (r#"{"error_code":429,"status":{"error_message":"slow down"}}"#, Failure::RateLimited),
        ] {
            assert_eq!(Coingecko.parse_error(body), Some(ReportedError::new(expected)), "{body}");
        }
        let coin = r#"{"status":{"usd":0.0098,"last_updated_at":1}}"#;
        assert_eq!(Coingecko.parse_error(coin), None);
    }

    #[test]
    fn a_coin_that_is_no_longer_in_the_list_is_left_out() {
        let body = r#"[{"id":"bitcoin","symbol":"btc","name":"Bitcoin"},{"id":"other","symbol":"eth"},null]"#;
        let list = Coingecko.read_list(body.as_bytes()).unwrap();
        let has = |pair: &str| list.find(pair.parse().unwrap(), None).is_some();
        assert!(has("BTC-USD") && has("BTC-ETH") && !has("ETH-USD") && !has("BTC-USDT"));
        assert!(Coingecko.read_list(r#"[{"id":"other"}]"#.as_bytes()).is_err());
    }
}
