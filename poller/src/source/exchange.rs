//! The exchanges we know how to ask, and what is particular about each.

use common::domain::{Failure, Pair};

use super::{
    Answers, Limit, Plan, binance, bitfinex, bitstamp, coinbase, coingecko, gemini, http::Request, kraken,
};

common::words! {
    /// The exchanges we know how to ask.
    pub enum Exchange ("exchange") {
        /// <https://docs.kraken.com/api/docs/rest-api/get-ticker-information>
        Kraken = "kraken",
        /// <https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproductticker>
        Coinbase = "coinbase",
        /// <https://www.bitstamp.net/api/#tag/Tickers>
        Bitstamp = "bitstamp",
        /// <https://docs.gemini.com/rest-api/#price-feed>
        Gemini = "gemini",
        /// <https://docs.bitfinex.com/reference/rest-public-tickers>
        Bitfinex = "bitfinex",
        /// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints>
        Binance = "binance",
        /// <https://docs.coingecko.com/reference/simple-price>
        Coingecko = "coingecko",
    }
}

impl Exchange {
    /// Its public address, which for CoinGecko depends on the key.
    pub fn address(self, plan: Option<Plan>) -> &'static str {
        match self {
            Self::Coingecko if plan == Some(Plan::Pro) => "https://pro-api.coingecko.com",
            Self::Kraken => "https://api.kraken.com",
            Self::Coinbase => "https://api.exchange.coinbase.com",
            Self::Bitstamp => "https://www.bitstamp.net",
            Self::Gemini => "https://api.gemini.com",
            Self::Bitfinex => "https://api-pub.bitfinex.com",
            Self::Binance => "https://data-api.binance.vision",
            Self::Coingecko => "https://api.coingecko.com",
        }
    }

    /// How often it may be asked without an account, or with a key of such a plan, by its documentation.
    /// Nothing where that depends on what was paid for.
    pub fn limit(self, plan: Option<Plan>) -> Option<Limit> {
        match self {
            // Its documentation says only that public calls are limited by address; about one a second is
            // what others report.
            Self::Kraken => Some(Limit::new(1, 1).undocumented()),
            // "10 requests per second, up to 15 in bursts", by address:
            // https://docs.cdp.coinbase.com/exchange/rest-api/rate-limits
            Self::Coinbase => Some(Limit::new(10, 1).at_once(15)),
            // "400 requests per second, 10,000 per 10 minutes": https://www.bitstamp.net/api/#section/Rate-limits
            Self::Bitstamp => Some(Limit::new(10_000, 600).at_once(400)),
            // "120 requests per minute", with five more queued: https://docs.gemini.com/rate-limit
            Self::Gemini => Some(Limit::new(120, 60).at_once(5)),
            // 30 a minute for the tickers: https://docs.bitfinex.com/reference/rest-public-tickers
            Self::Bitfinex => Some(Limit::new(30, 60)),
            // A weight of 6,000 a minute, and a list of symbols weighs 4:
            // https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
            Self::Binance => Some(Limit::new(1_500, 60)),
            // https://docs.coingecko.com/docs/errors-and-rate-limits; a paid plan has its own.
            Self::Coingecko => match plan {
                Some(Plan::Demo) => Some(Limit::new(100, 60)),
                Some(Plan::Pro) => None,
                // Without a key the limit is shared by everybody at one address, and not documented.
                None => Some(Limit::new(10, 60).undocumented()),
            },
        }
    }

    /// Whether there are keys to it.
    pub fn takes_key(self) -> bool {
        self == Self::Coingecko
    }

    /// Whether it can be asked for a pair. Most can be asked for any, and say themselves what they lack.
    pub fn serves(self, pair: Pair) -> bool {
        match self {
            Self::Binance => binance::serves(pair),
            Self::Coingecko => coingecko::serves(pair),
            Self::Kraken | Self::Coinbase | Self::Bitstamp | Self::Gemini | Self::Bitfinex => true,
        }
    }

    /// Why it does not serve a pair, and what to do.
    pub fn why_not(self, pair: Pair) -> String {
        match self {
            Self::Binance => format!(
                "{self} has no {} pairs: USDT is not {}; name a pair such as {}-USDT, or leave {self} out",
                pair.quote(),
                pair.quote(),
                pair.base()
            ),
            _ => format!("{self} is not known to have {pair}; name another pair, or leave {self} out"),
        }
    }

    /// The requests that ask for the pairs, one for all where the exchange can do that.
    pub fn requests(self, pairs: &[Pair]) -> Vec<Request> {
        match self {
            Self::Kraken => kraken::requests(pairs),
            Self::Coinbase => coinbase::requests(pairs),
            Self::Bitstamp => bitstamp::requests(pairs),
            Self::Gemini => gemini::requests(pairs),
            Self::Bitfinex => bitfinex::requests(pairs),
            Self::Binance => binance::requests(pairs),
            Self::Coingecko => coingecko::requests(pairs),
        }
    }

    /// What the body of a successful answer says about the pairs it was asked for.
    pub fn parse(self, body: &[u8], pairs: &[Pair]) -> Result<Answers, Failure> {
        // JSON is UTF-8. The parsers skip over what they do not read, and would not notice.
        if std::str::from_utf8(body).is_err() {
            return Err(Failure::Malformed);
        }
        match self {
            Self::Kraken => kraken::parse(body, pairs),
            Self::Coinbase => coinbase::parse(body, pairs),
            Self::Bitstamp => bitstamp::parse(body, pairs),
            Self::Gemini => gemini::parse(body, pairs),
            Self::Bitfinex => bitfinex::parse(body, pairs),
            Self::Binance => binance::parse(body, pairs),
            Self::Coingecko => coingecko::parse(body, pairs),
        }
    }

    /// What the body of any answer complains about in the exchange's own words, if it does.
    pub fn complaint(self, body: &[u8]) -> Option<Failure> {
        match self {
            Self::Kraken => kraken::complaint(body),
            // Its errors are texts for people.
            Self::Coinbase => None,
            Self::Bitstamp => bitstamp::complaint(body),
            Self::Gemini => gemini::complaint(body),
            Self::Bitfinex => bitfinex::complaint(body),
            Self::Binance => binance::complaint(body),
            Self::Coingecko => coingecko::complaint(body),
        }
    }

    /// Until when it will not be asked, in seconds since 1970, where a body says so.
    pub fn throttled_until(self, body: &[u8]) -> Option<i64> {
        if self == Self::Kraken { kraken::throttled_until(body) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use common::domain::Words;

    use super::*;

    #[test]
    fn every_parser_is_fuzzed() {
        let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fuzz/targets");
        for exchange in Exchange::ALL {
            let target = targets.join(format!("{exchange}.rs"));
            assert!(target.exists(), "{exchange} has no fuzz target: {}", target.display());
        }
    }
}
