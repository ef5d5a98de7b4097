//! What the rest of the poller knows of a source: the [`Source`] trait and the types in its signature.

use std::collections::BTreeMap;

use async_trait::async_trait;
use common::domain::{Failure, Interval, Origin, Pair, Price, Slot, SourceName, Timestamp};
use tokio::time::Instant;

use super::{key::Key, limit::Limit};

common::words! {
    /// How a source takes part in a price.
    pub enum Role ("role") {
        /// Always asked.
        Primary = "primary",
        /// Asked when the primaries do not agree on a price.
        Fallback = "fallback",
        /// Asked and recorded, but never used for a price.
        Shadow = "shadow",
    }
}

/// A price as a source reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The price with the digits that the source sent.
    pub price: Price,
    /// The source's own timestamp for the price, if it sends one.
    pub time: Option<Timestamp>,
}

/// What a source returned for each pair that it was asked for. A pair without an entry counts as
/// [`Failure::Missing`].
pub type Answers = BTreeMap<Pair, Result<Sample, Failure>>;

/// What is known about a source without asking it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The base URL. Empty for sources inside this process.
    pub address: String,
    /// The proxy that is set for the source, without its user and password. Empty if none is set.
    pub proxy: String,
    /// How many requests are sent per slot.
    pub requests: usize,
    /// The rate limit. None if it is unknown, or if the source is not at its public address.
    pub limit: Option<Limit>,
    /// Whether the source is asked at its public address.
    pub is_public: bool,
    /// Whether requests carry an API key.
    pub has_key: bool,
}

/// How to ask a source.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The base URL. Empty for the source's public address.
    pub url: String,
    /// The API key, if one is configured.
    pub key: Option<Key>,
    /// The distance between slots. Pauses after failures are multiples of this distance.
    pub interval: Interval,
}

/// An upstream that returns prices.
#[async_trait]
pub trait Source: Send + Sync {
    /// The source's name in settings, records and metrics.
    fn name(&self) -> SourceName;

    /// Whether the source's prices are live, replayed or simulated.
    fn origin(&self) -> Origin;

    /// Whether the source can be asked for a pair. The source is not expected to return other pairs, so those do
    /// not count as missing.
    fn serves(&self, _pair: Pair) -> bool {
        true
    }

    /// What is known about the source without asking it.
    fn about(&self) -> About {
        About::default()
    }

    /// Asks for all pairs at once. A pair whose price has not arrived by the deadline fails with a timeout.
    async fn ask(&self, slot: Slot, deadline: Instant) -> Answers;
}
