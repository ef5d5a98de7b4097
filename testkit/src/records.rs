//! The records of a log as a stranger reads them: from the log's own messages, or from `/v1/ticks/{sequence}`.
//!
//! What is no record of ours stops whoever reads it: it is the test's finding.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first record that is not as documented"
)]

use chrono::DateTime;
use rust_decimal::Decimal;
use serde::Deserialize;

/// One record, with the members that are checked.
#[derive(Debug, Clone, Deserialize)]
pub struct Record {
    /// Its position. A message of the log does not say it.
    #[serde(default)]
    pub sequence: u64,
    /// What it is.
    pub kind: Kind,
    /// Its pair, such as `BTC-USD`.
    pub pair: String,
    /// A tick's slot, or the last one that a gap covers.
    pub slot: Option<Time>,
    /// The first slot that a gap covers.
    pub from: Option<Time>,
    /// Up to where a leader found the pair covered.
    pub covered: Option<Time>,
    /// The distance between slots.
    pub interval: Option<Span>,
    /// The term of the leader that wrote it.
    pub epoch: u64,
    /// Who begins to lead.
    pub leader: Option<String>,
    /// Where the prices come from.
    pub origin: String,
    /// A tick's price.
    pub price: Option<String>,
    /// Why there is a gap.
    pub cause: Option<String>,
    /// The rules in force.
    pub policy: Option<Policy>,
    /// What the sources said.
    pub quotes: Option<Vec<Quote>>,
    /// The text it was read from.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// The kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A price.
    Tick,
    /// Slots without one.
    Gap,
    /// A new leader's first record.
    Lead,
}

/// The rules in force, as far as they are checked here.
#[derive(Debug, Clone, Deserialize)]
pub struct Policy {
    /// So many sources must agree.
    pub min_sources: usize,
    /// So far may they be apart.
    pub max_deviation: String,
    /// So old may a quote be by its own time.
    pub max_quote_age: Span,
}

/// What one source said.
#[derive(Debug, Clone, Deserialize)]
pub struct Quote {
    /// The source.
    pub source: String,
    /// Its price; missing where it gave none.
    pub price: Option<String>,
    /// When it was here.
    pub observed_at: Option<Time>,
    /// Of when it is, by its own word.
    pub source_time: Option<Time>,
    /// What was made of it.
    pub verdict: String,
}

/// An instant in unix milliseconds, from RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Time(pub i64);

/// A length in milliseconds, from a whole number and its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub i64);

/// A tick, as averages and history have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Its record's position.
    pub sequence: u64,
    /// Its slot, unix time in milliseconds.
    pub slot: i64,
    /// The distance between slots in milliseconds.
    pub interval: i64,
    /// Its price.
    pub price: String,
}

impl Record {
    /// Reads a record from its JSON.
    ///
    /// # Errors
    ///
    /// When the text is no record.
    pub fn read(bytes: &[u8]) -> serde_json::Result<Self> {
        let mut record: Self = serde_json::from_slice(bytes)?;
        record.bytes = bytes.to_vec();
        Ok(record)
    }

    /// The first slot it covers and the last; nothing for a lead.
    #[must_use]
    pub fn covers(&self) -> Option<(i64, i64)> {
        let last = self.slot?.0;
        Some((self.from.map_or(last, |from| from.0), last))
    }

    /// The distance between its slots.
    ///
    /// # Panics
    ///
    /// Where a lead is asked.
    #[must_use]
    pub fn interval(&self) -> i64 {
        self.interval.unwrap().0
    }

    /// The quotes, of a record that must have some.
    ///
    /// # Panics
    ///
    /// Where it has none.
    #[must_use]
    pub fn quotes(&self) -> &[Quote] {
        self.quotes.as_deref().unwrap_or_else(|| panic!("no quotes in {self:?}"))
    }

    /// The quotes that made the price.
    #[must_use]
    pub fn used(&self) -> Vec<&Quote> {
        self.quotes().iter().filter(|quote| quote.verdict == "used").collect()
    }

    /// The verdict on a source's quote.
    ///
    /// # Panics
    ///
    /// Where there is no such quote.
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

/// A decimal from its text.
///
/// # Panics
///
/// Where it is none.
#[must_use]
pub fn decimal(text: &str) -> Decimal {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// An instant in unix milliseconds from how records and answers write it, if it is one.
#[must_use]
pub fn time(text: &str) -> Option<i64> {
    Time::try_from(text.to_owned()).ok().map(|time| time.0)
}

/// An instant in unix milliseconds as records and answers write it.
///
/// # Panics
///
/// Where no calendar has it.
#[must_use]
pub fn time_text(millis: i64) -> String {
    let time = DateTime::from_timestamp_millis(millis).unwrap();
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The ticks of one pair, in the order of the log.
///
/// # Panics
///
/// Where a tick lacks its slot, interval or price.
#[must_use]
pub fn points(records: &[Record], pair: &str) -> Vec<Point> {
    let ticks = records.iter().filter(|record| record.is_tick() && record.pair == pair);
    ticks
        .map(|record| Point {
            sequence: record.sequence,
            slot: record.slot.unwrap().0,
            interval: record.interval(),
            price: record.price.clone().unwrap(),
        })
        .collect()
}
