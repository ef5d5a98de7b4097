//! CoinGecko's simple price: one request for all pairs, JSON numbers, seconds.
//!
//! It is an aggregate of exchanges itself and trails them, by minutes at times: a fallback. Its own time is
//! asked for, and a price without one is refused: nothing else tells how old the price is.

use common::domain::{Failure, Pair};
use serde_json::value::RawValue;

use super::{
    Answers, Sample,
    http::Request,
    number::{each, number_of, seconds_of},
    unique::Unique,
};

/// The coins we know by CoinGecko's names for them. Symbols are not unique there: more than one coin calls
/// itself BTC.
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

/// What it counts prices in, as far as we use it: `/simple/supported_vs_currencies`. No stablecoin is
/// among them.
const CURRENCIES: [&str; 27] = [
    "USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "NZD", "CNY", "HKD", "SGD", "KRW", "INR", "BRL", "MXN",
    "SEK", "NOK", "DKK", "PLN", "CZK", "TRY", "ZAR", "BTC", "ETH", "LTC", "BCH", "BNB",
];

/// The places asked for: as many as a source's price may have. `full` gives up to sixteen for cheap coins,
/// which no price of ours can keep.
const PRECISION: &str = "12";

/// The code of "too many requests" inside its status object.
const TOO_MANY_REQUESTS: &str = "429";

/// Whether both the coin and the currency are known.
pub(super) fn serves(pair: Pair) -> bool {
    coin(&pair).is_some() && CURRENCIES.contains(&pair.quote())
}

pub(super) fn requests(pairs: &[Pair]) -> Vec<Request> {
    let mut coins: Vec<&str> = pairs.iter().filter_map(coin).collect();
    let mut currencies: Vec<String> = pairs.iter().map(currency).collect();
    coins.sort_unstable();
    coins.dedup();
    currencies.sort_unstable();
    currencies.dedup();
    // No spaces: one before a coin's name silently drops it.
    let path = format!(
        "/api/v3/simple/price?ids={}&vs_currencies={}&include_last_updated_at=true&precision={PRECISION}",
        coins.join(","),
        currencies.join(",")
    );
    vec![Request { path, pairs: pairs.to_vec() }]
}

pub(super) fn parse(body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
    if let Some(complaint) = complaint(body) {
        return Err(complaint);
    }
    let coins: Unique = serde_json::from_slice(body).map_err(|_| Failure::Malformed)?;
    let answer = |pair: &Pair| {
        let coin = coin(pair).and_then(|coin| coins.get(coin)).ok_or(Failure::Missing)?;
        let prices: Unique = serde_json::from_str(coin.get()).map_err(|_| Failure::Malformed)?;
        let price = prices.get(&currency(pair)).ok_or(Failure::Missing)?;
        let price = number_of(Some(price))?;
        Ok(Sample { price, time: Some(seconds_of(prices.get("last_updated_at"))?) })
    };
    Ok(each(pairs, answer))
}

/// `{"error":"Missing parameter ids"}` or `{"status":{"error_code":10002,"error_message":"…"}}`.
pub(super) fn complaint(body: &[u8]) -> Option<Failure> {
    let fields: Unique = serde_json::from_slice(body).ok()?;
    if fields.text("error").is_some() {
        return Some(Failure::Refused);
    }
    // A coin calls itself `status`: only a code makes it an error.
    let status: Unique = serde_json::from_str(fields.get("status")?.get()).ok()?;
    let code = status.get("error_code").map(RawValue::get)?;
    Some(if code == TOO_MANY_REQUESTS { Failure::RateLimited } else { Failure::Refused })
}

fn coin(pair: &Pair) -> Option<&'static str> {
    COINS.iter().find(|(symbol, _)| *symbol == pair.base()).map(|(_, coin)| *coin)
}

fn currency(pair: &Pair) -> String {
    pair.quote().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"bitcoin":{"usd":76975,"eur":66512.3400000001,"usd_market_cap":1.5,"last_updated_at":1779092258},"ethereum":{}}"#;

    fn pairs() -> [Pair; 4] {
        ["BTC-USD", "BTC-EUR", "ETH-USD", "SOL-USD"].map(|pair| pair.parse().unwrap())
    }

    #[test]
    fn known_coins_and_currencies_are_served() {
        assert!(pairs().into_iter().all(serves));
        for pair in ["BTC-USDT", "FOO-USD", "ETH-FOO"] {
            assert!(!serves(pair.parse().unwrap()), "{pair}");
        }
    }

    #[test]
    fn one_request_asks_for_each_name_once() {
        let requests = requests(&pairs()[..3]);
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
        assert_eq!(sample.price.to_string(), "76975");
        assert_eq!(sample.time.unwrap().unix_millis(), 1_779_092_258_000);
        assert_eq!(answers[&pairs()[1]].unwrap().price.to_string(), "66512.3400000001");
        assert_eq!(answers[&pairs()[2]], Err(Failure::Missing));
        assert_eq!(answers[&pairs()[3]], Err(Failure::Missing));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
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
