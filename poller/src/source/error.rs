//! Why a source cannot be used.

use common::domain::{Interval, SourceName};

use super::{
    key::KeyError,
    limit::{Excess, MonthlyExcess},
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
    /// More requests than the source allows in a month.
    #[error("sources.{name}: {}", describe_month(*interval, excess))]
    OverMonthlyLimit {
        /// The source.
        name: SourceName,
        /// The distance between slots.
        interval: Interval,
        /// The configured and the allowed number of requests.
        excess: MonthlyExcess,
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

fn describe_month(interval: Interval, excess: &MonthlyExcess) -> String {
    let MonthlyExcess { asked, allowed, at_least } = excess;
    let longer = at_least.map(|enough| format!(" (at least {enough})")).unwrap_or_default();
    format!(
        "a request every {interval} makes {asked} requests a month, but the plan allows {allowed} (and some for lists of markets); give the source the \
         role fallback, use a longer feed.interval{longer}, or use a key of a larger plan"
    )
}
