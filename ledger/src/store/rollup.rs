//! Roll-ups: stored summaries of whole minutes, hours and days.
//!
//! They are a cache of the ticks. A bucket is written once, when the pair's slots have passed its end, and is never
//! changed. A bucket that is not there is computed from shorter ones, so a missing row only costs time. Buckets with
//! few ticks are not written: the ticks themselves are smaller and as quick to read.
//!
//! Several buckets share a row. Each is stored as its index in the row, followed by its [`Summary`].

use common::domain::Timestamp;

use crate::summary::Summary;

/// Buckets with fewer ticks are not written: a summary takes about as many bytes as ten ticks.
const WORTH_KEEPING: u64 = 16;

/// The length of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    Minute,
    Hour,
    Day,
}

impl Tier {
    /// All tiers, longest first.
    pub(super) const ALL: [Self; 3] = [Self::Day, Self::Hour, Self::Minute];

    /// The length of a bucket in milliseconds.
    pub(super) fn millis(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// The length of a row in milliseconds. A row has enough buckets that reading it at once pays, and few enough
    /// that it can be rewritten for each new bucket.
    pub(super) fn row_millis(self) -> i64 {
        match self {
            Self::Minute => Self::Hour.millis(),
            Self::Hour => Self::Day.millis(),
            Self::Day => 32 * Self::Day.millis(),
        }
    }

    /// The letter that stands for the tier in keys.
    pub(super) fn letter(self) -> u8 {
        match self {
            Self::Minute => b'm',
            Self::Hour => b'h',
            Self::Day => b'd',
        }
    }

    /// The start of the bucket that contains an instant.
    pub(super) fn bucket(self, instant: Timestamp) -> Timestamp {
        floor(instant, self.millis())
    }

    /// The start of the row that contains an instant.
    pub(super) fn row(self, instant: Timestamp) -> Timestamp {
        floor(instant, self.row_millis())
    }
}

/// The newest multiple of a length at or before an instant.
pub(super) fn floor(instant: Timestamp, millis: i64) -> Timestamp {
    let past = u64::try_from(instant.unix_millis() % millis).unwrap_or(0);
    instant.minus(std::time::Duration::from_millis(past))
}

pub(super) fn later(instant: Timestamp, millis: i64) -> Timestamp {
    instant.plus(std::time::Duration::from_millis(millis.unsigned_abs()))
}

/// One tier of one pair while ticks arrive: the bucket that is still open, and the row that it will be added to.
#[derive(Debug, Clone)]
pub(super) struct Rolling {
    pub(super) tier: Tier,
    pub(super) open: Option<(Timestamp, Summary)>,
    pub(super) row: Row,
}

/// The start of a row and its bytes.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) start: Timestamp,
    pub(super) bytes: Vec<u8>,
}

impl Rolling {
    /// Records that the pair's slots have reached `slot`, and closes the bucket if it ends there or earlier. Returns
    /// whether the row must be written.
    pub(super) fn reach(&mut self, slot: Timestamp) -> bool {
        let closed = self.open.take_if(|(start, _)| later(*start, self.tier.millis()) <= slot);
        let Some((start, summary)) = closed.filter(|(_, summary)| summary.count >= WORTH_KEEPING) else {
            return false;
        };
        let row = self.tier.row(start);
        if self.row.start != row {
            self.row = Row { start: row, bytes: Vec::new() };
        }
        self.row.append(self.tier, start, &summary);
        true
    }

    /// Adds a tick whose slot is at or after the last one that was reached.
    pub(super) fn add(&mut self, slot: Timestamp, tick: &Summary) {
        self.open = Some(match self.open.take() {
            None => (self.tier.bucket(slot), *tick),
            Some((start, summary)) => (start, summary.merge(tick)),
        });
    }
}

impl Row {
    fn append(&mut self, tier: Tier, bucket: Timestamp, summary: &Summary) {
        let index = (bucket.unix_millis() - self.start.unix_millis()) / tier.millis();
        // A row has at most 60 buckets.
        self.bytes.push(u8::try_from(index).unwrap_or(u8::MAX));
        summary.encode(&mut self.bytes);
    }

    /// The buckets of a row, in order: the start and summary of each. `None` if the row is damaged.
    pub(super) fn buckets(
        tier: Tier,
        start: Timestamp,
        mut bytes: &[u8],
    ) -> Option<Vec<(Timestamp, Summary)>> {
        let mut buckets = Vec::new();
        while let Some((index, rest)) = bytes.split_first() {
            bytes = rest;
            let bucket = later(start, i64::from(*index) * tier.millis());
            buckets.push((bucket, Summary::decode(&mut bytes)?));
        }
        Some(buckets)
    }
}
