//! How the sources did.

use std::collections::BTreeMap;

use poem_openapi::Object;

use super::{DerivedText, PairText, TimeText};

/// How the sources did in the slots of `(from, to]`.
#[derive(Debug, Object)]
pub struct Sources {
    /// Where the slots begin: an hour before `to`, or later where that is more than 10,000 records. A slot at this
    /// very instant is not counted.
    pub from: TimeText,
    /// The newest slot of any pair.
    pub to: TimeText,
    /// One item for each source that was asked, by name.
    pub items: Vec<SourceItem>,
}

/// How one source did, on all pairs together and on each.
#[derive(Debug, Object)]
pub struct SourceItem {
    /// The source.
    pub source: String,
    /// The slots that have a verdict on it; a slot of two pairs counts twice.
    pub slots: u64,
    /// The share of them whose price its quote is part of, from 0 to 1.
    pub share_used: DerivedText,
    /// The newest of them.
    pub last_slot: TimeText,
    /// The verdict there: `used`, or why not.
    pub last_verdict: String,
    /// How often each verdict was given.
    pub verdicts: BTreeMap<String, u64>,
    /// One item for each pair it was asked for, by name.
    pub pairs: Vec<SourcePairItem>,
}

/// How one source did on one pair.
#[derive(Debug, Object)]
pub struct SourcePairItem {
    /// The pair.
    pub pair: PairText,
    /// The slots that have a verdict on it.
    pub slots: u64,
    /// The share of them whose price its quote is part of, from 0 to 1.
    pub share_used: DerivedText,
    /// The newest of them.
    pub last_slot: TimeText,
    /// The verdict there: `used`, or why not.
    pub last_verdict: String,
    /// (quote − price) / price of its newest quote in a slot that has a price, whether used or not: above zero where
    /// it quoted more. Null where there is none.
    pub deviation: Option<DerivedText>,
    /// How often each verdict was given.
    pub verdicts: BTreeMap<String, u64>,
}
