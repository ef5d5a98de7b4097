//! Which markets an exchange has: its own list of markets, and which of the configured pairs it is asked for.

use std::collections::{BTreeMap, btree_map::Entry};

use common::domain::{Failure, Pair};

/// The longest symbol or name that is taken from an exchange's list.
const MAX_NAME_LENGTH: usize = 40;

/// A pair and the exchange's names for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Market {
    /// The pair.
    pub pair: Pair,
    /// The symbol with which requests ask for the pair.
    pub symbol: String,
    /// The names under which responses may contain the pair. Most exchanges use the symbol itself.
    pub names: Vec<String>,
}

/// A market in an exchange's own list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The market.
    pub market: Market,
    /// Whether trading is halted.
    pub is_halted: bool,
}

/// An exchange's own list of its markets.
#[derive(Debug, Clone, Default)]
pub struct MarketList(BTreeMap<Pair, Listed>);

/// The configured pairs as an exchange has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The markets that are asked for.
    pub markets: Vec<Market>,
    /// The pairs that are not asked for, and why.
    pub left_out: BTreeMap<Pair, Failure>,
}

impl Market {
    /// A market with one name in requests and responses.
    pub fn new(pair: Pair, symbol: impl Into<String>) -> Self {
        let symbol = symbol.into();
        Self { pair, names: vec![symbol.clone()], symbol }
    }

    /// A market that has other names in responses than in requests.
    pub fn named(pair: Pair, symbol: impl Into<String>, names: impl IntoIterator<Item = String>) -> Self {
        Self { pair, symbol: symbol.into(), names: names.into_iter().collect() }
    }

    /// Whether a response calls the market by this name.
    pub fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    /// Whether the names can be put into a request and compared. Lists come from the exchange, so they may contain
    /// anything.
    fn is_plain(&self) -> bool {
        let is_short = |name: &String| !name.is_empty() && name.len() <= MAX_NAME_LENGTH;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'/');
        is_short(&self.symbol) && self.symbol.bytes().all(is_plain) && self.names.iter().all(is_short)
    }
}

impl MarketList {
    /// Adds a market. If the exchange lists a pair twice, the first market that is not halted counts.
    pub fn add(&mut self, market: Market, is_halted: bool) {
        if !market.is_plain() {
            return;
        }
        match self.0.entry(market.pair) {
            Entry::Vacant(entry) => {
                entry.insert(Listed { market, is_halted });
            }
            Entry::Occupied(mut entry) if entry.get().is_halted && !is_halted => {
                entry.insert(Listed { market, is_halted });
            }
            Entry::Occupied(_) => {}
        }
    }

    /// The market of a pair.
    pub fn get(&self, pair: Pair) -> Option<&Listed> {
        self.0.get(&pair)
    }

    /// All markets.
    pub fn iter(&self) -> impl Iterator<Item = &Listed> {
        self.0.values()
    }

    /// A list without a single market is not believed.
    pub fn unless_empty(self) -> Result<Self, Failure> {
        if self.0.is_empty() { Err(Failure::Malformed) } else { Ok(self) }
    }
}

impl Table {
    /// The markets according to the rules by which the exchange makes its symbols. Two pairs that these rules do not
    /// tell apart are left out until there is a list.
    pub fn derived(markets: Vec<Market>) -> Self {
        let is_shared = |market: &Market| {
            markets.iter().any(|other| {
                other.pair != market.pair && market.names.iter().any(|name| other.has_name(name))
            })
        };
        let (shared, markets): (Vec<_>, Vec<_>) = markets.iter().cloned().partition(is_shared);
        Self { markets, left_out: shared.into_iter().map(|market| (market.pair, Failure::Missing)).collect() }
    }

    /// The markets of these pairs according to the exchange's own list.
    pub fn listed(pairs: &[Pair], list: &MarketList) -> Self {
        let mut table = Self::default();
        for pair in pairs {
            match list.get(*pair) {
                Some(Listed { market, is_halted: false }) => table.markets.push(market.clone()),
                Some(_) => _ = table.left_out.insert(*pair, Failure::Halted),
                None => _ = table.left_out.insert(*pair, Failure::Unlisted),
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(text: &str) -> Pair {
        text.parse().unwrap()
    }

    #[test]
    fn a_list_decides_which_pairs_are_asked_for() {
        let mut list = MarketList::default();
        list.add(Market::new(pair("BTC-USD"), "XBTUSD"), false);
        list.add(Market::new(pair("ETH-USD"), "ETHUSD"), true);
        let table = Table::listed(&["BTC-USD", "ETH-USD", "FOO-USD"].map(pair), &list);
        assert_eq!(table.markets, [Market::new(pair("BTC-USD"), "XBTUSD")]);
        let expected = [(pair("ETH-USD"), Failure::Halted), (pair("FOO-USD"), Failure::Unlisted)];
        assert_eq!(table.left_out, expected.into());
    }

    #[test]
    fn an_open_market_replaces_a_halted_one_of_the_same_pair() {
        let mut list = MarketList::default();
        list.add(Market::new(pair("BTC-USD"), "OLD"), true);
        list.add(Market::new(pair("BTC-USD"), "NEW"), false);
        list.add(Market::new(pair("BTC-USD"), "OTHER"), false);
        assert_eq!(list.get(pair("BTC-USD")).unwrap().market.symbol, "NEW");
    }

    #[test]
    fn a_symbol_that_could_change_a_request_is_not_taken_from_a_list() {
        for symbol in ["", "A&B", "A?B", "A B", "../x", "A%42", "Ä", &"A".repeat(41)] {
            let mut list = MarketList::default();
            list.add(Market::new(pair("BTC-USD"), symbol), false);
            assert!(list.unless_empty().is_err(), "{symbol}");
        }
    }

    #[test]
    fn pairs_with_the_same_name_are_left_out() {
        let markets = vec![
            Market::new(pair("A-BUSD"), "ABUSD"),
            Market::new(pair("AB-USD"), "ABUSD"),
            Market::new(pair("BTC-USD"), "BTCUSD"),
        ];
        let table = Table::derived(markets);
        assert_eq!(table.markets, [Market::new(pair("BTC-USD"), "BTCUSD")]);
        assert_eq!(table.left_out.keys().copied().collect::<Vec<_>>(), [pair("A-BUSD"), pair("AB-USD")]);
    }
}
