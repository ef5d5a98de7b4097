//! A market with scripted prices.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Market, SlotGrid, Trade};
use crate::Venue;
use crate::venue::is_pair;

/// One step of a script: the price of each pair at each venue.
type Step = BTreeMap<Venue, BTreeMap<String, String>>;

/// Serves one step of a script in each slot, and then repeats the last step. Before the market begins, it serves step
/// 0.
///
/// The script is JSON: `[{"kraken": {"BTC-USD": "100.10"}, "coinbase": {}, "bitstamp": {}}, …]`. A venue or a pair that
/// a step leaves out has no market in that slot. A price may be any text and is served unchanged, so a script can also
/// show what a source does with invalid prices.
#[derive(Clone, Debug)]
pub struct ScriptMarket {
    steps: Vec<Step>,
    grid: SlotGrid,
}

impl ScriptMarket {
    /// Starts at `now_ms` with the first step.
    ///
    /// # Errors
    ///
    /// Fails if the script does not have the form above, has no steps, or contains an unknown venue or a malformed
    /// pair, or if the interval is not valid for a [`SlotGrid`].
    pub fn from_json(script: &str, interval: Duration, now_ms: i64) -> anyhow::Result<Self> {
        let parsed: Vec<BTreeMap<String, BTreeMap<String, String>>> =
            serde_json::from_str(script).context("the script is not a list of {venue: {pair: price}}")?;
        ensure!(!parsed.is_empty(), "the script has no step");
        let mut steps = Vec::with_capacity(parsed.len());
        for venues in parsed {
            let mut step = Step::new();
            for (venue, prices) in venues {
                for pair in prices.keys() {
                    ensure!(is_pair(pair), "{pair:?} is not a pair written BASE-QUOTE");
                }
                step.insert(venue.parse()?, prices);
            }
            steps.push(step);
        }
        Ok(Self { steps, grid: SlotGrid::starting_at(now_ms, interval)? })
    }

    /// A market whose prices do not change: a script with one step.
    ///
    /// # Errors
    ///
    /// Fails like [`ScriptMarket::from_json`].
    pub fn constant(prices: &[(Venue, &str, &str)], interval: Duration, now_ms: i64) -> anyhow::Result<Self> {
        let mut step = Step::new();
        for (venue, pair, price) in prices {
            ensure!(is_pair(pair), "{pair:?} is not a pair written BASE-QUOTE");
            step.entry(*venue).or_default().insert((*pair).to_owned(), (*price).to_owned());
        }
        Ok(Self { steps: vec![step], grid: SlotGrid::starting_at(now_ms, interval)? })
    }

    /// When the slot of the first step begins, unix time in milliseconds.
    #[must_use]
    pub const fn first_slot_ms(&self) -> i64 {
        self.grid.first_slot_ms()
    }

    /// The length of a slot in milliseconds.
    #[must_use]
    pub const fn interval_ms(&self) -> i64 {
        self.grid.interval_ms()
    }

    fn prices(&self, venue: Venue, now_ms: i64) -> Option<&BTreeMap<String, String>> {
        let index = usize::try_from(self.grid.index(now_ms)).unwrap_or(0);
        self.steps.get(index).or(self.steps.last())?.get(&venue)
    }
}

impl Market for ScriptMarket {
    fn pairs(&self, venue: Venue, now_ms: i64) -> Vec<String> {
        self.prices(venue, now_ms).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    fn trade(&self, venue: Venue, pair: &str, now_ms: i64) -> Option<Trade> {
        let price = self.prices(venue, now_ms)?.get(pair)?.clone();
        Some(Trade { price, time_ms: self.grid.slot_start_ms(now_ms) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn price(market: &ScriptMarket, venue: Venue, pair: &str, now_ms: i64) -> Option<String> {
        market.trade(venue, pair, now_ms).map(|trade| trade.price)
    }

    #[test]
    fn each_slot_is_one_step_and_the_last_step_repeats() {
        let script = r#"[
            {"kraken": {"BTC-USD": "100.10", "ETH-USD": "7"}, "coinbase": {"BTC-USD": "100.2"}},
            {"kraken": {"BTC-USD": "101.10"}}
        ]"#;
        let market = ScriptMarket::from_json(script, SECOND, 5_400).unwrap();
        assert_eq!((market.first_slot_ms(), market.interval_ms()), (5_000, 1_000));

        assert_eq!(market.pairs(Venue::Kraken, 5_999), ["BTC-USD", "ETH-USD"]);
        let first = market.trade(Venue::Kraken, "BTC-USD", 5_999).unwrap();
        assert_eq!(first, Trade { price: "100.10".to_owned(), time_ms: 5_000 });
        assert_eq!(price(&market, Venue::Coinbase, "BTC-USD", 5_999).as_deref(), Some("100.2"));
        assert_eq!(price(&market, Venue::Bitstamp, "BTC-USD", 5_999), None);
        assert_eq!(price(&market, Venue::Kraken, "BTC-USD", 4_999).as_deref(), Some("100.10"));

        assert_eq!(price(&market, Venue::Kraken, "BTC-USD", 6_000).as_deref(), Some("101.10"));
        assert_eq!(price(&market, Venue::Kraken, "ETH-USD", 6_000), None);
        assert!(market.pairs(Venue::Coinbase, 6_000).is_empty());

        let late = market.trade(Venue::Kraken, "BTC-USD", 99_999).unwrap();
        assert_eq!(late, Trade { price: "101.10".to_owned(), time_ms: 99_000 });
    }

    #[test]
    fn an_invalid_script_is_rejected() {
        for wrong in [
            "[]",
            "{}",
            r#"[{"krakken": {}}]"#,
            r#"[{"kraken": {"BTCUSD": "1"}}]"#,
            r#"[{"kraken": {"BTC-USD": 1.5}}]"#,
        ] {
            assert!(ScriptMarket::from_json(wrong, SECOND, 0).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_constant_market_is_a_script_of_one_step() {
        let prices = [(Venue::Kraken, "BTC-USD", "1.10"), (Venue::Kraken, "ETH-USD", "2")];
        let market = ScriptMarket::constant(&prices, SECOND, 0).unwrap();
        assert_eq!(market.pairs(Venue::Kraken, 77_000), ["BTC-USD", "ETH-USD"]);
        assert_eq!(price(&market, Venue::Kraken, "BTC-USD", 77_000).as_deref(), Some("1.10"));
        assert_eq!(price(&market, Venue::Coinbase, "BTC-USD", 77_000), None);
    }
}
