//! Recorded prices in place of a venue's answers: `ts_ms,price,…` in CSV, plain or gzip.
//!
//! A row is what the venue said from its time on, until the next row. Its time goes along as the source's own
//! time, so that a hole in the recording is a stale quote and nothing is made up to fill it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use async_trait::async_trait;
use common::domain::{Failure, Origin, Pair, Price, PriceError, Slot, SourceName, Timestamp, TimestampError};
use flate2::read::MultiGzDecoder;
use tokio::time::Instant;

use super::{About, Answers, Sample, Source};

/// The most rows of one file: ten years of minutes, in about 200 MB.
const MAX_ROWS: usize = 5_300_000;

/// 2001-09-09, before every recording: an earlier time is one in seconds, which as milliseconds would be in
/// January 1970, and until the year 33658 no time in seconds is this late.
const FIRST_MILLIS: i64 = 1_000_000_000_000;

/// One venue's prices of one pair, oldest first, never none.
#[derive(Debug, Clone)]
pub struct Recording {
    rows: Vec<(Timestamp, Price)>,
}

/// Why a file is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be read.
    #[error("cannot read it")]
    Io(#[from] io::Error),
    /// It is not CSV.
    #[error("it is not CSV")]
    Csv(#[from] csv::Error),
    /// Its columns are others.
    #[error("its header must begin with ts_ms,price")]
    Header,
    /// A row has no such time.
    #[error("row {row}: ts_ms is not unix milliseconds: `{text}`")]
    Time {
        /// Which, from 1.
        row: usize,
        /// What stands there.
        text: String,
        /// Why not, where it is a number at all.
        #[source]
        source: Option<TimestampError>,
    },
    /// A row's time would be in the seventies.
    #[error("row {row}: `{text}` looks like seconds; ts_ms is unix milliseconds")]
    Seconds {
        /// Which, from 1.
        row: usize,
        /// What stands there.
        text: String,
    },
    /// A row has no such price.
    #[error("row {row}: `{text}` is not a price")]
    Price {
        /// Which, from 1.
        row: usize,
        /// What stands there.
        text: String,
        /// Why not.
        #[source]
        source: PriceError,
    },
    /// Time does not pass from one row to the next.
    #[error("row {row} is not later than the one before it")]
    Order {
        /// Which, from 1.
        row: usize,
    },
    /// Nothing in it.
    #[error("it has no rows")]
    Empty,
    /// Too much in it.
    #[error("it has more than {MAX_ROWS} rows: split it")]
    TooLong,
}

impl Recording {
    /// Reads a file; one that ends in `.gz` is unpacked.
    pub fn load(path: &Path) -> Result<Self, RecordingError> {
        let file = File::open(path)?;
        match path.extension().is_some_and(|ending| ending == "gz") {
            // Files that were packed one by one may have been joined: all of them are read.
            true => Self::read(MultiGzDecoder::new(file)),
            false => Self::read(file),
        }
    }

    /// Reads the text of a recording.
    pub fn read(text: impl Read) -> Result<Self, RecordingError> {
        let mut reader = csv::Reader::from_reader(io::BufReader::new(text));
        let header = reader.headers()?;
        if (header.get(0), header.get(1)) != (Some("ts_ms"), Some("price")) {
            return Err(RecordingError::Header);
        }
        let mut rows: Vec<(Timestamp, Price)> = Vec::new();
        for (row, record) in (1..).zip(reader.records()) {
            let record = record?;
            let (time, price) =
                parse(row, record.get(0).unwrap_or_default(), record.get(1).unwrap_or_default())?;
            if rows.last().is_some_and(|(before, _)| *before >= time) {
                return Err(RecordingError::Order { row });
            }
            if row > MAX_ROWS {
                return Err(RecordingError::TooLong);
            }
            rows.push((time, price));
        }
        if rows.is_empty() { Err(RecordingError::Empty) } else { Ok(Self { rows }) }
    }

    /// The times of its first row and its last.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        let time = |row: Option<&(Timestamp, Price)>| row.map_or(Timestamp::EPOCH, |(time, _)| *time);
        (time(self.rows.first()), time(self.rows.last()))
    }

    /// The newest row at an instant.
    fn at(&self, instant: Timestamp) -> Result<Sample, Failure> {
        let later = self.rows.partition_point(|(time, _)| *time <= instant);
        let newest = later.checked_sub(1).and_then(|newest| self.rows.get(newest));
        newest.map(|(time, price)| Sample { price: *price, time: Some(*time) }).ok_or(Failure::Missing)
    }
}

fn parse(row: usize, time: &str, price: &str) -> Result<(Timestamp, Price), RecordingError> {
    let text = || time.chars().take(40).collect();
    let no_time = |source| RecordingError::Time { row, text: text(), source };
    let millis = time.parse().map_err(|_| no_time(None))?;
    let instant = Timestamp::from_unix_millis(millis).map_err(|error| no_time(Some(error)))?;
    if millis < FIRST_MILLIS {
        return Err(RecordingError::Seconds { row, text: text() });
    }
    let no_price = |source| RecordingError::Price { row, text: price.chars().take(40).collect(), source };
    let price: Price = price.parse().map_err(no_price)?;
    if price.decimal().scale() > Price::MAX_QUOTED_DECIMALS {
        return Err(no_price(PriceError::TooPrecise));
    }
    Ok((instant, price))
}

/// One venue, as it was recorded.
pub struct Replayed {
    name: SourceName,
    recordings: BTreeMap<Pair, Recording>,
}

impl Replayed {
    /// A venue with these recordings.
    pub fn new(name: SourceName, recordings: BTreeMap<Pair, Recording>) -> Self {
        Self { name, recordings }
    }
}

#[async_trait]
impl Source for Replayed {
    fn name(&self) -> SourceName {
        self.name
    }

    fn origin(&self) -> Origin {
        Origin::Replay
    }

    fn serves(&self, pair: Pair) -> bool {
        self.recordings.contains_key(&pair)
    }

    fn about(&self) -> About {
        About { address: "a recording".to_owned(), ..About::default() }
    }

    async fn ask(&self, slot: Slot, _deadline: Instant) -> Answers {
        self.recordings.iter().map(|(pair, recording)| (*pair, recording.at(slot.start()))).collect()
    }
}

#[cfg(test)]
mod tests;
