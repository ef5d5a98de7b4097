//! The settings of one pair.

use common::{
    domain::{Policy, PriceRule, Ratio, SourceName, Span},
    text,
};
use serde::{Deserialize, Serialize};

use super::MinSources;

/// `[pairs."NAME"]`: one pair. What is not set here is as in `[feed]` and `[aggregate]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairConfig {
    /// The sources to ask for the pair, out of `feed.sources`. If empty, all of them are asked.
    #[serde(with = "text::list", skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceName>,
    /// Which price of a quote counts for the pair.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceRule>,
    /// How many sources must agree on a price of the pair.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub min_sources: Option<MinSources>,
    /// How far a quote of the pair may be from the median, and the used quotes from each other.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub max_deviation: Option<Ratio>,
    /// How old a quote of the pair may be according to its source's timestamp.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub max_quote_age: Option<Span>,
    /// After how long an unchanged quote of the pair counts as frozen, if the prices of other sources have moved
    /// away from it.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub frozen_after: Option<Span>,
}

impl PairConfig {
    /// The pair's own policy: that of all pairs, except for what is set here.
    pub(super) fn policy(&self, of_all: Policy) -> Policy {
        Policy {
            price: self.price.unwrap_or(of_all.price),
            min_sources: self.min_sources.map_or(of_all.min_sources, MinSources::get),
            max_deviation: self.max_deviation.unwrap_or(of_all.max_deviation),
            max_quote_age: self.max_quote_age.unwrap_or(of_all.max_quote_age),
            frozen_after: self.frozen_after.unwrap_or(of_all.frozen_after),
            ..of_all
        }
    }

    /// Whether a source is asked for the pair.
    pub(super) fn uses(&self, source: SourceName) -> bool {
        self.sources.is_empty() || self.sources.contains(&source)
    }
}
