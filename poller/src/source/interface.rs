//! What the rest of the poller knows of a source: the [`Source`] trait and the types in its signature.

use std::collections::BTreeMap;

use async_trait::async_trait;
use common::domain::{Basis, Failure, Interval, Origin, Pair, Price, Reported, Slot, SourceName, Timestamp};
use tokio::time::Instant;

use super::{
    candle::{CandleRange, Pasts},
    key::Key,
    limit::Limit,
};

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

/// The prices of a pair as a source reported them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The prices, with the digits that the source sent.
    pub reported: Reported,
    /// The source's own time of the last trade, if it sends one.
    pub trade_time: Option<Timestamp>,
    /// The source's own time of the order book, if it sends one.
    pub book_time: Option<Timestamp>,
}

impl Sample {
    /// Only the price of the last trade.
    pub fn traded(last: Price, time: Option<Timestamp>) -> Self {
        Self { reported: Reported::traded(last), trade_time: time, book_time: None }
    }

    /// The last trade and the best bid and ask, without times.
    ///
    /// A side of the book is `None` if it is empty or not a valid price; the last trade stands in for the book then.
    ///
    /// # Errors
    ///
    /// Fails if there is neither a trade nor a book.
    pub fn quoted(last: Option<Price>, bid: Option<Price>, ask: Option<Price>) -> Result<Self, Failure> {
        let has_price = last.is_some() || bid.zip(ask).is_some();
        let reported = Reported { last, bid, ask };
        has_price.then_some(Self { reported, trade_time: None, book_time: None }).ok_or(Failure::Invalid)
    }

    /// The source's own time of the price that counts.
    pub fn time(&self, basis: Basis) -> Option<Timestamp> {
        match basis {
            Basis::Mid => self.book_time,
            Basis::Last | Basis::CandleClose | Basis::Imported => self.trade_time,
        }
    }
}

/// What a source returned for each pair that it was asked for. A pair without an entry counts as
/// [`Failure::Missing`].
pub type Answers = BTreeMap<Pair, Result<Sample, Failure>>;

/// What a source is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The pairs, and why: [`Failure::Unlisted`] if the source does not list the pair or refused it, or
    /// [`Failure::Halted`].
    pub pairs: BTreeMap<Pair, Failure>,
    /// Why the source's list of markets could not be loaded the last time, if it could not.
    pub list: Option<Failure>,
}

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

    /// Loads the source's list of markets if that is due. The list decides which pairs are asked for. This may take many
    /// seconds, so it must not delay a slot. Returns why the list could not be loaded.
    async fn refresh_markets(&self, _slot: Slot) -> Result<(), Failure> {
        Ok(())
    }

    /// The pairs that the source serves but is not asked for, and why.
    fn left_out(&self) -> LeftOut {
        LeftOut::default()
    }

    /// Asks for the closes of past minutes of these pairs. A pair without an entry has no past at this source. `slot` is
    /// the current slot.
    async fn past(&self, _pairs: &[Pair], _range: CandleRange, _slot: Slot, _deadline: Instant) -> Pasts {
        Pasts::new()
    }

    /// What the source's clock showed when its newest response arrived, and when that was. None if the source does not
    /// say. Unlike the times of prices, this time is not older if the market is quiet.
    fn clock(&self) -> Option<(Timestamp, Instant)> {
        None
    }

    /// Asks for all pairs at once. A pair whose price has not arrived by the deadline fails with a timeout.
    async fn ask(&self, slot: Slot, deadline: Instant) -> Answers;
}
