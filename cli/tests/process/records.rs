//! The records of a log, read back through the API, one by one.

use chrono::DateTime;
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::harness::{Answer, Pod};

/// One record, as `/v1/ticks/{sequence}` explains it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Record {
    pub(crate) sequence: u64,
    pub(crate) kind: Kind,
    pub(crate) pair: String,
    pub(crate) slot: Option<Time>,
    pub(crate) from: Option<Time>,
    pub(crate) covered: Option<Time>,
    pub(crate) interval: Option<Span>,
    pub(crate) epoch: u64,
    pub(crate) leader: Option<String>,
    pub(crate) origin: String,
    pub(crate) price: Option<String>,
    pub(crate) cause: Option<String>,
    pub(crate) policy: Option<Policy>,
    pub(crate) quotes: Option<Vec<Quote>>,
    /// The answer it was read from.
    #[serde(skip)]
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Tick,
    Gap,
    Lead,
}

/// The rules in force, as far as they are checked here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Policy {
    pub(crate) min_sources: usize,
    pub(crate) max_deviation: String,
    pub(crate) max_quote_age: Span,
}

/// What one source said.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Quote {
    pub(crate) source: String,
    pub(crate) price: Option<String>,
    pub(crate) observed_at: Option<Time>,
    pub(crate) source_time: Option<Time>,
    pub(crate) verdict: String,
}

/// An instant in unix milliseconds, from RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Time(pub(crate) i64);

/// A length in milliseconds, from a whole number and its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span(pub(crate) i64);

/// A tick, as averages and history have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) sequence: u64,
    pub(crate) slot: i64,
    pub(crate) interval: i64,
    pub(crate) price: String,
}

impl Record {
    /// The first slot it covers and the last; nothing for a lead.
    pub(crate) fn covers(&self) -> Option<(i64, i64)> {
        let last = self.slot?.0;
        Some((self.from.map_or(last, |from| from.0), last))
    }

    /// The distance between its slots.
    pub(crate) fn interval(&self) -> i64 {
        self.interval.unwrap().0
    }

    /// The quotes, of a record that must have some.
    pub(crate) fn quotes(&self) -> &[Quote] {
        self.quotes.as_deref().unwrap_or_else(|| panic!("no quotes in {self:?}"))
    }

    /// The quotes that made the price.
    pub(crate) fn used(&self) -> Vec<&Quote> {
        self.quotes().iter().filter(|quote| quote.verdict == "used").collect()
    }

    /// The verdict on a source's quote.
    pub(crate) fn verdict(&self, source: &str) -> &str {
        &self.quotes().iter().find(|quote| quote.source == source).unwrap().verdict
    }

    pub(crate) fn is_tick(&self) -> bool {
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
pub(crate) fn decimal(text: &str) -> Decimal {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// Every record up to the pod's sequence. There is one at every position.
pub(crate) async fn all(pod: &Pod) -> Vec<Record> {
    all_but(pod, &[]).await
}

/// Every record up to the pod's sequence. There is one at every position but those of `foreign` messages,
/// where there is none.
pub(crate) async fn all_but(pod: &Pod, foreign: &[u64]) -> Vec<Record> {
    let mut records = Vec::new();
    for sequence in 1..=pod.sequence().await {
        let answer = pod.get(&format!("/v1/ticks/{sequence}")).await;
        if foreign.contains(&sequence) {
            assert_eq!((answer.status, &answer.json()["code"]), (404, &"unknown_sequence".into()));
        } else {
            records.push(read(&answer, sequence));
        }
    }
    records
}

/// The record at a position.
pub(crate) async fn at(pod: &Pod, sequence: u64) -> Record {
    read(&pod.get(&format!("/v1/ticks/{sequence}")).await, sequence)
}

/// The ticks of one pair, in the order of the log.
pub(crate) fn points(records: &[Record], pair: &str) -> Vec<Point> {
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

fn read(answer: &Answer, sequence: u64) -> Record {
    assert_eq!(answer.status, 200, "sequence {sequence}: {}", answer.text());
    let mut record: Record =
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()));
    assert_eq!(record.sequence, sequence);
    record.bytes.clone_from(&answer.body);
    record
}
