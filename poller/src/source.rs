//! Sources: the upstreams we ask.
//!
//! A source answers for many pairs at once, each with a price or a named failure; it never waits past its
//! deadline, never retries (the next slot is the retry), and never guesses.
//!
//! [`HttpSource`](http::HttpSource) does the asking for every exchange; what differs between exchanges is
//! one small file each, with two pure functions: which requests to make, and what a body says.

mod bitstamp;
mod coinbase;
pub mod http;
mod kraken;
mod simulated;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use common::domain::{Failure, Origin, Pair, Price, Slot, SourceName, Timestamp, Words};
use serde_json::value::RawValue;
use tokio::time::Instant;

/// A price as a source gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The price, digits kept.
    pub price: Price,
    /// The source's own time for it, where it gives one.
    pub time: Option<Timestamp>,
}

/// What a source says about each pair it was asked for. A pair that is not in it is missing.
pub type Answers = BTreeMap<Pair, Result<Sample, Failure>>;

/// An upstream that can be asked for prices.
#[async_trait]
pub trait Source: Send + Sync {
    /// Its name in settings, records and metrics.
    fn name(&self) -> SourceName;

    /// Whether its prices are real.
    fn origin(&self) -> Origin;

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
    http::Exchange::ALL.iter().map(|exchange| exchange.as_str()).chain(simulated::NAMES)
}

/// The names of the sources that invent their prices.
#[expect(clippy::expect_used, reason = "constants, parsed by every demo")]
pub fn simulated_names() -> Vec<SourceName> {
    simulated::NAMES.iter().map(|name| name.parse().expect("a valid name")).collect()
}

/// A source's price from its text. One place fewer than prices may have, so that midpoints are exact.
fn price(text: &str) -> Result<Price, Failure> {
    let price: Price = text.parse().map_err(|_| Failure::Invalid)?;
    if price.decimal().scale() > Price::MAX_QUOTED_DECIMALS { Err(Failure::Invalid) } else { Ok(price) }
}

/// The text of a JSON string or number, unchanged: numbers never pass through f64.
fn text_of(value: &RawValue) -> Result<String, Failure> {
    let raw = value.get();
    if raw.starts_with('"') {
        serde_json::from_str(raw).map_err(|_| Failure::Malformed)
    } else if raw.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        Ok(raw.to_owned())
    } else {
        Err(Failure::Invalid)
    }
}

/// A value's price, from a JSON string or number.
fn price_of(value: Option<&RawValue>) -> Result<Price, Failure> {
    price(&text_of(value.ok_or(Failure::Malformed)?)?)
}
