//! What one venue quotes at one moment: the market, with the test's prices over it.

use std::collections::BTreeSet;

use super::controls::Controls;
use crate::Venue;
use crate::market::{Market, Trade};

pub(super) struct Quotes<'a> {
    market: &'a dyn Market,
    controls: &'a Controls,
    venue: Venue,
    now_ms: i64,
}

impl<'a> Quotes<'a> {
    pub(super) fn new(market: &'a dyn Market, controls: &'a Controls, venue: Venue, now_ms: i64) -> Self {
        Self { market, controls, venue, now_ms }
    }

    /// The newest trade of the pair; `None` when the venue has no market for it.
    pub(super) fn trade(&self, pair: &str) -> Option<Trade> {
        match self.controls.prices(self.venue).and_then(|prices| prices.get(pair)) {
            Some(price) => price.clone().map(|price| Trade { price, time_ms: self.now_ms }),
            None => self.market.trade(self.venue, pair, self.now_ms),
        }
    }

    /// Every pair the venue has a market for, with its newest trade, in the order of their names.
    pub(super) fn all(&self) -> Vec<(String, Trade)> {
        let mut pairs: BTreeSet<String> = self.market.pairs(self.venue, self.now_ms).into_iter().collect();
        pairs.extend(self.controls.prices(self.venue).into_iter().flatten().map(|(pair, _)| pair.clone()));
        let with_trade = |pair: String| self.trade(&pair).map(|trade| (pair, trade));
        pairs.into_iter().filter_map(with_trade).collect()
    }
}
