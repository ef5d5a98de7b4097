//! Sources: the upstreams we ask.
//!
//! A source answers for many pairs at once, each with a price or a named failure; it never waits past its
//! deadline, never retries (the next slot is the retry), and never guesses.
//!
//! [`HttpSource`](http::HttpSource) does the asking for every [`Exchange`]; what differs between exchanges
//! is one small file each, with pure functions: which requests to make, and what a body says.

mod binance;
mod bitfinex;
mod bitstamp;
mod coinbase;
mod coingecko;
mod exchange;
mod gemini;
pub mod http;
mod kraken;
mod number;
mod simulated;
mod unique;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use common::domain::{Failure, Origin, Pair, Price, Slot, SourceName, Timestamp, Words};
use tokio::time::Instant;

pub use exchange::Exchange;

/// A price as a source gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The price, digits kept.
    pub price: Price,
    /// The source's own time for it, where it gives one.
    pub time: Option<Timestamp>,
}

/// What a source says about each pair that it serves. A pair that is not in it is missing.
pub type Answers = BTreeMap<Pair, Result<Sample, Failure>>;

/// An upstream that can be asked for prices.
#[async_trait]
pub trait Source: Send + Sync {
    /// Its name in settings, records and metrics.
    fn name(&self) -> SourceName;

    /// Whether its prices are real.
    fn origin(&self) -> Origin;

    /// Whether it can be asked for a pair at all. A pair that it does not serve is not missing from its
    /// answers: it is none of its business.
    fn serves(&self, _pair: Pair) -> bool {
        true
    }

    /// Asks for all its pairs at once; what is not here at the deadline is a timeout.
    async fn ask(&self, slot: Slot, deadline: Instant) -> Answers;
}

/// Why a source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No such source.
    #[error("feed.sources: there is no source `{name}` (known: {known})")]
    Unknown {
        /// What was named.
        name: SourceName,
        /// What could have been.
        known: String,
    },
    /// It has none of the pairs.
    #[error("feed.sources: {name} serves none of feed.pairs: {reason}")]
    NothingServed {
        /// Which source.
        name: SourceName,
        /// Why not, in a sentence.
        reason: String,
    },
    /// Its address is none.
    #[error("sources.{name}.url: `{url}` is not a URL that starts with http:// or https://")]
    Url {
        /// Which source.
        name: SourceName,
        /// What was given.
        url: String,
    },
    /// The HTTP client cannot be built.
    #[error("cannot build the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Builds a source by its name. An empty `url` means the source's public address.
pub fn build(
    name: SourceName,
    url: &str,
    pairs: &[Pair],
    client: &http::Client,
) -> Result<Arc<dyn Source>, SourceError> {
    if let Some(simulated) = simulated::Simulated::named(name, pairs) {
        return Ok(Arc::new(simulated));
    }
    let exchange = name
        .as_str()
        .parse()
        .map_err(|_| SourceError::Unknown { name, known: names().collect::<Vec<_>>().join(", ") })?;
    Ok(Arc::new(http::HttpSource::new(name, exchange, url, pairs, client.clone())?))
}

/// The names of all sources there are.
pub fn names() -> impl Iterator<Item = &'static str> {
    Exchange::ALL.iter().map(|exchange| exchange.as_str()).chain(simulated::NAMES)
}

/// The names of the sources that invent their prices.
#[expect(clippy::expect_used, reason = "constants, parsed by every demo")]
pub fn simulated_names() -> Vec<SourceName> {
    simulated::NAMES.iter().map(|name| name.parse().expect("a valid name")).collect()
}
