//! Replays recorded prices instead of asking a venue. Recordings are CSV files, plain or gzip: `ts_ms,price,…` with Unix
//! milliseconds, or `time,price,…` or `slot,price,…` with RFC 3339 times. `tickwell export` writes the last form.
//!
//! With `ts_ms` or `time`, a row gives the venue's price from the row's time until the next row. The row's time is passed on as the
//! source's timestamp, so that a hole in the recording makes the quote stale. With `slot`, a row gives the price of that
//! slot only, because an export has a row for every slot that has a price.

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

/// The largest number of rows with different times in a file: ten years of minutes, which take about 200 MB of memory.
const MAX_ROWS: usize = 5_300_000;

/// 2001-09-09, earlier than any recording. A smaller number is a time in seconds by mistake: times in seconds
/// stay below this number until the year 33658.
const FIRST_MILLIS: i64 = 1_000_000_000_000;

/// One venue's prices of one pair, oldest first. It has at least one row, and one row per time.
#[derive(Debug, Clone)]
pub struct Recording {
    column: TimeColumn,
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
    /// The first columns are not a time and `price`.
    #[error(
        "the header must start with ts_ms,price (times in Unix milliseconds), time,price or slot,price (RFC 3339 times; \
         the CSV of `tickwell export` has a slot)"
    )]
    Header,
    /// A time does not have the format of its column.
    #[error("row {row}: {column} must be {}, but is `{text}`", column.format())]
    Time {
        /// The number of the row, starting at 1.
        row: usize,
        /// The column.
        column: TimeColumn,
        /// The text in the file.
        text: String,
        /// The reason. None if `ts_ms` is not a number.
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
    #[error("row {row}: its time is before that of the previous row; sort the rows by time, oldest first")]
    Order {
        /// The number of the row, starting at 1.
        row: usize,
    },
    /// The file has no rows.
    #[error("the file has no rows")]
    Empty,
    /// The file has too many rows.
    #[error("the file has more than {MAX_ROWS} rows with different times; replay a shorter part of it")]
    TooLong,
}

common::words! {
    /// The first column of a recording.
    pub enum TimeColumn ("column") {
        /// Unix milliseconds.
        Millis = "ts_ms",
        /// RFC 3339.
        Slot = "slot",
        /// RFC 3339.
        Time = "time",
    }
}

impl TimeColumn {
    /// How times in the column are written.
    fn format(self) -> &'static str {
        match self {
            Self::Millis => "Unix milliseconds",
            Self::Slot | Self::Time => "an RFC 3339 time, such as 2026-11-21T14:05:10Z",
        }
    }

    fn parse(self, row: usize, time: &str) -> Result<Timestamp, RecordingError> {
        let text = || time.chars().take(40).collect();
        let no_time = |source| RecordingError::Time { row, column: self, text: text(), source };
        let instant = match self {
            Self::Millis => {
                let millis = time.parse().map_err(|_| no_time(None))?;
                Timestamp::from_unix_millis(millis)
            }
            Self::Slot | Self::Time => time.parse(),
        };
        let instant = instant.map_err(|error| no_time(Some(error)))?;
        if self == Self::Millis && instant.unix_millis() < FIRST_MILLIS {
            return Err(RecordingError::Seconds { row, text: text() });
        }
        Ok(instant)
    }
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
        let column = header.get(0).and_then(|name| name.parse::<TimeColumn>().ok());
        let (Some(column), Some("price")) = (column, header.get(1)) else {
            return Err(RecordingError::Header);
        };
        let mut rows: Vec<(Timestamp, Price)> = Vec::new();
        for (row, record) in (1..).zip(reader.records()) {
            let record = record?;
            let time = column.parse(row, record.get(0).unwrap_or_default())?;
            let price = parse_price(row, record.get(1).unwrap_or_default())?;
            match rows.last_mut() {
                Some((before, _)) if *before > time => return Err(RecordingError::Order { row }),
                // Several trades within a millisecond are common. The last one is the price from then on.
                Some((before, last)) if *before == time => *last = price,
                _ => rows.push((time, price)),
            }
            if rows.len() > MAX_ROWS {
                return Err(RecordingError::TooLong);
            }
        }
        if rows.is_empty() { Err(RecordingError::Empty) } else { Ok(Self { column, rows }) }
    }

    /// The times of the first and the last row.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        let time = |row: Option<&(Timestamp, Price)>| row.map_or(Timestamp::EPOCH, |(time, _)| *time);
        (time(self.rows.first()), time(self.rows.last()))
    }

    /// The newest row at or before a point in time.
    pub fn newest_at(&self, instant: Timestamp) -> Option<(Timestamp, Price)> {
        let later = self.rows.partition_point(|(time, _)| *time <= instant);
        later.checked_sub(1).and_then(|newest| self.rows.get(newest)).copied()
    }

    /// The price at a point in time.
    fn at(&self, instant: Timestamp) -> Result<Sample, Failure> {
        let counts = |time: Timestamp| match self.column {
            TimeColumn::Millis | TimeColumn::Time => true,
            TimeColumn::Slot => time == instant,
        };
        let newest = self.newest_at(instant).filter(|(time, _)| counts(*time));
        newest.map(|(time, price)| Sample::traded(price, Some(time))).ok_or(Failure::Missing)
    }
}

fn parse_price(row: usize, price: &str) -> Result<Price, RecordingError> {
    let text = || price.chars().take(40).collect();
    price.parse().map_err(|source| RecordingError::Price { row, text: text(), source })
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
