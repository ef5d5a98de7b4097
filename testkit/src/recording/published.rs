//! Reads candles that an exchange has published: `ts_open_ms,open,high,low,close,volume`.

use std::{collections::BTreeMap, fs::File, path::Path};

use anyhow::{Context, ensure};
use flate2::read::GzDecoder;
use rust_decimal::Decimal;

const HEADER: [&str; 6] = ["ts_open_ms", "open", "high", "low", "close", "volume"];

/// One published candle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedCandle {
    /// The first price.
    pub open: Decimal,
    /// The highest price.
    pub high: Decimal,
    /// The lowest price.
    pub low: Decimal,
    /// The last price.
    pub close: Decimal,
}

/// Reads a `.csv.gz` file of candles. The key is the time at which a candle begins.
///
/// # Errors
///
/// Fails if the file cannot be read, or has a row that does not match the description of this module.
pub fn published_candles(path: &Path) -> anyhow::Result<BTreeMap<i64, PublishedCandle>> {
    let mut reader = csv::Reader::from_reader(GzDecoder::new(File::open(path)?));
    ensure!(reader.headers()? == HEADER.as_slice(), "the header is not {HEADER:?}");
    reader
        .records()
        .map(|row| {
            let row = row?;
            let field = |at: usize| row.get(at).context("a field is missing");
            let price = |at: usize| Ok::<_, anyhow::Error>(field(at)?.parse()?);
            let candle =
                PublishedCandle { open: price(1)?, high: price(2)?, low: price(3)?, close: price(4)? };
            Ok((field(0)?.parse()?, candle))
        })
        .collect()
}
