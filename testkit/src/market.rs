//! What the exchanges quote at a given moment.
//!
//! A market depends only on the time: it always returns the same trade for the same slot. Later, a test can therefore
//! ask the market what the record of a slot must contain.

mod grid;
mod recorded;
mod script;
mod walk;

pub use grid::SlotGrid;
pub use recorded::RecordedMarket;
pub use script::ScriptMarket;
pub use walk::WalkMarket;

use crate::Venue;

/// The last trade of a pair at a venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trade {
    /// The price, with the digits that the exchange sends.
    pub price: String,
    /// The time of the trade, unix time in milliseconds.
    pub time_ms: i64,
}

/// A source of trades for a fake upstream.
pub trait Market: Send + Sync + 'static {
    /// The pairs that [`Market::trade`] knows for the venue at that time.
    fn pairs(&self, venue: Venue, now_ms: i64) -> Vec<String>;

    /// The newest trade at or before `now_ms`; `None` if the venue has no market for the pair.
    fn trade(&self, venue: Venue, pair: &str, now_ms: i64) -> Option<Trade>;
}
