//! The value of an amount of one asset in another.

use common::domain::Origin;
use poem_openapi::Object;
use serde::Serialize;

use super::{AmountText, AssetText, PairText, PriceText, RateText, TimeText, Word};

/// The value of an amount of one asset in another.
#[derive(Debug, Object, Serialize)]
pub struct Conversion {
    /// The asset to convert from.
    pub from: AssetText,
    /// The asset to convert to.
    pub to: AssetText,
    /// The amount to convert, with the digits of the request.
    pub amount: AmountText,
    /// The value of one unit of `from`.
    pub rate: RateText,
    /// The value of the whole amount, computed from the exact rate and not from the rounded one.
    pub result: RateText,
    /// The slot that all prices belong to.
    pub slot: TimeText,
    /// The position of the newest of the ticks used.
    pub sequence: u64,
    /// The prices that the rate is computed from, in order from `from` to `to`.
    pub legs: Vec<LegItem>,
    /// Where the records of the log come from.
    pub origin: Word<Origin>,
    /// Whether the prices are too old to count as the current ones.
    pub stale: bool,
}

/// One of the prices that a rate is computed from.
#[derive(Debug, Object, Serialize)]
pub struct LegItem {
    /// The pair.
    pub pair: PairText,
    /// The agreed price.
    pub price: PriceText,
    /// The slot that the price belongs to.
    pub slot: TimeText,
    /// The tick's position in the log. `/v1/ticks/{sequence}` shows how the price was computed.
    pub sequence: u64,
    /// Whether the rate is divided by this price instead of multiplied.
    pub inverted: bool,
}
