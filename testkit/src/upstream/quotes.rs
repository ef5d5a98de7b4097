//! What one venue quotes at one moment: the market's prices, changed by the test's prices and faults.

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use super::controls::Controls;
use super::listing::Listing;
use crate::Venue;
use crate::fault::Fault;
use crate::market::{Market, Trade};

pub(super) struct Quotes<'a> {
    market: &'a dyn Market,
    controls: &'a Controls,
    venue: Venue,
    fault: Option<Fault>,
    now_ms: i64,
}

/// A pair that a venue has a market for.
#[derive(Clone, Debug)]
pub(super) struct Quoted {
    pub(super) pair: String,
    /// The pair that the response names. Different from `pair` only with a fault.
    pub(super) named: String,
    pub(super) listing: Listing,
    pub(super) trade: Trade,
}

/// A one-minute candle. Tickwell uses only the close, so the other prices are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candle {
    pub(super) start_ms: i64,
    pub(super) close: String,
}

pub(super) const MINUTE_MS: i64 = 60_000;

/// No response has the candles of more minutes than this.
const MOST_MINUTES: i64 = 10_000;

impl<'a> Quotes<'a> {
    pub(super) fn new(market: &'a dyn Market, controls: &'a Controls, venue: Venue, now_ms: i64) -> Self {
        let active = controls.fault(venue);
        let now_ms = match active {
            Some(active) if active.fault == Fault::Stuck => active.since_ms,
            _ => now_ms,
        };
        Self { market, controls, venue, fault: active.map(|active| active.fault), now_ms }
    }

    /// The time of these quotes.
    pub(super) const fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The markets that the venue's ticker prices, sorted by pair.
    pub(super) fn priced(&self) -> Vec<Quoted> {
        self.markets().into_iter().filter(|quoted| quoted.listing.is_priced()).collect()
    }

    /// Every market with its newest trade, sorted by pair, including those that are delisted or unlisted.
    pub(super) fn markets(&self) -> Vec<Quoted> {
        let mut pairs: BTreeSet<String> = self.market.pairs(self.venue, self.now_ms).into_iter().collect();
        pairs.extend(self.controls.prices(self.venue).into_iter().flatten().map(|(pair, _)| pair.clone()));
        let quoted = |pair: &String| self.true_trade(pair).map(|trade| (pair.clone(), trade));
        let mut all: Vec<(String, Trade)> = pairs.iter().filter_map(quoted).collect();
        if self.fault == Some(Fault::Swapped) {
            let mut trades: Vec<Trade> = all.iter().map(|(_, trade)| trade.clone()).collect();
            let by = 1.min(trades.len());
            trades.rotate_left(by);
            all.iter_mut().zip(trades).for_each(|((_, own), other)| *own = other);
        }
        let quoted = |(pair, trade): (String, Trade)| Quoted {
            named: self.named(&pair),
            listing: self
                .controls
                .listing(self.venue, &pair)
                .map(|active| active.listing)
                .unwrap_or_default(),
            pair,
            trade: self.spoilt(trade),
        };
        all.into_iter().map(quoted).collect()
    }

    /// The one-minute candles of a market that start in `first_ms..=last_ms`, oldest first. A minute without a trade has
    /// none. The candle of the current minute is still running: its close is the newest trade.
    pub(super) fn candles(&self, pair: &str, first_ms: i64, last_ms: i64) -> Vec<Candle> {
        let last_ms = last_ms.min(self.now_ms);
        let first_ms = first_ms.max(last_ms - MOST_MINUTES * MINUTE_MS);
        let mut start_ms = first_ms + (-first_ms).rem_euclid(MINUTE_MS);
        let mut candles = Vec::new();
        while start_ms <= last_ms {
            let end_ms = (start_ms + MINUTE_MS - 1).min(self.now_ms);
            let trade = self.true_trade_at(pair, end_ms).filter(|trade| trade.time_ms >= start_ms);
            candles.extend(trade.map(|trade| Candle { start_ms, close: self.spoilt(trade).price }));
            start_ms += MINUTE_MS;
        }
        candles
    }

    fn true_trade(&self, pair: &str) -> Option<Trade> {
        self.true_trade_at(pair, self.now_ms)
    }

    fn true_trade_at(&self, pair: &str, at_ms: i64) -> Option<Trade> {
        let now_ms = match self.controls.listing(self.venue, pair) {
            Some(active) if active.listing == Listing::Halted => active.since_ms.min(at_ms),
            _ => at_ms,
        };
        match self.controls.prices(self.venue).and_then(|prices| prices.get(pair)) {
            Some(price) => price.clone().map(|price| Trade { price, time_ms: now_ms }),
            None => self.market.trade(self.venue, pair, now_ms),
        }
    }

    fn named(&self, pair: &str) -> String {
        let stranger = |(base, quote): (&str, &str)| match base {
            "BTC" => format!("LTC-{quote}"),
            _ => format!("ETC-{quote}"),
        };
        let is_wrong = self.fault == Some(Fault::WrongPair);
        pair.split_once('-').filter(|_| is_wrong).map_or_else(|| pair.to_owned(), stranger)
    }

    fn spoilt(&self, trade: Trade) -> Trade {
        let Some(fault) = self.fault else { return trade };
        let price = match fault {
            Fault::Nan => "NaN".to_owned(),
            Fault::Infinite => "Infinity".to_owned(),
            Fault::Huge => "1e400".to_owned(),
            Fault::Zero => "0".to_owned(),
            Fault::Negative => format!("-{}", trade.price),
            Fault::Text => "unavailable".to_owned(),
            Fault::Times(factor) => multiplied(&trade.price, factor),
            _ => trade.price,
        };
        let time_ms = match fault {
            Fault::Late(seconds) => trade.time_ms - i64::from(seconds) * 1_000,
            Fault::Early(seconds) => trade.time_ms + i64::from(seconds) * 1_000,
            _ => trade.time_ms,
        };
        Trade { price, time_ms }
    }
}

/// A bid and an ask around a price: one step of its last decimal place below it and above it, so that the midpoint has
/// the price's digits. They are the price itself if the step is large, or if the price is not a number.
pub(super) fn book(price: &str) -> (String, String) {
    let number = price.parse::<Decimal>().ok().filter(|number| number.mantissa() >= FINE_PRICE);
    let step = number.map(|number| Decimal::new(1, number.scale()));
    number.zip(step).map_or_else(
        || (price.to_owned(), price.to_owned()),
        |(number, step)| ((number - step).to_string(), (number + step).to_string()),
    )
}

/// The least number of last places in a price, so that one more or less is a usual distance of bid and ask: 0.1 %.
const FINE_PRICE: i128 = 1_000;

/// Multiplies a price. A script may contain a price that is not a number, which is left unchanged.
fn multiplied(price: &str, factor: Decimal) -> String {
    let product = price.parse::<Decimal>().ok().and_then(|price| price.checked_mul(factor));
    product.map_or_else(|| price.to_owned(), |product| product.normalize().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_midpoint_of_a_book_is_the_price_with_its_digits() {
        for (price, bid, ask) in [
            ("97012.30", "97012.29", "97012.31"),
            ("97000.10000", "97000.09999", "97000.10001"),
            ("96999", "96998", "97000"),
            ("0.001000", "0.000999", "0.001001"),
            ("1.5", "1.5", "1.5"),
            ("0", "0", "0"),
            ("-97012.30", "-97012.30", "-97012.30"),
            ("NaN", "NaN", "NaN"),
            ("1e400", "1e400", "1e400"),
        ] {
            assert_eq!(book(price), (bid.to_owned(), ask.to_owned()), "{price}");
        }
        let (bid, ask) = book("97012.30");
        let midpoint = (bid.parse::<Decimal>().unwrap() + ask.parse::<Decimal>().unwrap()) / Decimal::TWO;
        assert_eq!(midpoint, "97012.30".parse().unwrap());
    }
}
