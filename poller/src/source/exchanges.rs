//! The registry of exchanges. Each is one file in this directory and one line in [`ALL`].

mod binance;
mod bitfinex;
mod bitstamp;
mod coinbase;
mod coingecko;
mod gemini;
mod kraken;

use super::exchange::Exchange;

/// All exchanges, in the order in which they are listed to users.
pub const ALL: &[&dyn Exchange] = &[
    &kraken::Kraken,
    &coinbase::Coinbase,
    &bitstamp::Bitstamp,
    &gemini::Gemini,
    &bitfinex::Bitfinex,
    &binance::Binance,
    &coingecko::Coingecko,
];

/// The exchange with a name.
pub fn named(name: &str) -> Option<&'static dyn Exchange> {
    ALL.iter().copied().find(|exchange| exchange.name() == name)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use common::domain::SourceName;

    use super::*;

    #[test]
    fn names_are_valid_and_unique() {
        let names: BTreeSet<SourceName> =
            ALL.iter().map(|exchange| exchange.name().parse().unwrap()).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn no_two_pairs_share_a_symbol() {
        let pairs = ["BTC-USD", "BTC-EUR", "ETH-USD", "ETH-BTC", "DOGE-USD", "BTC-USDT", "ETH-USDC"];
        let pairs = pairs.map(|pair| pair.parse().unwrap());
        for exchange in ALL {
            let markets = exchange.markets(&pairs);
            assert!(!markets.is_empty(), "{exchange}");
            let symbols: BTreeSet<&str> = markets.iter().map(|market| market.symbol.as_str()).collect();
            assert_eq!(symbols.len(), markets.len(), "{exchange} {symbols:?}");
            for request in exchange.requests(&markets, 10) {
                assert!(request.path.starts_with('/') && !request.path.contains(' '), "{}", request.path);
            }
        }
    }

    #[test]
    fn every_parser_is_fuzzed_and_has_a_recorded_response() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fuzz");
        for exchange in ALL {
            for file in [format!("targets/{exchange}.rs"), format!("seeds/{exchange}/prices.json")] {
                assert!(fuzz.join(&file).exists(), "{exchange} has no testkit/fuzz/{file}");
            }
        }
    }
}
