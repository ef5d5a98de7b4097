//! Which markets an exchange has: its own list of markets, and which of the configured pairs it is asked for.

use std::collections::BTreeMap;

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

/// The pair of two assets in an exchange's list. None if their codes are not valid here.
pub fn pair_of(base: &str, quote: &str) -> Option<Pair> {
    format!("{base}-{quote}").parse().ok()
}

/// A market in an exchange's own list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The market.
    pub market: Market,
    /// Whether trading is halted.
    pub is_halted: bool,
}

/// An exchange's own list of its markets. An exchange may have several markets of a pair.
#[derive(Debug, Clone, Default)]
pub struct MarketList(BTreeMap<Pair, Vec<Listed>>);

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
    /// Adds a market, unless its symbol cannot be part of a request.
    pub fn add(&mut self, market: Market, is_halted: bool) {
        if market.is_plain() {
            self.0.entry(market.pair).or_default().push(Listed { market, is_halted });
        }
    }

    /// The market of a pair. If there are several, those that are not halted count. If it is still not certain which, the
    /// one that the exchange's rules name counts, and otherwise the rules themselves.
    pub fn find(&self, pair: Pair, by_rules: Option<&Market>) -> Option<Listed> {
        let all = self.0.get(&pair)?;
        let open: Vec<&Listed> = all.iter().filter(|listed| !listed.is_halted).collect();
        let is_by_rules =
            |listed: &&&Listed| by_rules.is_some_and(|market| market.symbol == listed.market.symbol);
        match open.as_slice() {
            [] => all.first().cloned(),
            [one] => Some((*one).clone()),
            several => several
                .iter()
                .find(is_by_rules)
                .map(|listed| (*listed).clone())
                .or_else(|| by_rules.map(|market| Listed { market: market.clone(), is_halted: false })),
        }
    }

    /// All markets.
    pub fn iter(&self) -> impl Iterator<Item = &Listed> {
        self.0.values().flatten()
    }

    /// Whether the list has no market.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Table {
    /// The markets according to the rules by which the exchange makes its symbols. Two pairs that these rules do not
    /// tell apart are left out until there is a list: a price could be either's.
    pub fn derived(markets: Vec<Market>) -> Self {
        let is_shared = |market: &Market| {
            markets.iter().any(|other| {
                other.pair != market.pair && market.names.iter().any(|name| other.has_name(name))
            })
        };
        let (shared, markets): (Vec<_>, Vec<_>) = markets.iter().cloned().partition(is_shared);
        Self { markets, left_out: shared.into_iter().map(|market| (market.pair, Failure::Missing)).collect() }
    }

    /// The markets of these pairs according to the exchange's own list. `by_rules` are the markets according to the rules.
    /// A pair that neither contains is not left out, because nobody expects the exchange to have it.
    pub fn listed(pairs: &[Pair], list: &MarketList, by_rules: &[Market]) -> Self {
        let mut table = Self::default();
        for pair in pairs {
            let market = by_rules.iter().find(|market| market.pair == *pair);
            match list.find(*pair, market) {
                Some(Listed { market, is_halted: false }) => table.markets.push(market),
                Some(_) => _ = table.left_out.insert(*pair, Failure::Halted),
                None if market.is_some() => _ = table.left_out.insert(*pair, Failure::Unlisted),
                None => {}
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
        let pairs = ["BTC-USD", "ETH-USD", "FOO-USD", "BAR-USD"].map(pair);
        // Of the last pair, the rules say that the exchange does not have it.
        let by_rules: Vec<Market> =
            pairs[..3].iter().map(|pair| Market::new(*pair, pair.to_string())).collect();
        let table = Table::listed(&pairs, &list, &by_rules);
        assert_eq!(table.markets, [Market::new(pair("BTC-USD"), "XBTUSD")]);
        let expected = [(pair("ETH-USD"), Failure::Halted), (pair("FOO-USD"), Failure::Unlisted)];
        assert_eq!(table.left_out, expected.into());
    }

    #[test]
    fn of_several_markets_of_a_pair_the_open_one_that_the_rules_name_counts() {
        let symbol = |rows: &[(&str, bool)], by_rules: &str| {
            let mut list = MarketList::default();
            rows.iter()
                .for_each(|(symbol, is_halted)| list.add(Market::new(pair("BTC-USD"), *symbol), *is_halted));
            let by_rules = Market::new(pair("BTC-USD"), by_rules);
            list.find(pair("BTC-USD"), Some(&by_rules)).map(|found| (found.market.symbol, found.is_halted))
        };
        let found = |symbol: &str, is_halted| Some((symbol.to_owned(), is_halted));
        assert_eq!(symbol(&[("OLD", true), ("NEW", false)], "OLD"), found("NEW", false));
        assert_eq!(symbol(&[("OTHER", false), ("BTCUSD", false)], "BTCUSD"), found("BTCUSD", false));
        assert_eq!(symbol(&[("ONE", false), ("TWO", false)], "BTCUSD"), found("BTCUSD", false));
        assert_eq!(symbol(&[("OLD", true)], "BTCUSD"), found("OLD", true));
        assert_eq!(symbol(&[], "BTCUSD"), None);
    }

    #[test]
    fn a_symbol_that_could_change_a_request_is_not_taken_from_a_list() {
        for symbol in ["", "A&B", "A?B", "A B", "../x", "A%42", "Ä", &"A".repeat(41)] {
            let mut list = MarketList::default();
            list.add(Market::new(pair("BTC-USD"), symbol), false);
            assert!(list.is_empty(), "{symbol}");
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
