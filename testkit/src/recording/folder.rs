//! Finds the recordings, and loads one for each venue.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::Recording;
use crate::{Venue, workspace_root};

/// The pair of every recording in a [`Recordings`] set.
pub const RECORDED_PAIR: &str = "BTC-USD";

/// The environment variable with the directory of recordings. Overrides all other rules of [`recordings_folder`].
const FOLDER_VARIABLE: &str = "TICKWELL_RECORDINGS";

/// The recorded venues, and the prefix of each one's file name. There is no recording of Bitstamp, so one of Binance US,
/// another exchange with a USD market, is used instead.
const FILES: [(Venue, &str); 3] = [
    (Venue::Kraken, "kraken-BTCUSD-"),
    (Venue::Coinbase, "coinbase-BTCUSD-"),
    (Venue::Bitstamp, "binanceus-BTCUSD-"),
];

/// One recording for each of [`Venue::DEFAULT`], all of [`RECORDED_PAIR`].
#[derive(Clone, Debug)]
pub struct Recordings {
    by_venue: BTreeMap<Venue, Recording>,
}

impl Recordings {
    /// Loads every venue's recording from `folder`.
    ///
    /// # Errors
    ///
    /// Fails if there is not exactly one file for a venue, or if a file does not parse.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let mut by_venue = BTreeMap::new();
        for (venue, file_prefix) in FILES {
            by_venue.insert(venue, Recording::load(&find_by_prefix(folder, file_prefix)?)?);
        }
        Ok(Self { by_venue })
    }

    /// The recording used for `venue`, if there is one.
    #[must_use]
    pub fn get(&self, venue: Venue) -> Option<&Recording> {
        self.by_venue.get(&venue)
    }

    /// The recording used for one of [`Venue::DEFAULT`].
    ///
    /// # Panics
    ///
    /// Panics for any other venue.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "a test that names an unrecorded venue is wrong")]
    pub fn venue(&self, venue: Venue) -> &Recording {
        &self.by_venue[&venue]
    }

    /// The first minute for which every venue has a row, if there is one.
    #[must_use]
    pub fn first_common_minute(&self) -> Option<i64> {
        let mut recordings = self.by_venue.values();
        let first = recordings.next()?;
        let others: Vec<&Recording> = recordings.collect();
        let mut minutes = first.rows().iter().map(super::Row::minute);
        minutes.find(|minute| others.iter().all(|recording| recording.row_at(*minute).is_some()))
    }
}

/// The directory with recordings: `$TICKWELL_RECORDINGS` if this variable is set; otherwise `shared/data/ticks` next to
/// the workspace, if this directory exists; otherwise [`fixtures_folder`]. The recordings in `shared/data/ticks` are
/// real and may not be published.
#[must_use]
pub fn recordings_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
        return PathBuf::from(folder);
    }
    let shared = workspace_root().join("../shared/data/ticks");
    if shared.is_dir() { shared } else { fixtures_folder() }
}

/// The directory with the recordings of this crate: an invented hour. It is dated 2001, before Bitcoin existed, so that
/// nobody mistakes it for real data. Coinbase has a hole of twelve minutes.
#[must_use]
pub fn fixtures_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ticks")
}

fn find_by_prefix(folder: &Path, prefix: &str) -> anyhow::Result<PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("directory {}", folder.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    match found.as_slice() {
        [path] => Ok(path.clone()),
        [] => bail!("no file {prefix}* in {}", folder.display()),
        _ => bail!("more than one file {prefix}* in {}", folder.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Hole;
    use super::*;

    /// 2001-01-01 00:00 in minutes since the unix epoch.
    const FIXTURES_START: i64 = 16_305_120;

    #[test]
    fn the_fixtures_are_an_hour_with_a_hole_and_a_price_for_each_venue() {
        let recordings = Recordings::load(&fixtures_folder()).unwrap();
        assert_eq!(recordings.first_common_minute(), Some(FIXTURES_START));
        for venue in Venue::DEFAULT {
            let rows = if venue == Venue::Coinbase { 48 } else { 60 };
            assert_eq!(recordings.venue(venue).rows().len(), rows, "{venue}");
        }
        let hole = Hole { last_minute: FIXTURES_START + 19, missing_minutes: 12 };
        assert_eq!(recordings.venue(Venue::Coinbase).longest_hole(), Some(hole));
        for minute in FIXTURES_START..FIXTURES_START + 60 {
            let prices = Venue::DEFAULT
                .map(|venue| &recordings.venue(venue).newest_at_or_before(minute).unwrap().price);
            assert!(prices[0] != prices[1] && prices[1] != prices[2] && prices[0] != prices[2], "{prices:?}");
        }
    }

    #[test]
    fn the_first_common_minute_skips_what_one_venue_lacks() {
        let read = |text: &str| Recording::read(format!("ts_ms,price,volume\n{text}").as_bytes()).unwrap();
        let by_venue = BTreeMap::from([
            (Venue::Kraken, read("59999,1,1\n119999,1,1\n239999,1,1\n")),
            (Venue::Coinbase, read("119999,1,1\n179999,1,1\n239999,1,1\n")),
            (Venue::Bitstamp, read("59999,1,1\n179999,1,1\n239999,1,1\n")),
        ]);
        assert_eq!(Recordings { by_venue }.first_common_minute(), Some(3));
    }

    #[test]
    fn a_missing_or_ambiguous_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(find_by_prefix(folder.path(), "kraken-").is_err());
        std::fs::write(folder.path().join("kraken-1.csv"), "").unwrap();
        assert_eq!(find_by_prefix(folder.path(), "kraken-").unwrap(), folder.path().join("kraken-1.csv"));
        std::fs::write(folder.path().join("kraken-2.csv"), "").unwrap();
        assert!(find_by_prefix(folder.path(), "kraken-").is_err());
    }

    /// Uses the recordings that this machine has.
    #[test]
    fn the_recordings_of_this_machine_load_and_overlap() {
        let recordings = Recordings::load(&recordings_folder()).unwrap();
        assert!(recordings.first_common_minute().is_some());
        assert!(recordings.venue(Venue::Coinbase).longest_hole().unwrap().missing_minutes >= 12);
    }
}
