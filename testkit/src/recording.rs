//! One venue's recorded prices, one row per minute.
//!
//! Each row comes from a one-minute candle. Its price is the close, and its time is the last millisecond of the minute,
//! so `ts_ms / 60_000` is the minute. A minute without trades has no row.

mod folder;
mod published;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use flate2::read::GzDecoder;
use rust_decimal::Decimal;

pub use folder::{RECORDED_PAIR, Recordings, fixtures_folder, recordings_folder};
pub use published::{PublishedCandle, published_candles};

/// The milliseconds in a minute.
const MINUTE_MS: i64 = 60_000;

/// The first line of every recording.
const HEADER: [&str; 3] = ["ts_ms", "price", "volume"];

/// The rows of a file in the order of their times: at least one, and at most one per minute.
#[derive(Clone, Debug)]
pub struct Recording {
    rows: Vec<Row>,
}

/// One recorded minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The minute's last millisecond, unix time.
    pub ts_ms: i64,
    /// The price, as in the file. It has been checked to be a positive decimal.
    pub price: String,
    /// The volume of the minute, in the base coin, as in the file.
    pub volume: String,
}

/// Consecutive minutes without rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The last minute with a row.
    pub last_minute: i64,
    /// How many minutes after it have no row.
    pub missing_minutes: i64,
}

impl Row {
    /// The row's minute, in minutes since the unix epoch.
    #[must_use]
    pub fn minute(&self) -> i64 {
        self.ts_ms.div_euclid(MINUTE_MS)
    }
}

impl Recording {
    /// Reads `ts_ms,price,volume` from a `.csv` or a `.csv.gz` file.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, has no rows, or has a row that does not match the description of this module.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let read = || {
            let file = File::open(path)?;
            if path.extension().is_some_and(|extension| extension == "gz") {
                Self::read(GzDecoder::new(file))
            } else {
                Self::read(file)
            }
        };
        read().with_context(|| format!("recording {}", path.display()))
    }

    /// Reads the uncompressed text of a recording.
    ///
    /// # Errors
    ///
    /// Fails like [`Recording::load`].
    pub fn read(source: impl Read) -> anyhow::Result<Self> {
        let mut reader = csv::Reader::from_reader(source);
        ensure!(reader.headers()? == HEADER.as_slice(), "the header is not {HEADER:?}");
        let mut rows: Vec<Row> = Vec::new();
        for record in reader.records() {
            let row = parse_row(&record?).with_context(|| format!("row {}", rows.len() + 1))?;
            if let Some(previous) = rows.last() {
                ensure!(previous.minute() < row.minute(), "row {} is not a later minute", rows.len() + 1);
            }
            rows.push(row);
        }
        ensure!(!rows.is_empty(), "no rows");
        Ok(Self { rows })
    }

    /// All rows, oldest first.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The row of exactly this minute, if there is one.
    #[must_use]
    pub fn row_at(&self, minute: i64) -> Option<&Row> {
        self.newest_at_or_before(minute).filter(|row| row.minute() == minute)
    }

    /// The row of this minute or, if there is none, of the last minute before it; `None` before the first row.
    #[must_use]
    pub fn newest_at_or_before(&self, minute: i64) -> Option<&Row> {
        let later = self.rows.partition_point(|row| row.minute() <= minute);
        self.rows.get(later.checked_sub(1)?)
    }

    /// Every hole, oldest first.
    pub fn holes(&self) -> impl Iterator<Item = Hole> {
        let following = self.rows.iter().skip(1);
        self.rows.iter().zip(following).filter_map(|(row, next)| {
            let missing_minutes = next.minute() - row.minute() - 1;
            (missing_minutes > 0).then(|| Hole { last_minute: row.minute(), missing_minutes })
        })
    }

    /// The longest hole, or the earliest of several; `None` if no minute is missing.
    #[must_use]
    pub fn longest_hole(&self) -> Option<Hole> {
        self.holes().reduce(
            |longest, hole| {
                if hole.missing_minutes > longest.missing_minutes { hole } else { longest }
            },
        )
    }
}

fn parse_row(record: &csv::StringRecord) -> anyhow::Result<Row> {
    let mut fields = record.iter();
    let (Some(ts_ms), Some(price), Some(volume)) = (fields.next(), fields.next(), fields.next()) else {
        bail!("fewer than three fields");
    };
    let row = Row { ts_ms: ts_ms.parse()?, price: price.to_owned(), volume: volume.to_owned() };
    let value: Decimal = price.parse().with_context(|| format!("price {price:?}"))?;
    ensure!(value > Decimal::ZERO, "price {price:?} is not positive");
    volume.parse::<Decimal>().with_context(|| format!("volume {volume:?}"))?;
    ensure!(row.ts_ms.rem_euclid(MINUTE_MS) == MINUTE_MS - 1, "{ts_ms} is not a minute's last millisecond");
    Ok(row)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// Minutes 10, 11, 14, 15 and 17.
    const WITH_HOLES: &str = "ts_ms,price,volume\n659999,100.10,1.5\n719999,100.20,0\n899999,100.30,2\n\
                              959999,100.40,2\n1079999,100.50,2\n";

    fn price(row: Option<&Row>) -> Option<&str> {
        row.map(|row| row.price.as_str())
    }

    #[test]
    fn finds_a_minute_exactly_or_the_newest_before_it() {
        let recording = Recording::read(WITH_HOLES.as_bytes()).unwrap();
        assert_eq!(price(recording.row_at(10)), Some("100.10"));
        assert_eq!(price(recording.row_at(12)), None);
        assert_eq!(price(recording.row_at(9)), None);
        assert_eq!(price(recording.row_at(18)), None);
        assert_eq!(price(recording.newest_at_or_before(11)), Some("100.20"));
        assert_eq!(price(recording.newest_at_or_before(13)), Some("100.20"));
        assert_eq!(price(recording.newest_at_or_before(14)), Some("100.30"));
        assert_eq!(price(recording.newest_at_or_before(9)), None);
        assert_eq!(price(recording.newest_at_or_before(1_000)), Some("100.50"));
    }

    #[test]
    fn lists_its_holes() {
        let recording = Recording::read(WITH_HOLES.as_bytes()).unwrap();
        let longest = Hole { last_minute: 11, missing_minutes: 2 };
        let other = Hole { last_minute: 15, missing_minutes: 1 };
        assert_eq!(recording.holes().collect::<Vec<_>>(), [longest, other]);
        assert_eq!(recording.longest_hole(), Some(longest));
    }

    #[test]
    fn a_gzip_file_reads_like_the_plain_one() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("x.csv");
        std::fs::write(&plain, WITH_HOLES).unwrap();
        let packed = folder.path().join("x.csv.gz");
        let mut encoder = GzEncoder::new(File::create(&packed).unwrap(), Compression::fast());
        encoder.write_all(WITH_HOLES.as_bytes()).unwrap();
        encoder.finish().unwrap();

        let (plain, packed) = (Recording::load(&plain).unwrap(), Recording::load(&packed).unwrap());
        assert_eq!(plain.rows(), packed.rows());
        assert_eq!(plain.rows().len(), 5);
    }

    #[test]
    fn an_invalid_recording_is_rejected() {
        let header = "ts_ms,price,volume\n";
        for (wrong, why) in [
            ("ts_ms,volume,price\n59999,1,1\n".to_owned(), "columns in another order"),
            (header.to_owned(), "no rows"),
            (format!("{header}59999,1.0e5x,1\n"), "a price that is not a number"),
            (format!("{header}59999,-1,1\n"), "a negative price"),
            (format!("{header}59999,,1\n"), "an empty price"),
            (format!("{header}60000,1,1\n"), "a minute's first millisecond"),
            (format!("{header}119999,1,1\n59999,1,1\n"), "time running backwards"),
            (format!("{header}59999,1,1\n59999,2,1\n"), "two rows for a minute"),
            (format!("{header}59999,1\n"), "a missing field"),
        ] {
            assert!(Recording::read(wrong.as_bytes()).is_err(), "accepted {why}");
        }
    }
}
