//! Records: what the log is made of.

use std::{fmt, str::FromStr};

use super::{Interval, Judged, Pair, Price, Ratio, Slot, Span, Timestamp};

/// A record's position in the log, from 1 up. Zero stands before the first record, as an empty log's
/// newest position does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Sequence(pub u64);

/// The term of the leader that wrote a record; it only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// Who wrote a record: one poller process, from its start to its end. Drawn at random, so that two
/// leaders never look alike; written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaderId(pub u64);

/// Why a text is not a leader's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a leader's id: 16 hexadecimal digits in lower case")]
pub struct LeaderIdError(String);

crate::words! {
    /// Where the prices of a log come from; one log holds one origin.
    pub enum Origin ("origin") {
        /// Public sources, asked now.
        Live = "live",
        /// A recording of real prices.
        Replay = "replay",
        /// An invented market.
        Simulated = "simulated",
    }
}

crate::words! {
    /// Why slots have no tick.
    pub enum GapCause ("gap cause") {
        /// Fewer quotes than `min_sources` were usable.
        TooFewSources = "too_few_sources",
        /// Enough quotes were usable, but they lie too far apart to agree.
        Disagreement = "disagreement",
        /// No poller was running.
        NoLeader = "no_leader",
        /// The poller was running, but slots passed without it: it was paused, or the log was away for
        /// longer than its queue reaches.
        Missed = "missed",
        /// The slots had records, and the log has lost them although it had acknowledged them; or it was continued
        /// without regard to them. Written by the poller that finds it, or noted by the reader.
        LogLost = "log_lost",
        /// The log no longer held the records of these slots when they were read; noted by the reader.
        Retention = "retention",
        /// The log holds something here that is no record; noted by the reader.
        Unreadable = "unreadable",
    }
}

impl GapCause {
    /// Whether a gap of the log may have this cause. The others are what readers note for themselves.
    pub fn is_of_log(self) -> bool {
        !matches!(self, Self::Retention | Self::Unreadable)
    }
}

/// One message of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The pair it is about.
    pub pair: Pair,
    /// The term of the leader that wrote it.
    pub epoch: Epoch,
    /// Where the prices come from.
    pub origin: Origin,
    /// What it says.
    pub body: Body,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// One slot has a price.
    Tick(Tick),
    /// One or more slots have none.
    Gap(Gap),
    /// A new leader has begun.
    Lead(Lead),
}

/// The agreed price of one slot, and everything that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// The slot the price stands for.
    pub slot: Slot,
    /// The distance between slots when it was made.
    pub interval: Interval,
    /// The agreed price.
    pub price: Price,
    /// (max − min) / median of the quotes used.
    pub spread: Ratio,
    /// What it was made of.
    pub evidence: Evidence,
}

/// Slots without a tick, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The first slot it covers.
    pub from: Slot,
    /// The last slot it covers.
    pub slot: Slot,
    /// The distance between slots when it was made.
    pub interval: Interval,
    /// Why there is no tick.
    pub cause: GapCause,
    /// The quotes that did not agree; missing where nobody was asked.
    pub evidence: Option<Evidence>,
}

/// The first record of a new leader on a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lead {
    /// Up to where the log covered the pair before; missing where the pair was new. The next leader
    /// needs it when this one dies before its second record.
    pub covered: Option<Timestamp>,
    /// Who leads. Without it, two pollers that pick the same epoch would write the same record, and each
    /// take the other's for its own. Missing in records of early versions.
    pub leader: Option<LeaderId>,
}

/// Everything an aggregation used: with it, anybody can repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The rules that were in force.
    pub policy: Policy,
    /// Every source's quote or failure, each with its verdict.
    pub quotes: Vec<Judged>,
}

/// The rules by which quotes become a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How many quotes must be left to make a price; at least one.
    pub min_sources: u32,
    /// How far a quote may lie from the median, and the used quotes from each other.
    pub max_deviation: Ratio,
    /// How old a quote's own time may be.
    pub max_quote_age: Span,
    /// How far a quote's own time may lie ahead of the poller's clock.
    pub max_clock_skew: Span,
    /// After how long an unchanged quote counts as frozen, if a peer moved meanwhile.
    pub frozen_after: Span,
}

impl Record {
    /// Up to which slot the log covers the pair once this record is in it.
    pub fn covers_up_to(&self) -> Option<Timestamp> {
        match &self.body {
            Body::Tick(tick) => Some(tick.slot.start()),
            Body::Gap(gap) => Some(gap.slot.start()),
            Body::Lead(lead) => lead.covered,
        }
    }

    /// What names the record in the log: `<pair>:<slot>`, for leads `<pair>:lead:<epoch>`.
    ///
    /// The pair is part of it because the log refuses a repeated id on any subject.
    pub fn id(&self) -> String {
        match &self.body {
            Body::Tick(Tick { slot, .. }) | Body::Gap(Gap { slot, .. }) => format!("{}:{slot}", self.pair),
            Body::Lead(_) => format!("{}:lead:{}", self.pair, self.epoch),
        }
    }
}

impl Body {
    /// What it was made of; missing where nobody was asked.
    pub fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Tick(tick) => Some(&tick.evidence),
            Self::Gap(gap) => gap.evidence.as_ref(),
            Self::Lead(_) => None,
        }
    }
}

impl Epoch {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Sequence {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for LeaderId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl FromStr for LeaderId {
    type Err = LeaderIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = u64::from_str_radix(text, 16).ok().map(Self);
        // One spelling: a record that is read is written again with the same bytes.
        id.filter(|id| id.to_string() == text).ok_or_else(|| LeaderIdError(text.chars().take(40).collect()))
    }
}
