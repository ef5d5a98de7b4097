//! What is replayed: `[replay]`.

use std::{collections::BTreeMap, fmt, num::NonZeroU32, path::PathBuf, str::FromStr, sync::Arc};

use common::{
    clock::{Clock, ReplayClock},
    domain::{Interval, Pair, SourceName, Timestamp},
    text,
};
use serde::{Deserialize, Serialize};

use super::{Member, SourceConfig};
use crate::source::replay::{Recording, RecordingError, Replayed};

/// `[replay]`: recorded prices for the source `replay`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayConfig {
    /// The recordings, one a venue and pair.
    #[serde(with = "text::list")]
    pub files: Vec<ReplayFile>,
    /// How many times faster than real time they are replayed.
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
    /// So many times faster than real time.
    Times(NonZeroU32),
    /// As fast as the log takes it.
    Max,
}

/// Why a text is not a recording's place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not venue:PAIR:path, such as kraken:BTC-USD:./kraken.csv.gz")]
pub struct ReplayFileError(String);

/// Why a text is not a speed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a speed: write 1x for real time, 60x for sixty times that, or max")]
pub struct SpeedError(String);

/// Why nothing can be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No files.
    #[error(
        "replay.files: feed.sources names replay; name its recordings, such as kraken:BTC-USD:./kraken.csv.gz"
    )]
    NoFiles,
    /// Files for a pair that is not asked for.
    #[error("replay.files: {0} is not in feed.pairs")]
    Pair(Pair),
    /// Two files for one thing.
    #[error("replay.files: {venue} has two recordings of {pair}")]
    Twice {
        /// Whose.
        venue: SourceName,
        /// Of what.
        pair: Pair,
    },
    /// A file that is no recording.
    #[error("replay.files: {path} cannot be replayed")]
    File {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: RecordingError,
    },
}

/// Recordings that were read.
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
    /// The time in which they happened: from the first slot that has a price to the last.
    pub(super) fn clock(&self, interval: Interval, speed: Speed) -> Arc<dyn Clock> {
        let spans = || self.venues.values().flat_map(BTreeMap::values).map(Recording::span);
        let first = spans().map(|(first, _)| first).min().unwrap_or(Timestamp::EPOCH);
        let last = spans().map(|(_, last)| last).max().unwrap_or(Timestamp::EPOCH);
        let first = interval.slot(first).unwrap_or_else(|| interval.after(first));
        let last = interval.after(last);
        let speed = match speed {
            Speed::Times(times) => Some(times.get()),
            Speed::Max => None,
        };
        Arc::new(ReplayClock::new(first.start(), last.start(), speed))
    }

    /// The venues, each with the part that it has, or would have, when it is asked itself.
    pub(super) fn members(self, settings: &BTreeMap<String, SourceConfig>) -> impl Iterator<Item = Member> {
        self.venues.into_iter().map(|(venue, recordings)| {
            let config = settings.get(venue.as_str()).cloned().unwrap_or_default();
            Member {
                source: Arc::new(Replayed::new(venue, recordings)),
                role: config.role(venue),
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
