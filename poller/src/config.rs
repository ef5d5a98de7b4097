//! What can be set about the feed, its sources and how they agree.

mod replay;
mod upstream;

use std::{collections::BTreeMap, num::NonZeroU32, str::FromStr, sync::Arc};

use common::{
    clock::Clock,
    domain::{Interval, Origin, Pair, Policy, Ratio, SourceName, Span},
    text,
};
use serde::{Deserialize, Serialize};

use crate::source::{self, Client, Setup, Source, SourceError};

pub use crate::source::Role;
pub use replay::{ReplayConfig, ReplayError, ReplayFile, Speed};
pub use upstream::SourceConfig;

/// How many pairs one poller asks for. Every pair is one record a slot, and one more name in each request.
const MAX_PAIRS: usize = 50;

/// `[feed]`: what is fetched, and how often.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeedConfig {
    /// The distance between slots.
    #[serde(with = "text")]
    pub interval: Interval,
    /// The pairs to fetch.
    #[serde(with = "text::list")]
    pub pairs: Vec<Pair>,
    /// The sources to ask.
    #[serde(with = "text::list")]
    pub sources: Vec<SourceName>,
}

/// `[aggregate]`: how quotes become a price.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AggregateConfig {
    /// How many quotes a price needs.
    #[serde(deserialize_with = "text::deserialize")]
    pub min_sources: MinSources,
    /// How far a quote may lie from the median, and the used quotes from each other.
    #[serde(with = "text")]
    pub max_deviation: Ratio,
    /// How old a quote's own time may be.
    #[serde(with = "text")]
    pub max_quote_age: Span,
    /// How far a quote's own time may lie ahead of our clock.
    #[serde(with = "text")]
    pub max_clock_skew: Span,
    /// After how long an unchanged quote counts as frozen, if a peer moved meanwhile.
    #[serde(with = "text")]
    pub frozen_after: Span,
}

/// How many quotes a price needs: at least one. Read from its text, because settings would take `true`
/// for 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MinSources(NonZeroU32);

/// Why a text is not a number of sources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a number of sources: write a whole number from 1 up")]
pub struct MinSourcesError(String);

impl FromStr for MinSources {
    type Err = MinSourcesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| MinSourcesError(text.chars().take(40).collect()))
    }
}

/// The parts of the settings that the poller uses.
#[derive(Debug, Clone, Default)]
pub struct PollerConfig {
    /// What is fetched.
    pub feed: FeedConfig,
    /// Overrides by source; sources without one use their defaults.
    pub sources: BTreeMap<String, SourceConfig>,
    /// How quotes become a price.
    pub aggregate: AggregateConfig,
    /// What is replayed in place of asking.
    pub replay: ReplayConfig,
}

/// Settings that were found to make sense together.
pub struct Settings {
    /// The distance between slots.
    pub interval: Interval,
    /// The pairs, each once.
    pub pairs: Vec<Pair>,
    /// Who is asked.
    pub members: Vec<Member>,
    /// How they agree.
    pub policy: Policy,
    /// What the log will say about where its prices come from.
    pub origin: Origin,
    /// The time of a recording, where one is replayed.
    pub clock: Option<Arc<dyn Clock>>,
}

/// A source and its part.
#[derive(Clone)]
pub struct Member {
    /// Who is asked.
    pub source: Arc<dyn Source>,
    /// What part it has.
    pub role: Role,
    /// How old its own time may be, where it has a limit of its own.
    pub max_age: Option<Span>,
}

/// Why the settings cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nothing to fetch, or too much.
    #[error("feed.pairs: name 1 to {MAX_PAIRS} pairs, not {0}")]
    PairCount(usize),
    /// A pair twice.
    #[error("feed.pairs: {0} is there twice")]
    PairTwice(Pair),
    /// Nobody to ask.
    #[error("feed.sources: name at least one source")]
    NoSources,
    /// A source twice.
    #[error("feed.sources: {0} is there twice")]
    SourceTwice(SourceName),
    /// A source that cannot be built.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A recording that cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Invented and real prices in one log.
    #[error("feed.sources: live, replayed and simulated sources cannot share one log; name one kind")]
    MixedOrigins,
    /// A quorum that cannot be reached.
    #[error(
        "aggregate.min_sources: {min_sources} sources must agree on {pair}, but feed.sources has only {count} \
         that serve it and may be used (shadow sources are not)"
    )]
    UnreachableQuorum {
        /// For which pair.
        pair: Pair,
        /// What is asked for.
        min_sources: u32,
        /// What is there.
        count: usize,
    },
    /// A ratio that lets everything or nothing pass.
    #[error("aggregate.max_deviation: must be above 0 and at most 50%")]
    Deviation,
}

impl PollerConfig {
    /// Checks the settings and builds the sources they name.
    pub fn resolve(&self) -> Result<Settings, ConfigError> {
        let FeedConfig { interval, pairs, sources } = &self.feed;
        if pairs.is_empty() || pairs.len() > MAX_PAIRS {
            return Err(ConfigError::PairCount(pairs.len()));
        }
        if let Some(pair) = first_repeated(pairs) {
            return Err(ConfigError::PairTwice(pair));
        }
        if let Some(name) = first_repeated(sources) {
            return Err(ConfigError::SourceTwice(name));
        }
        let client = Client::new()?;
        let member = |name: &SourceName| {
            let config = self.sources.get(name.as_str()).cloned().unwrap_or_default();
            let (role, max_age) = (config.role(*name), config.max_age(*name));
            let setup = Setup { key: config.key(*name)?, url: config.url, interval: *interval };
            let source = source::build(*name, setup, pairs, &client)?;
            source::check_limit(&*source, *interval)?;
            Ok::<_, ConfigError>(Member { source, role, max_age })
        };
        let (mut members, mut clock) = (Vec::new(), None);
        for name in sources {
            if name.as_str() == source::REPLAY {
                let recordings = self.replay.load(pairs)?;
                clock = Some(recordings.clock(*interval, self.replay.speed));
                members.extend(recordings.members(&self.sources));
            } else {
                members.push(member(name)?);
            }
        }
        let origin = members.first().ok_or(ConfigError::NoSources)?.source.origin();
        if members.iter().any(|member| member.source.origin() != origin) {
            return Err(ConfigError::MixedOrigins);
        }
        let policy = self.policy(&members)?;
        Ok(Settings { interval: *interval, pairs: pairs.clone(), members, policy, origin, clock })
    }

    fn policy(&self, members: &[Member]) -> Result<Policy, ConfigError> {
        let AggregateConfig { min_sources, max_deviation, max_quote_age, max_clock_skew, frozen_after } =
            self.aggregate;
        let min_sources = min_sources.0.get();
        let needed = usize::try_from(min_sources).unwrap_or(usize::MAX);
        for pair in &self.feed.pairs {
            let usable = |member: &&Member| member.role != Role::Shadow && member.source.serves(*pair);
            let count = members.iter().filter(usable).count();
            if needed > count {
                return Err(ConfigError::UnreachableQuorum { pair: *pair, min_sources, count });
            }
        }
        if max_deviation.is_zero() || max_deviation.decimal() > rust_decimal::Decimal::new(5, 1) {
            return Err(ConfigError::Deviation);
        }
        Ok(Policy { min_sources, max_deviation, max_quote_age, max_clock_skew, frozen_after })
    }
}

fn first_repeated<T: PartialEq + Copy>(items: &[T]) -> Option<T> {
    let mut rest = items.iter();
    while let Some(item) = rest.next() {
        if rest.as_slice().contains(item) {
            return Some(*item);
        }
    }
    None
}

impl Default for FeedConfig {
    #[expect(clippy::expect_used, reason = "constants, parsed by the test below")]
    fn default() -> Self {
        let pairs = ["BTC-USD", "ETH-USD"];
        let sources = ["kraken", "coinbase", "bitstamp"];
        Self {
            interval: "10s".parse().expect("a valid interval"),
            pairs: pairs.iter().map(|pair| pair.parse().expect("a valid pair")).collect(),
            sources: sources.iter().map(|name| name.parse().expect("a valid name")).collect(),
        }
    }
}

impl Default for AggregateConfig {
    #[expect(clippy::expect_used, reason = "a constant, parsed by the test below")]
    fn default() -> Self {
        Self {
            min_sources: MinSources(NonZeroU32::MIN.saturating_add(1)),
            max_deviation: "2%".parse().expect("a valid ratio"),
            max_quote_age: Span::from_seconds(30),
            max_clock_skew: Span::from_seconds(5),
            frozen_after: Span::from_seconds(600),
        }
    }
}

#[cfg(test)]
mod tests;
