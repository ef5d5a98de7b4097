//! Sources: the upstreams that are asked for prices.
//!
//! A source returns a price or a named failure for each of many pairs at once. It never waits longer than its
//! deadline, never retries (it is asked again in the next slot anyway), and never guesses a price.
//!
//! In reading order:
//!
//! - [`interface`]: the [`Source`] trait, which the rest of the poller uses.
//! - [`exchange`]: the [`Exchange`] trait with everything that is specific to one exchange.
//! - [`exchanges`]: the exchanges, one file each, and their registry.
//! - [`candle`]: the prices of the past.
//! - [`market`], `search`: which pairs an exchange is asked for.
//! - [`http`]: asks an exchange over HTTP, with rate limits, backoff and bounds on everything.
//! - [`proxy`]: the proxy that requests go through.
//! - [`replay`] and `simulated`: sources without an upstream.
//! - [`json`], [`key`], [`contact`], [`limit`], [`patience`], [`failure`]: what the sources share.
//!
//! These modules may use each other, but they never use this one.

pub mod candle;
pub mod contact;
pub mod error;
pub mod exchange;
pub mod exchanges;
pub mod failure;
pub mod http;
pub mod interface;
pub mod json;
pub mod key;
pub mod limit;
pub mod market;
pub mod patience;
pub mod proxy;
pub mod replay;
mod search;
mod simulated;

use std::sync::Arc;

use common::domain::{Interval, Pair, SourceName};

pub use candle::{CandleRange, MINUTE, Past, Pasts};
pub use contact::Contact;
pub use error::SourceError;
pub use exchange::Exchange;
pub use failure::meaning;
pub use http::Client;
pub use interface::{About, Answers, LeftOut, Role, Sample, Setup, Source};
pub use key::{Key, KeyError, Plan, REDACTED};
pub use limit::{Excess, Limit, MonthlyExcess, PerMinute};
pub use market::{Market, MarketList};
pub use proxy::EgressProxy;

/// The name in `feed.sources` that stands for all recordings in `replay.files`.
pub const REPLAY: &str = "replay";

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
    let exchange = exchanges::named(name.as_str())
        .ok_or_else(|| SourceError::Unknown { name, known: names().collect::<Vec<_>>().join(", ") })?;
    Ok(Arc::new(http::HttpSource::new(name, exchange, setup, pairs, client.clone())?))
}

/// Checks that a source is not sent more requests than its rate limit allows. Fallbacks count as if they were asked in
/// every slot, because that may happen for a while. They do not have to keep a monthly limit, because they are not asked
/// in every slot of a month.
pub fn check_limit(source: &dyn Source, role: Role, interval: Interval) -> Result<(), SourceError> {
    let (name, about) = (source.name(), source.about());
    let (Some(limit), requests) = (about.limit, about.requests) else { return Ok(()) };
    let checked = limit.check(requests, interval);
    checked.map_err(|excess| SourceError::OverLimit { name, requests, interval, excess })?;
    match limit.check_month(requests, interval) {
        Err(excess) if role != Role::Fallback => {
            Err(SourceError::OverMonthlyLimit { name, interval, excess })
        }
        _ => Ok(()),
    }
}

/// The names of all sources.
pub fn names() -> impl Iterator<Item = &'static str> {
    exchanges::ALL.iter().map(|exchange| exchange.name()).chain(simulated::NAMES).chain([REPLAY])
}

/// The names of the simulated sources.
#[expect(clippy::expect_used, reason = "constants, parsed by every demo")]
pub fn simulated_names() -> Vec<SourceName> {
    simulated::NAMES.iter().map(|name| name.parse().expect("a valid name")).collect()
}
