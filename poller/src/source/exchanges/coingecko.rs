//! CoinGecko: simple price. One request returns all pairs. Prices are JSON numbers, and times are in seconds.
//!
//! CoinGecko aggregates exchanges itself and trails them, sometimes by minutes, so it is a fallback by
//! default. We request its timestamps and refuse prices without one, because nothing else shows how old a
//! price is.
//!
//! <https://docs.coingecko.com/reference/simple-price>

use common::domain::{Failure, Pair, Span};
use serde_json::value::RawValue;

use crate::source::{
    exchange::{Exchange, Market, ReportedError, Request, answers},
    interface::{Answers, Role, Sample},
    json::{UniqueObject, price_of_number, seconds_of},
    key::Plan,
    limit::Limit,
};

/// The known coins and CoinGecko's identifiers for them. CoinGecko's symbols are not unique: several coins
/// use BTC.
const COINS: [(&str, &str); 22] = [
    ("BTC", "bitcoin"),
    ("ETH", "ethereum"),
    ("USDT", "tether"),
    ("USDC", "usd-coin"),
    ("DAI", "dai"),
    ("BNB", "binancecoin"),
    ("SOL", "solana"),
    ("XRP", "ripple"),
    ("ADA", "cardano"),
    ("DOGE", "dogecoin"),
    ("TRX", "tron"),
    ("DOT", "polkadot"),
    ("AVAX", "avalanche-2"),
    ("LINK", "chainlink"),
    ("LTC", "litecoin"),
    ("BCH", "bitcoin-cash"),
    ("XLM", "stellar"),
    ("ATOM", "cosmos"),
    ("UNI", "uniswap"),
    ("ETC", "ethereum-classic"),
    ("XMR", "monero"),
    ("ALGO", "algorand"),
];

/// The currencies in which we request prices. All of them are in CoinGecko's list
/// `/simple/supported_vs_currencies`, which has no stablecoins.
const CURRENCIES: [&str; 27] = [
    "USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "NZD", "CNY", "HKD", "SGD", "KRW", "INR", "BRL", "MXN",
    "SEK", "NOK", "DKK", "PLN", "CZK", "TRY", "ZAR", "BTC", "ETH", "LTC", "BCH", "BNB",
];

/// How many decimal places to request: as many as a quote may have. With `full`, CoinGecko returns up to
/// sixteen for cheap coins, more than [`Price`](common::domain::Price) can hold.
const PRECISION: &str = "12";

/// The error code of "too many requests" inside the `status` object.
const TOO_MANY_REQUESTS: &str = "429";

/// CoinGecko refreshes prices once a minute, and has been seen to trail the exchanges by more than that.
const MAX_QUOTE_AGE: Span = Span::from_seconds(180);

pub(super) struct Coingecko;

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
            Some(Plan::Demo) => Some(Limit::new(100, 60)),
            // Each paid plan has its own limit.
            Some(Plan::Pro) => None,
            // Without a key, all clients at the same IP address share the limit, which is not documented.
            None => Some(Limit::new(10, 60).undocumented()),
        }
    }

    /// `bitcoin/usd`: the coin and the currency, which are separate parameters of a request.
    fn symbol(&self, pair: Pair) -> Option<String> {
        let (_, coin) = COINS.iter().find(|(code, _)| *code == pair.base())?;
        CURRENCIES.contains(&pair.quote()).then(|| format!("{coin}/{}", pair.quote().to_ascii_lowercase()))
    }

    fn requests(&self, markets: &[Market]) -> Vec<Request> {
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

    /// `{"error":"Missing parameter ids"}` or `{"status":{"error_code":10002,"error_message":"…"}}`.
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let members: UniqueObject = serde_json::from_str(body).ok()?;
        if members.text("error").is_some() {
            return Some(ReportedError::new(false));
        }
        // A coin is named `status` too, so the member is an error only if it contains a code.
        let status: UniqueObject = serde_json::from_str(members.get("status")?.get()).ok()?;
        let code = status.get("error_code").map(RawValue::get)?;
        Some(ReportedError::new(code == TOO_MANY_REQUESTS))
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
        assert!(pairs().into_iter().all(|pair| Coingecko.symbol(pair).is_some()));
        for pair in ["BTC-USDT", "FOO-USD", "ETH-FOO"] {
            assert!(Coingecko.symbol(pair.parse().unwrap()).is_none(), "{pair}");
        }
    }

    #[test]
    fn one_request_lists_each_name_once() {
        let requests = Coingecko.requests(&Coingecko.markets(&pairs()[..3]));
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
}
