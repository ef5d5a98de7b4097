//! The settings of the feed, its sources, and how quotes become a price.

mod backfill;
mod pair;
mod replay;
mod upstream;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    num::NonZeroU32,
    str::FromStr,
    sync::Arc,
};

use common::{
    clock::Clock,
    domain::{AgeRule, Interval, Origin, Pair, Policy, PriceRule, Ratio, SourceName, Span},
    text,
};
use serde::{Deserialize, Serialize};

use crate::source::{self, Client, Setup, Source, SourceError};

pub use crate::source::Role;
pub use backfill::{BackfillConfig, BackfillSpan};
pub use pair::PairConfig;
pub use replay::{ReplayConfig, ReplayError, ReplayFile, Speed};
pub use upstream::{SourceConfig, SourcesConfig};

/// The largest number of pairs of a poller. For each slot, each pair adds one record to the log, and one symbol or one
/// request to what is sent to each source.
const MAX_PAIRS: usize = 50;

/// `[feed]`: which prices are fetched, how often, and from where.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeedConfig {
    /// The distance between slots. Every pair gets one record per slot.
    #[serde(with = "text")]
    pub interval: Interval,
    /// The pairs to fetch, such as BTC-USD.
    #[serde(with = "text::list")]
    pub pairs: Vec<Pair>,
    /// The sources to ask. `tickwell sources` lists all of them.
    #[serde(with = "text::list")]
    pub sources: Vec<SourceName>,
}

/// `[aggregate]`: how quotes become a price.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AggregateConfig {
    /// Which price of a quote counts if a source returns both: `mid` is the midpoint of bid and ask, `last` the
    /// price of the last trade. Sources that return only one of them always use that.
    #[serde(with = "text")]
    pub price: PriceRule,
    /// How many sources must agree on a price.
    #[serde(deserialize_with = "text::deserialize")]
    pub min_sources: MinSources,
    /// How far a quote may be from the median, and the used quotes from each other.
    #[serde(with = "text")]
    pub max_deviation: Ratio,
    /// How old a quote may be according to its source's timestamp.
    #[serde(with = "text")]
    pub max_quote_age: Span,
    /// How far a source's timestamp may be ahead of this machine's clock.
    #[serde(with = "text")]
    pub max_clock_skew: Span,
    /// After how long an unchanged quote counts as frozen, if the prices of other sources have moved away from
    /// it by more than a tenth of `max_deviation`.
    #[serde(with = "text")]
    pub frozen_after: Span,
}

/// How many sources must agree on a price: at least one. The number is parsed from text, because the settings
/// library would accept `true` for 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MinSources(NonZeroU32);

/// The error for a text that is not a number of sources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a number of sources; use a whole number of at least 1")]
pub struct MinSourcesError(String);

impl MinSources {
    /// The number.
    pub(crate) fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for MinSources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for MinSources {
    type Err = MinSourcesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| MinSourcesError(text.chars().take(40).collect()))
    }
}

/// The settings of the poller.
#[derive(Debug, Clone, Default)]
pub struct PollerConfig {
    /// Which prices are fetched.
    pub feed: FeedConfig,
    /// Settings of single pairs, by their names. Pairs without an entry have the settings of all pairs.
    pub pairs: BTreeMap<String, PairConfig>,
    /// Settings of all sources and of single ones.
    pub sources: SourcesConfig,
    /// How quotes become a price.
    pub aggregate: AggregateConfig,
    /// How much of the past is published.
    pub backfill: BackfillConfig,
    /// Recordings that are replayed instead of asking sources.
    pub replay: ReplayConfig,
}

/// Validated settings.
pub struct Settings {
    /// The distance between slots.
    pub interval: Interval,
    /// The pairs, and how the quotes of each become a price.
    pub pairs: BTreeMap<Pair, Policy>,
    /// The sources and their roles.
    pub members: Vec<Member>,
    /// How much of the past is published before a pair's first live slot, if any is.
    pub backfill: Option<Span>,
    /// The origin that records will have.
    pub origin: Origin,
    /// The clock of the recordings, if they are replayed.
    pub clock: Option<Arc<dyn Clock>>,
}

impl Settings {
    /// How many sources are always asked for a pair's price.
    pub(crate) fn primaries(&self, pair: Pair) -> usize {
        self.members.iter().filter(|member| member.role == Role::Primary && member.serves(pair)).count()
    }
}

/// A source and its settings.
#[derive(Clone)]
pub struct Member {
    /// The source.
    pub source: Arc<dyn Source>,
    /// Its role.
    pub role: Role,
    /// The pairs that it is asked for, if it serves them.
    pub pairs: Vec<Pair>,
    /// How old the source's timestamps may be. None means the policy's `max_quote_age`.
    pub max_age: Option<Span>,
}

impl Member {
    /// Whether the source is asked for a pair.
    pub fn serves(&self, pair: Pair) -> bool {
        self.pairs.contains(&pair) && self.source.serves(pair)
    }
}

/// Why settings are invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No pairs, or too many.
    #[error("feed.pairs: {0} pairs are set; set at least 1 and at most {MAX_PAIRS}")]
    PairCount(usize),
    /// A pair is repeated.
    #[error("feed.pairs: {0} is listed twice")]
    PairTwice(Pair),
    /// There are settings for a pair that is not polled, or the text is not a pair.
    #[error("pairs.{0}: there is no such pair in feed.pairs; add it there, or remove these settings")]
    UnknownPair(String),
    /// A pair uses a source that is not asked.
    #[error("pairs.{pair}.sources: {name} is not in feed.sources; add it there, or remove it here")]
    SourceOfPair {
        /// The pair.
        pair: Pair,
        /// The source's name.
        name: SourceName,
    },
    /// No sources.
    #[error("feed.sources: set at least one source")]
    NoSources,
    /// A source is repeated.
    #[error("feed.sources: {0} is listed twice")]
    SourceTwice(SourceName),
    /// A source cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A recording cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The sources have different origins.
    #[error("feed.sources: live, replayed and simulated sources cannot be combined; use only one kind")]
    MixedOrigins,
    /// There are not enough sources for a price.
    #[error(
        "aggregate.min_sources: {min_sources} sources must agree on {pair}, but only {count} of its sources serve it \
         (not counting shadow sources); add sources, or lower aggregate.min_sources or pairs.{pair}.min_sources"
    )]
    UnreachableQuorum {
        /// The pair.
        pair: Pair,
        /// How many sources must agree.
        min_sources: u32,
        /// How many sources can be used for the pair.
        count: usize,
    },
    /// The maximum deviation is so small that no quote would be accepted, or so large that almost any would be.
    #[error("{0}: must be above 0 and at most 50%")]
    Deviation(String),
}

impl PollerConfig {
    /// Validates the settings and builds the sources.
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
        let of_pairs = self.pair_settings()?;
        let mut clients = BTreeMap::new();
        let mut member = |name: &SourceName| {
            let config = self.sources.by_name.get(name.as_str()).cloned().unwrap_or_default();
            let proxy = config.proxy.or(&self.sources.proxy);
            let client = match clients.entry(proxy.clone()) {
                Entry::Occupied(shared) => shared.into_mut(),
                Entry::Vacant(first) => first.insert(Client::new(proxy, &self.sources.contact)?),
            };
            let (role, max_age) = (config.role(*name), config.max_age(*name));
            let setup = Setup { key: config.key(*name)?, url: config.url, interval: *interval };
            let pairs = asked_for(*name, &of_pairs);
            let source = source::build(*name, setup, &pairs, client)?;
            source::check_limit(&*source, role, *interval)?;
            Ok::<_, ConfigError>(Member { source, role, pairs, max_age })
        };
        let (mut members, mut clock) = (Vec::new(), None);
        for name in sources {
            if name.as_str() == source::REPLAY {
                let recordings = self.replay.load(pairs)?;
                clock = Some(recordings.clock(*interval, self.replay.speed));
                members
                    .extend(recordings.members(&self.sources.by_name, |venue| asked_for(venue, &of_pairs)));
            } else {
                members.push(member(name)?);
            }
        }
        let origin = members.first().ok_or(ConfigError::NoSources)?.source.origin();
        if members.iter().any(|member| member.source.origin() != origin) {
            return Err(ConfigError::MixedOrigins);
        }
        let pairs = self.policies(&members, &of_pairs)?;
        // A recording has no past but itself.
        let backfill = self.backfill.span.get().filter(|_| origin != Origin::Replay);
        Ok(Settings { interval: *interval, pairs, members, backfill, origin, clock })
    }

    /// The settings of each pair, which may be the defaults.
    fn pair_settings(&self) -> Result<BTreeMap<Pair, PairConfig>, ConfigError> {
        let mut all: BTreeMap<Pair, PairConfig> =
            self.feed.pairs.iter().map(|pair| (*pair, PairConfig::default())).collect();
        for (name, config) in &self.pairs {
            let own = name.parse().ok().and_then(|pair: Pair| Some((pair, all.get_mut(&pair)?)));
            let (pair, own) = own.ok_or_else(|| ConfigError::UnknownPair(name.clone()))?;
            if let Some(source) = config.sources.iter().find(|source| !self.feed.sources.contains(source)) {
                return Err(ConfigError::SourceOfPair { pair, name: *source });
            }
            *own = config.clone();
        }
        Ok(all)
    }

    /// The policy of pairs without settings of their own.
    pub(crate) fn policy_of_all(&self) -> Result<Policy, ConfigError> {
        let AggregateConfig {
            price,
            min_sources,
            max_deviation,
            max_quote_age,
            max_clock_skew,
            frozen_after,
        } = self.aggregate;
        require_useful(max_deviation, || "aggregate.max_deviation".to_owned())?;
        Ok(Policy {
            rules: Policy::RULES,
            price,
            min_sources: min_sources.get(),
            max_deviation,
            max_quote_age,
            max_clock_skew,
            frozen_after,
            aged_at: AgeRule::Arrival,
        })
    }

    fn policies(
        &self,
        members: &[Member],
        of_pairs: &BTreeMap<Pair, PairConfig>,
    ) -> Result<BTreeMap<Pair, Policy>, ConfigError> {
        let of_all = self.policy_of_all()?;
        let policy = |(pair, config): (&Pair, &PairConfig)| {
            let policy = config.policy(of_all);
            require_useful(policy.max_deviation, || format!("pairs.{pair}.max_deviation"))?;
            let usable = |member: &&Member| member.role != Role::Shadow && member.serves(*pair);
            let (min_sources, count) = (policy.min_sources, members.iter().filter(usable).count());
            match usize::try_from(min_sources).is_ok_and(|needed| needed <= count) {
                true => Ok((*pair, policy)),
                false => Err(ConfigError::UnreachableQuorum { pair: *pair, min_sources, count }),
            }
        };
        of_pairs.iter().map(policy).collect()
    }
}

/// The pairs that a source is asked for.
fn asked_for(source: SourceName, of_pairs: &BTreeMap<Pair, PairConfig>) -> Vec<Pair> {
    of_pairs.iter().filter(|(_, config)| config.uses(source)).map(|(pair, _)| *pair).collect()
}

/// Refuses a deviation that accepts no quote or almost any quote.
fn require_useful(max_deviation: Ratio, setting: impl Fn() -> String) -> Result<(), ConfigError> {
    let is_useful = !max_deviation.is_zero() && max_deviation.decimal() <= rust_decimal::Decimal::new(5, 1);
    if is_useful { Ok(()) } else { Err(ConfigError::Deviation(setting())) }
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
            price: PriceRule::Mid,
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
