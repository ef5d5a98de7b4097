//! Lists as lines of CSV or NDJSON. The routes and `tickwell export` both use this module to write lines.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use ledger::{candle::Candle, window::WindowTick};

/// The format of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// A header row, and values separated by commas.
    Csv,
    /// One JSON object per line, with the same members as in a JSON list.
    Ndjson,
}

/// A value that is written as one line.
pub trait Line: Serialize {
    /// The names of the value's members, in order.
    const COLUMNS: &'static [&'static str];
}

/// A tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickLine {
    /// The slot that the price belongs to.
    pub slot: String,
    /// The agreed price.
    pub price: String,
    /// The tick's position in the log.
    pub sequence: u64,
    /// Whether the tick was added afterwards, for a slot before the pair's first live one.
    #[serde(default)]
    pub backfilled: bool,
}

impl Line for TickLine {
    const COLUMNS: &'static [&'static str] = &["slot", "price", "sequence", "backfilled"];
}

impl From<WindowTick> for TickLine {
    fn from(WindowTick { point, sequence }: WindowTick) -> Self {
        let (slot, price) = (point.slot.start().to_string(), point.price.to_string());
        Self { slot, price, sequence: sequence.0, backfilled: point.backfilled }
    }
}

/// A candle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandleLine {
    /// Where the bucket begins.
    pub start: String,
    /// The first price.
    pub open: String,
    /// The highest price.
    pub high: String,
    /// The lowest price.
    pub low: String,
    /// The last price.
    pub close: String,
    /// The number of ticks in the bucket.
    pub samples: u64,
    /// How many of these ticks were added afterwards, for slots before the pair's first live one.
    #[serde(default)]
    pub backfilled: u64,
    /// Whether the bucket has ended and every slot of it has a tick.
    pub complete: bool,
}

impl Line for CandleLine {
    const COLUMNS: &'static [&'static str] =
        &["start", "open", "high", "low", "close", "samples", "backfilled", "complete"];
}

impl From<Candle> for CandleLine {
    fn from(candle: Candle) -> Self {
        let summary = candle.summary;
        Self {
            start: candle.start.to_string(),
            open: summary.first.price.to_string(),
            high: summary.max.price.to_string(),
            low: summary.min.price.to_string(),
            close: summary.last.price.to_string(),
            samples: summary.count,
            backfilled: summary.backfilled,
            complete: candle.complete,
        }
    }
}

/// Why a line could not be written.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line cannot be serialized as CSV.
    #[error("cannot write a line of CSV")]
    Csv(#[from] csv::Error),
    /// The line cannot be serialized as JSON.
    #[error("cannot write a line of NDJSON")]
    Json(#[from] serde_json::Error),
    /// Writing to the output failed.
    #[error("cannot write the lines to the output")]
    Output(#[from] io::Error),
}

/// A writer of lines in one format.
#[derive(Debug)]
pub enum Lines<W: Write> {
    /// CSV.
    Csv(Box<csv::Writer<W>>),
    /// NDJSON.
    Ndjson(W),
}

impl<W: Write> Lines<W> {
    /// Begins an output. For CSV, this writes the header row, so an output without lines has one too.
    pub fn begin<L: Line>(format: LineFormat, output: W) -> Result<Self, LineError> {
        match format {
            LineFormat::Ndjson => Ok(Self::Ndjson(output)),
            LineFormat::Csv => {
                let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(output);
                writer.write_record(L::COLUMNS)?;
                Ok(Self::Csv(Box::new(writer)))
            }
        }
    }

    /// Writes one line.
    pub fn write(&mut self, line: &impl Line) -> Result<(), LineError> {
        match self {
            Self::Csv(writer) => writer.serialize(line)?,
            Self::Ndjson(output) => {
                serde_json::to_writer(&mut *output, line)?;
                output.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    /// Flushes everything to the output.
    pub fn finish(mut self) -> Result<(), LineError> {
        match &mut self {
            Self::Csv(writer) => writer.flush()?,
            Self::Ndjson(output) => output.flush()?,
        }
        Ok(())
    }
}
