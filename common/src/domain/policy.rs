//! The rules for computing a price from quotes.

use super::{Ratio, Span};

crate::words! {
    /// Which price of a quote counts, if the source returns both a last trade and an order book.
    pub enum PriceRule ("price rule") {
        /// The midpoint of bid and ask if the book is sane, otherwise the last trade.
        Mid = "mid",
        /// The last trade, otherwise the midpoint of bid and ask if the book is sane.
        Last = "last",
    }
}

crate::words! {
    /// The instant at which the age of a quote is measured.
    pub enum AgeRule ("age rule") {
        /// When the response arrived. This is the rule for current prices.
        Arrival = "arrival",
        /// The slot. This is the rule for prices of the past, whose responses arrive much later.
        Slot = "slot",
    }
}

/// The rules for computing a price from quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The number of the rules themselves. It changes when the aggregator would compute something else from the same quotes
    /// and policy.
    pub rules: u32,
    /// Which price of a quote counts.
    pub price: PriceRule,
    /// The smallest number of usable quotes for a price; at least one.
    pub min_sources: u32,
    /// The largest distance of a quote from the median, and between any two used quotes.
    pub max_deviation: Ratio,
    /// The largest age of a quote, by the source's own time.
    pub max_quote_age: Span,
    /// How far a source's own time may be ahead of the poller's clock.
    pub max_clock_skew: Span,
    /// How long a quote may stay unchanged before it counts as frozen, if the prices of other sources have moved away from
    /// it.
    pub frozen_after: Span,
    /// The instant at which `max_quote_age` and `max_clock_skew` are compared with the source's own time.
    pub aged_at: AgeRule,
}

impl Policy {
    /// The number of the rules that this version applies.
    pub const RULES: u32 = 1;

    /// How far the median of the other sources must be from a quote that stands still, so that it counts as frozen: a tenth
    /// of `max_deviation`. Anything less may be a normal difference between the sources.
    pub fn movement(&self) -> Ratio {
        self.max_deviation.tenth()
    }
}
