//! An independent reader of records, from the messages of the log or from `/v1/ticks/{sequence}`.
//!
//! It fails on anything that is not a record, because that is an error a test should find.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first record that is not as documented"
)]

use chrono::DateTime;
use rust_decimal::Decimal;
use serde::Deserialize;

/// A record, with the members that tests check.
#[derive(Debug, Clone, Deserialize)]
pub struct Record {
    /// The record's sequence; 0 if it is unknown, because the messages of the log do not contain the sequence.
    #[serde(default)]
    pub sequence: u64,
    /// Its kind.
    pub kind: Kind,
    /// Its pair, such as `BTC-USD`.
    pub pair: String,
    /// A tick's slot, or the last slot that a gap covers.
    pub slot: Option<Time>,
    /// The first slot that a gap covers.
    pub from: Option<Time>,
    /// For a lead: the pair's last slot that had a tick or was part of a gap when the leader started.
    pub covered: Option<Time>,
    /// The time between two slots.
    pub interval: Option<Span>,
    /// The epoch of the leader that wrote it.
    pub epoch: u64,
    /// The poller that starts to lead.
    pub leader: Option<String>,
    /// Where the prices come from, such as `live`.
    pub origin: String,
    /// A tick's price.
    pub price: Option<String>,
    /// The cause of a gap.
    pub cause: Option<String>,
    /// Whether it is about slots before the pair's first live one.
    #[serde(default)]
    pub backfilled: bool,
    /// The policy of the aggregation.
    pub policy: Option<Policy>,
    /// The sources' quotes.
    pub quotes: Option<Vec<Quote>>,
    /// The original text.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// The kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The price of a slot.
    Tick,
    /// Slots without a price.
    Gap,
    /// A new leader's first record.
    Lead,
}

/// The parts of the policy that tests check.
#[derive(Debug, Clone, Deserialize)]
pub struct Policy {
    /// Which price of a quote counts, such as `mid`.
    pub price: String,
    /// How many sources must agree.
    pub min_sources: usize,
    /// How far the price of a used quote may be from the median, as a ratio.
    pub max_deviation: String,
    /// How old a quote may be, by its own timestamp.
    pub max_quote_age: Span,
}

/// One source's quote.
#[derive(Debug, Clone, Deserialize)]
pub struct Quote {
    /// The source.
    pub source: String,
    /// Its price, if it has one.
    pub price: Option<String>,
    /// Where the price comes from, such as `mid`.
    pub basis: Option<String>,
    /// The price of the last trade, if the source returned one.
    pub last: Option<String>,
    /// The best bid, if the source returned one.
    pub bid: Option<String>,
    /// The best ask, if the source returned one.
    pub ask: Option<String>,
    /// When the quote was received.
    pub observed_at: Option<Time>,
    /// The source's own timestamp.
    pub source_time: Option<Time>,
    /// The verdict, such as `used` or `outlier`.
    pub verdict: String,
}

/// A time in unix milliseconds, read from RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Time(pub i64);

/// A duration in milliseconds, read from a whole number with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub i64);

/// A tick, as averages and history use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The sequence of its record.
    pub sequence: u64,
    /// Its slot, unix time in milliseconds.
    pub slot: i64,
    /// The interval between slots in milliseconds.
    pub interval: i64,
    /// Its price.
    pub price: String,
    /// Whether it was backfilled.
    pub backfilled: bool,
}

impl Record {
    /// Reads a record from its JSON.
    ///
    /// # Errors
    ///
    /// Fails if the text is not a record.
    pub fn read(bytes: &[u8]) -> serde_json::Result<Self> {
        let mut record: Self = serde_json::from_slice(bytes)?;
        record.bytes = bytes.to_vec();
        Ok(record)
    }

    /// The first and the last slot it covers; `None` for a lead.
    #[must_use]
    pub fn covers(&self) -> Option<(i64, i64)> {
        let last = self.slot?.0;
        Some((self.from.map_or(last, |from| from.0), last))
    }

    /// The interval between its slots, in milliseconds.
    ///
    /// # Panics
    ///
    /// Panics if this is a lead.
    #[must_use]
    pub fn interval(&self) -> i64 {
        self.interval.unwrap().0
    }

    /// The quotes of a record that must have some.
    ///
    /// # Panics
    ///
    /// Panics if it has none.
    #[must_use]
    pub fn quotes(&self) -> &[Quote] {
        self.quotes.as_deref().unwrap_or_else(|| panic!("no quotes in {self:?}"))
    }

    /// The quotes that were used for the price.
    #[must_use]
    pub fn used(&self) -> Vec<&Quote> {
        self.quotes().iter().filter(|quote| quote.verdict == "used").collect()
    }

    /// The verdict on a source's quote.
    ///
    /// # Panics
    ///
    /// Panics if the source has no quote.
    #[must_use]
    pub fn verdict(&self, source: &str) -> &str {
        &self.quotes().iter().find(|quote| quote.source == source).unwrap().verdict
    }

    /// Whether it has a price.
    #[must_use]
    pub fn is_tick(&self) -> bool {
        self.kind == Kind::Tick
    }
}

impl TryFrom<String> for Time {
    type Error = chrono::ParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        DateTime::parse_from_rfc3339(&text).map(|time| Self(time.timestamp_millis()))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
        let unit = match text.strip_prefix(digits) {
            Some("ms") => 1,
            Some("s") => 1_000,
            Some("m") => 60_000,
            Some("h") => 3_600_000,
            Some("d") => 86_400_000,
            _ => return Err(format!("{text:?} has no unit")),
        };
        digits.parse::<i64>().map(|count| Self(count * unit)).map_err(|error| format!("{text:?}: {error}"))
    }
}

/// Parses a decimal.
///
/// # Panics
///
/// Panics if the text is not a decimal.
#[must_use]
pub fn decimal(text: &str) -> Decimal {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// Parses a time in the format of records and responses, to unix milliseconds.
#[must_use]
pub fn time(text: &str) -> Option<i64> {
    Time::try_from(text.to_owned()).ok().map(|time| time.0)
}

/// Formats unix milliseconds as records and responses do.
///
/// # Panics
///
/// Panics if the time is out of range.
#[must_use]
pub fn time_text(millis: i64) -> String {
    let time = DateTime::from_timestamp_millis(millis).unwrap();
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The ticks of one pair, in the order of the log.
///
/// # Panics
///
/// Panics if a tick has no slot, interval or price.
#[must_use]
pub fn points(records: &[Record], pair: &str) -> Vec<Point> {
    let ticks = records.iter().filter(|record| record.is_tick() && record.pair == pair);
    ticks
        .map(|record| Point {
            sequence: record.sequence,
            slot: record.slot.unwrap().0,
            interval: record.interval(),
            price: record.price.clone().unwrap(),
            backfilled: record.backfilled,
        })
        .collect()
}
