//! Sources: the upstreams we ask.
//!
//! A source answers for many pairs at once, each with a price or a named failure; it never waits past its
//! deadline, never retries (the next slot is the retry), and never guesses.
//!
//! [`HttpSource`](http::HttpSource) does the asking for every [`Exchange`]; what differs between exchanges
//! is one small file each, with pure functions: which requests to make, and what a body says.

mod backoff;
mod binance;
mod bitfinex;
mod bitstamp;
mod client;
mod coinbase;
mod coingecko;
mod exchange;
mod gemini;
pub mod http;
mod key;
mod kraken;
mod limit;
mod manners;
mod meaning;
mod number;
pub mod patience;
pub mod replay;
mod simulated;
mod unique;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use common::domain::{Failure, Interval, Origin, Pair, Price, Slot, SourceName, Timestamp, Words};
use tokio::time::Instant;

pub use client::Client;
pub use exchange::Exchange;
pub use key::{Key, KeyError, Plan, REDACTED};
pub use limit::{Excess, Late, Limit, PerMinute};
pub use meaning::meaning;

/// In place of a source's name: all recordings that are to be replayed.
pub const REPLAY: &str = "replay";

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

/// What can be said about a source without asking it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Where it is; empty: in this process.
    pub address: String,
    /// How many requests a slot takes.
    pub requests: usize,
    /// How many it allows, where that is documented and the address is its public one.
    pub limit: Option<Limit>,
    /// Whether the address is its public one.
    pub is_public: bool,
    /// Whether a key is sent along.
    pub has_key: bool,
}

/// How a source is to be asked.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where it is; empty: its public address.
    pub url: String,
    /// The key to it, where there is one.
    pub key: Option<Key>,
    /// The distance between slots, by which a pause is measured.
    pub interval: Interval,
}

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

    /// What can be said about it without asking.
    fn about(&self) -> About {
        About::default()
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
    /// An address with a password in it, which would be shown with it.
    #[error("sources.{name}.url: must not contain a user or password")]
    Credentials {
        /// Which source.
        name: SourceName,
    },
    /// A key that cannot be used.
    #[error("sources.{name}.{reason}")]
    Key {
        /// Which source.
        name: SourceName,
        /// Why not; it starts with the setting.
        reason: KeyError,
    },
    /// More requests than the source allows.
    #[error("sources.{name}: {}", told(*requests, *interval, excess))]
    OverLimit {
        /// Which source.
        name: SourceName,
        /// How many requests a slot takes.
        requests: usize,
        /// How often.
        interval: Interval,
        /// By how much that is too much.
        excess: Excess,
    },
    /// More requests than can be sent in time at the pace that the source allows.
    #[error("sources.{name}: {}", told_late(*requests, *interval, late))]
    TooManyAtPace {
        /// Which source.
        name: SourceName,
        /// How many requests a slot takes.
        requests: usize,
        /// How often.
        interval: Interval,
        /// By how much the last of them is too late.
        late: Late,
    },
    /// The HTTP client cannot be built.
    #[error("cannot build the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Builds a source by its name.
pub fn build(
    name: SourceName,
    setup: Setup,
    pairs: &[Pair],
    client: &Client,
) -> Result<Arc<dyn Source>, SourceError> {
    if let Some(simulated) = simulated::Simulated::named(name, pairs) {
        return Ok(Arc::new(simulated));
    }
    let exchange = name
        .as_str()
        .parse()
        .map_err(|_| SourceError::Unknown { name, known: names().collect::<Vec<_>>().join(", ") })?;
    Ok(Arc::new(http::HttpSource::new(name, exchange, setup, pairs, client.clone())?))
}

/// Refuses more requests than a source allows. A fallback counts as if it were asked every slot: on a bad
/// day it is.
pub fn check_limit(source: &dyn Source, interval: Interval) -> Result<(), SourceError> {
    let (name, about) = (source.name(), source.about());
    let (Some(limit), requests) = (about.limit, about.requests) else { return Ok(()) };
    // The pace comes first: what it recommends keeps the limit, and the reverse does not hold.
    limit.check_pace(requests, interval).map_err(|late| SourceError::TooManyAtPace {
        name,
        requests,
        interval,
        late,
    })?;
    let checked = limit.check(requests, interval);
    checked.map_err(|excess| SourceError::OverLimit { name, requests, interval, excess })
}

/// The numbers of an excess, and what to do about it.
fn told(requests: usize, interval: Interval, excess: &Excess) -> String {
    // Where each pair is a request of its own, fewer of them help as well.
    let (what, fewer) = match requests {
        1 => (format!("one request every {interval} makes"), ""),
        _ => (format!("{requests} pairs every {interval} are"), " or fewer pairs"),
    };
    let whose = if excess.is_documented { "its documented limit is" } else { "what it is known to allow is" };
    let longer = excess.at_least.map(|enough| format!(" (at least {enough})")).unwrap_or_default();
    format!(
        "{what} {} requests a minute, {whose} {} a minute: \
         use a longer feed.interval{longer}{fewer}",
        excess.asked, excess.allowed
    )
}

/// How late the last request would be, and what to do about it.
fn told_late(requests: usize, interval: Interval, late: &Late) -> String {
    let Late { delay, left, at_least, at_most } = late;
    let longer = at_least.map(|enough| format!("a longer feed.interval (at least {enough}) or "));
    format!(
        "of {requests} requests, one for each pair, the last may be sent {delay:?} after the first, by the \
         source's limit, and every {interval} a source has {left:?} to answer, where there are fallbacks: use \
         {}fewer pairs (at most {at_most})",
        longer.unwrap_or_default()
    )
}

/// The names of all sources there are.
pub fn names() -> impl Iterator<Item = &'static str> {
    Exchange::ALL.iter().map(|exchange| exchange.as_str()).chain(simulated::NAMES).chain([REPLAY])
}

/// The names of the sources that invent their prices.
#[expect(clippy::expect_used, reason = "constants, parsed by every demo")]
pub fn simulated_names() -> Vec<SourceName> {
    simulated::NAMES.iter().map(|name| name.parse().expect("a valid name")).collect()
}
