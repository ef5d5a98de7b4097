//! Replays recorded prices instead of asking a venue. Recordings are CSV files (`ts_ms,price,…`), plain or
//! gzip.
//!
//! A row gives the venue's price from the row's time until the next row. The row's time is passed on as the source's
//! timestamp, so that a hole in the recording makes the quote stale.

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

use super::interface::{About, Answers, Sample, Source};

/// The largest number of rows in a file: ten years of minutes, which take about 200 MB of memory.
const MAX_ROWS: usize = 5_300_000;

/// 2001-09-09, earlier than any recording. A smaller number is a time in seconds by mistake: times in seconds
/// stay below this number until the year 33658.
const FIRST_MILLIS: i64 = 1_000_000_000_000;

/// One venue's prices of one pair, oldest first. It has at least one row.
#[derive(Debug, Clone)]
pub struct Recording {
    rows: Vec<(Timestamp, Price)>,
}

/// Why a file is not a valid recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
    /// The file is not valid CSV.
    #[error("the file is not valid CSV")]
    Csv(#[from] csv::Error),
    /// The first columns are not `ts_ms` and `price`.
    #[error("the header must start with `ts_ms,price`")]
    Header,
    /// A time is not in Unix milliseconds.
    #[error("row {row}: ts_ms must be Unix milliseconds, but is `{text}`")]
    Time {
        /// The number of the row, starting at 1.
        row: usize,
        /// The text in the file.
        text: String,
        /// The reason, if the text is a number.
        #[source]
        source: Option<TimestampError>,
    },
    /// A time seems to be in seconds.
    #[error("row {row}: ts_ms must be Unix milliseconds, but `{text}` looks like seconds")]
    Seconds {
        /// The number of the row, starting at 1.
        row: usize,
        /// The text in the file.
        text: String,
    },
    /// A price is invalid.
    #[error("row {row}: `{text}` is not a price")]
    Price {
        /// The number of the row, starting at 1.
        row: usize,
        /// The text in the file.
        text: String,
        /// The reason.
        #[source]
        source: PriceError,
    },
    /// Rows are not in ascending order.
    #[error("row {row}: ts_ms must be later than in the row before")]
    Order {
        /// The number of the row, starting at 1.
        row: usize,
    },
    /// The file has no rows.
    #[error("the file has no rows")]
    Empty,
    /// The file has too many rows.
    #[error("the file has more than {MAX_ROWS} rows; replay a shorter part of it")]
    TooLong,
}

impl Recording {
    /// Reads a file. If its name ends in `.gz` it is decompressed.
    pub fn load(path: &Path) -> Result<Self, RecordingError> {
        let file = File::open(path)?;
        match path.extension().is_some_and(|ending| ending == "gz") {
            // Concatenated gzip files are valid, and all of their parts are read.
            true => Self::read(MultiGzDecoder::new(file)),
            false => Self::read(file),
        }
    }

    /// Reads uncompressed CSV.
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

    /// The times of the first and the last row.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        let time = |row: Option<&(Timestamp, Price)>| row.map_or(Timestamp::EPOCH, |(time, _)| *time);
        (time(self.rows.first()), time(self.rows.last()))
    }

    /// The newest row at a point in time.
    fn at(&self, instant: Timestamp) -> Result<Sample, Failure> {
        let later = self.rows.partition_point(|(time, _)| *time <= instant);
        let newest = later.checked_sub(1).and_then(|newest| self.rows.get(newest));
        newest.map(|(time, price)| Sample::traded(*price, Some(*time))).ok_or(Failure::Missing)
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

/// A venue whose recorded prices are replayed.
pub struct Replayed {
    name: SourceName,
    recordings: BTreeMap<Pair, Recording>,
}

impl Replayed {
    /// A venue with a recording for each pair that it serves.
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
