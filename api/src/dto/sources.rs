//! Statistics of the sources.

use std::collections::BTreeMap;

use common::domain::Verdict;
use poem_openapi::Object;
use serde::Serialize;

use super::{DerivedText, Nullable, PairText, TimeText, Word};

/// How the sources performed in the slots of `(from, to]`.
#[derive(Debug, Object, Serialize)]
pub struct Sources {
    /// Where the period begins: one hour before `to`, or later if that hour has more than 10,000 records. A slot at
    /// exactly this time is not counted.
    pub from: TimeText,
    /// Where the period ends: the newest slot of any pair.
    pub to: TimeText,
    /// One item for each source that was asked, sorted by name.
    pub items: Vec<SourceItem>,
}

/// How one source performed, over all pairs and on each pair.
#[derive(Debug, Object, Serialize)]
pub struct SourceItem {
    /// The source.
    pub source: String,
    /// The number of slots with a verdict on this source, added up over all pairs.
    pub slots: u64,
    /// The share of these slots, from 0 to 1, in which the price was computed with this source's quote.
    pub share_used: DerivedText,
    /// The newest slot with a verdict on this source.
    pub last_slot: TimeText,
    /// The verdict in `last_slot`: `used`, or why the quote was not used.
    pub last_verdict: Word<Verdict>,
    /// How many times each verdict was given.
    pub verdicts: BTreeMap<String, u64>,
    /// One item for each pair that the source was asked for, sorted by name.
    pub pairs: Vec<SourcePairItem>,
}

/// How one source performed on one pair.
#[derive(Debug, Object, Serialize)]
pub struct SourcePairItem {
    /// The pair.
    pub pair: PairText,
    /// The number of slots with a verdict on this source.
    pub slots: u64,
    /// The share of these slots, from 0 to 1, in which the price was computed with this source's quote.
    pub share_used: DerivedText,
    /// The newest slot with a verdict on this source.
    pub last_slot: TimeText,
    /// The verdict in `last_slot`: `used`, or why the quote was not used.
    pub last_verdict: Word<Verdict>,
    /// How far the source's newest quote in a slot with a price is from that price: (quote − price) / price. Positive
    /// if the source quoted more. The quote counts even if it was not used. Null if there is no such quote.
    pub deviation: Nullable<DerivedText>,
    /// How many times each verdict was given.
    pub verdicts: BTreeMap<String, u64>,
}
