//! The exchanges, and one aggregator of exchanges' prices, that can be simulated.
//!
//! A pair is written `BASE-QUOTE` in capitals (`BTC-USD`) everywhere in this crate; each exchange's own
//! spelling stays in that exchange's file under [`crate::upstream`].

use std::fmt;
use std::str::FromStr;

use anyhow::bail;

/// An exchange or an aggregator that the fake upstream can simulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Venue {
    /// Kraken: prices at `/0/public/Ticker`, markets at `/0/public/AssetPairs`.
    Kraken,
    /// Coinbase Exchange: prices at `/products/{pair}/ticker` and `/products/stats`, markets at `/products`.
    Coinbase,
    /// Bitstamp: prices at `/api/v2/ticker/`, markets at `/api/v2/trading-pairs-info/`.
    Bitstamp,
    /// Gemini: prices at `/v1/pricefeed` and `/v1/pubticker/{pair}`, markets at `/v1/symbols/details/all`.
    Gemini,
    /// Bitfinex: prices at `/v2/tickers`, markets at `/v2/conf/`.
    Bitfinex,
    /// CoinGecko: prices at `/api/v3/simple/price`, coins at `/api/v3/coins/list`. An aggregator of other exchanges' prices.
    Coingecko,
    /// Binance: prices at `/api/v3/ticker/24hr` and `/api/v3/ticker/price`, markets at `/api/v3/exchangeInfo`. It has no
    /// market in USD, only in USDT.
    Binance,
}

impl Venue {
    /// All venues.
    pub const ALL: [Self; 7] = [
        Self::Kraken,
        Self::Coinbase,
        Self::Bitstamp,
        Self::Gemini,
        Self::Bitfinex,
        Self::Coingecko,
        Self::Binance,
    ];

    /// Tickwell's default sources. [`Recordings`](crate::recording::Recordings) has a recording for each of them.
    pub const DEFAULT: [Self; 3] = [Self::Kraken, Self::Coinbase, Self::Bitstamp];

    /// The exchanges with markets in USD.
    pub const USD_EXCHANGES: [Self; 5] =
        [Self::Kraken, Self::Coinbase, Self::Bitstamp, Self::Gemini, Self::Bitfinex];

    /// The venue's name in scripts, in the upstream's paths and in Tickwell's settings (there in capitals).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kraken => "kraken",
            Self::Coinbase => "coinbase",
            Self::Bitstamp => "bitstamp",
            Self::Gemini => "gemini",
            Self::Bitfinex => "bitfinex",
            Self::Coingecko => "coingecko",
            Self::Binance => "binance",
        }
    }

    /// Whether the venue's responses contain the times of prices.
    ///
    /// Coinbase's ticker has the time of the last trade, and its `/products/stats` has no time. Gemini's only time is that
    /// of a five-minute count of the volume, and Binance's times delimit the statistics of a day. Neither is the time of
    /// a price.
    #[must_use]
    pub const fn gives_time(self) -> bool {
        matches!(self, Self::Coinbase | Self::Bitstamp | Self::Coingecko)
    }
}

impl fmt::Display for Venue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Venue {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match Self::ALL.into_iter().find(|venue| venue.name() == name) {
            Some(venue) => Ok(venue),
            None => bail!(
                "{name:?} is not a venue of the fake upstream ({})",
                Self::ALL.map(Self::name).join(", ")
            ),
        }
    }
}

/// Whether `pair` is written `BASE-QUOTE`, each part of capitals and digits.
pub(crate) fn is_pair(pair: &str) -> bool {
    let is_code = |code: &str| {
        !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    pair.split_once('-').is_some_and(|(base, quote)| is_code(base) && is_code(quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for venue in Venue::ALL {
            assert_eq!(venue.name().parse::<Venue>().unwrap(), venue);
        }
        assert!("Kraken".parse::<Venue>().is_err());
    }

    #[test]
    fn a_pair_is_two_codes_in_capitals() {
        assert!(is_pair("BTC-USD"));
        for wrong in ["BTCUSD", "btc-usd", "BTC-", "-USD", "BTC-USD-X", "BTC/USD", ""] {
            assert!(!is_pair(wrong), "{wrong}");
        }
    }
}
