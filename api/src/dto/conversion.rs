//! What an amount of one asset is worth in another.

use poem_openapi::Object;

use super::{AmountText, AssetText, PairText, PriceText, RateText, TimeText};

/// What an amount of one asset is worth in another.
#[derive(Debug, Object)]
pub struct Conversion {
    /// The asset that there is an amount of.
    pub from: AssetText,
    /// The asset that it is converted to.
    pub to: AssetText,
    /// How much there is, with the digits that were asked for.
    pub amount: AmountText,
    /// What one of it is worth.
    pub rate: RateText,
    /// What all of it is worth: the exact product, and not that of the rounded rate.
    pub result: RateText,
    /// The slot that all prices stand for.
    pub slot: TimeText,
    /// The position of the newest of their ticks.
    pub sequence: u64,
    /// The prices that the rate is made of, from `from` to `to`.
    pub legs: Vec<LegItem>,
    /// `live`, `replay` or `simulated`.
    pub origin: String,
    /// Whether the prices are too old to be taken for those now.
    pub stale: bool,
}

/// One price that a rate is made of.
#[derive(Debug, Object)]
pub struct LegItem {
    /// The pair.
    pub pair: PairText,
    /// Its agreed price.
    pub price: PriceText,
    /// The slot the price stands for.
    pub slot: TimeText,
    /// The tick's position in the log; `/v1/ticks/{sequence}` explains it.
    pub sequence: u64,
    /// Whether the rate is divided by this price, and not multiplied.
    pub inverted: bool,
}
