//! The settings of replays.

use std::{collections::BTreeMap, fmt, num::NonZeroU32, path::PathBuf, str::FromStr, sync::Arc};

use common::{
    clock::{Clock, ReplayClock},
    domain::{Interval, Pair, SourceName, Timestamp},
    text,
};
use serde::{Deserialize, Serialize};

use super::{Member, SourceConfig};
use crate::source::replay::{Recording, RecordingError, Replayed};

/// `[replay]`: recorded prices, for the source `replay`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayConfig {
    /// The recordings, one per venue and pair, as `venue:PAIR:path`.
    #[serde(with = "text::list")]
    pub files: Vec<ReplayFile>,
    /// The speed: `1x` for real time, `60x` for sixty times faster, or `max` for as fast as the log accepts
    /// records.
    #[serde(with = "text")]
    pub speed: Speed,
}

/// One recording: `venue:PAIR:path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayFile {
    venue: SourceName,
    pair: Pair,
    path: PathBuf,
}

/// How fast a recording is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// This many times faster than real time.
    Times(NonZeroU32),
    /// As fast as the log accepts records.
    Max,
}

/// The error for a text that does not name a recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` must have the form `venue:PAIR:path`, such as `kraken:BTC-USD:./kraken.csv.gz`")]
pub struct ReplayFileError(String);

/// The error for a text that is not a speed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a speed; use a whole number and `x`, such as `1x` for real time or `60x` for sixty times faster, \
     or `max`"
)]
pub struct SpeedError(String);

/// Why recordings cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There are no recordings.
    #[error(
        "replay.files: feed.sources contains `replay`, so set at least one recording, such as \
         `kraken:BTC-USD:./kraken.csv.gz`"
    )]
    NoFiles,
    /// The pair of a recording is not in `feed.pairs`.
    #[error("replay.files: {0} is not in feed.pairs; add it there or remove its recordings")]
    Pair(Pair),
    /// Two recordings of the same venue and pair.
    #[error("replay.files: {venue} has two recordings of {pair}; remove one")]
    Twice {
        /// The venue.
        venue: SourceName,
        /// The pair.
        pair: Pair,
    },
    /// A file is not a valid recording.
    #[error("replay.files: {path} cannot be replayed")]
    File {
        /// The file.
        path: String,
        /// The reason.
        #[source]
        source: RecordingError,
    },
}

/// The recordings by venue and pair.
pub(super) struct Recordings {
    venues: BTreeMap<SourceName, BTreeMap<Pair, Recording>>,
}

impl ReplayConfig {
    /// Reads the files.
    pub(super) fn load(&self, pairs: &[Pair]) -> Result<Recordings, ReplayError> {
        if self.files.is_empty() {
            return Err(ReplayError::NoFiles);
        }
        let mut venues: BTreeMap<SourceName, BTreeMap<Pair, Recording>> = BTreeMap::new();
        for ReplayFile { venue, pair, path } in &self.files {
            if !pairs.contains(pair) {
                return Err(ReplayError::Pair(*pair));
            }
            let recording = Recording::load(path)
                .map_err(|source| ReplayError::File { path: path.display().to_string(), source })?;
            if venues.entry(*venue).or_default().insert(*pair, recording).is_some() {
                return Err(ReplayError::Twice { venue: *venue, pair: *pair });
            }
        }
        Ok(Recordings { venues })
    }
}

impl Recordings {
    /// A clock that starts at the first slot with a price. It ends at the last row or, if that is between two slots, at
    /// the slot after it.
    pub(super) fn clock(&self, interval: Interval, speed: Speed) -> Arc<dyn Clock> {
        let spans = || self.venues.values().flat_map(BTreeMap::values).map(Recording::span);
        let first = spans().map(|(first, _)| first).min().unwrap_or(Timestamp::EPOCH);
        let last = spans().map(|(_, last)| last).max().unwrap_or(Timestamp::EPOCH);
        let [first, last] =
            [first, last].map(|time| interval.slot(time).unwrap_or_else(|| interval.after(time)));
        let speed = match speed {
            Speed::Times(times) => Some(times.get()),
            Speed::Max => None,
        };
        Arc::new(ReplayClock::new(first.start(), last.start(), speed))
    }

    /// The venues as sources, each with the role and age limit that it has as a live source. `pairs` returns the pairs that
    /// a venue is asked for.
    pub(super) fn members(
        self,
        settings: &BTreeMap<String, SourceConfig>,
        pairs: impl Fn(SourceName) -> Vec<Pair>,
    ) -> impl Iterator<Item = Member> {
        self.venues.into_iter().map(move |(venue, recordings)| {
            let config = settings.get(venue.as_str()).cloned().unwrap_or_default();
            Member {
                source: Arc::new(Replayed::new(venue, recordings)),
                role: config.role(venue),
                pairs: pairs(venue),
                max_age: config.max_age(venue),
            }
        })
    }
}

impl FromStr for ReplayFile {
    type Err = ReplayFileError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let mut parts = text.splitn(3, ':');
            let (venue, pair, path) = (parts.next()?, parts.next()?, parts.next()?);
            let path = Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty())?;
            Some(Self { venue: venue.parse().ok()?, pair: pair.parse().ok()?, path })
        };
        read().ok_or_else(|| ReplayFileError(text.chars().take(100).collect()))
    }
}

impl fmt::Display for ReplayFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.venue, self.pair, self.path.display())
    }
}

impl FromStr for Speed {
    type Err = SpeedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let times = text.strip_suffix('x').and_then(|times| times.parse().ok());
        times.map(Self::Times).ok_or_else(|| SpeedError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(formatter, "{times}x"),
            Self::Max => formatter.write_str("max"),
        }
    }
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self { files: Vec::new(), speed: Speed::Times(NonZeroU32::MIN) }
    }
}
