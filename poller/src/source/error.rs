//! Why a source cannot be used.

use common::domain::{Interval, SourceName};

use super::{
    key::KeyError,
    limit::{Excess, Late},
};

/// Why a source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No source has this name.
    #[error("feed.sources: there is no source named `{name}`; the known sources are {known}")]
    Unknown {
        /// The name in the settings.
        name: SourceName,
        /// All names, separated by commas.
        known: String,
    },
    /// The source serves none of the configured pairs.
    #[error("feed.sources: {name} serves none of feed.pairs: {reason}")]
    NothingServed {
        /// The source.
        name: SourceName,
        /// The exchange's explanation.
        reason: String,
    },
    /// The URL is not an HTTP base URL.
    #[error("sources.{name}.url: `{url}` must be an http:// or https:// URL without a query or fragment")]
    Url {
        /// The source.
        name: SourceName,
        /// The URL in the settings, without its query.
        url: String,
    },
    /// The URL contains a user or password, which would leak because URLs are logged and shown.
    #[error("sources.{name}.url: must not contain a user or password")]
    Credentials {
        /// The source.
        name: SourceName,
    },
    /// The API key cannot be used.
    #[error("sources.{name}.{reason}")]
    Key {
        /// The source.
        name: SourceName,
        /// The reason. It starts with the name of the setting.
        reason: KeyError,
    },
    /// More requests than the source's rate limit allows.
    #[error("sources.{name}: {}", describe_excess(*requests, *interval, excess))]
    OverLimit {
        /// The source.
        name: SourceName,
        /// How many requests are sent per slot.
        requests: usize,
        /// The distance between slots.
        interval: Interval,
        /// The configured rate and the allowed rate.
        excess: Excess,
    },
    /// More requests than can be sent before the slot's deadline at the pace that the rate limit allows.
    #[error("sources.{name}: {}", describe_late(*requests, *interval, late))]
    TooManyAtPace {
        /// The source.
        name: SourceName,
        /// How many requests are sent per slot.
        requests: usize,
        /// The distance between slots.
        interval: Interval,
        /// How late the last request would be.
        late: Late,
    },
    /// The HTTP client cannot be built.
    #[error("cannot build the HTTP client")]
    Client(#[source] reqwest::Error),
}

fn describe_excess(requests: usize, interval: Interval, excess: &Excess) -> String {
    // Where each pair is a request of its own, fewer pairs help as well.
    let (what, fewer) = match requests {
        1 => (format!("one request every {interval} makes"), ""),
        _ => (format!("{requests} pairs every {interval} make"), " or fewer pairs"),
    };
    let limit = if excess.is_documented {
        "the source's documented limit is"
    } else {
        "the limit that users report is"
    };
    let longer = excess.at_least.map(|enough| format!(" (at least {enough})")).unwrap_or_default();
    format!(
        "{what} {} requests a minute, but {limit} {} a minute; use a longer feed.interval{longer}{fewer}",
        excess.asked, excess.allowed
    )
}

fn describe_late(requests: usize, interval: Interval, late: &Late) -> String {
    let Late { delay, left, at_least, at_most } = late;
    let longer = at_least.map(|enough| format!("a longer feed.interval (at least {enough}) or "));
    format!(
        "{requests} pairs take one request each, and under the source's rate limit the last request is sent \
         {delay:?} after the first; but with feed.interval = {interval}, a source may have only {left:?} to respond \
         (if there are fallback sources); use {}fewer pairs (at most {at_most})",
        longer.unwrap_or_default()
    )
}
