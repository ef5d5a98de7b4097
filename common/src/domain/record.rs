//! Records, which are the content of the log.

use std::{fmt, str::FromStr};

use super::{Interval, Judged, Pair, Policy, Price, Ratio, Slot, Timestamp};

/// A record's position in the log. The first position is 1. Zero means the position before the first record, and is the
/// newest position of an empty log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Sequence(pub u64);

/// The number of a leader. Each new leader uses a larger number, so the epochs of a pair's records never decrease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// Identifies the poller process that wrote a record. Each process draws a random id when it starts. The id is written
/// as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaderId(pub u64);

/// The text is not a leader's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a leader's id; use 16 lower-case hexadecimal digits")]
pub struct LeaderIdError(String);

crate::words! {
    /// Where the prices of a log come from. All records of a log have the same origin.
    pub enum Origin ("origin") {
        /// Current prices from public sources.
        Live = "live",
        /// A recording of real prices.
        Replay = "replay",
        /// A simulated market.
        Simulated = "simulated",
    }
}

crate::words! {
    /// Why slots have no tick.
    pub enum GapCause ("gap cause") {
        /// Fewer quotes than `min_sources` were usable.
        TooFewSources = "too_few_sources",
        /// Enough quotes were usable, but they were too far apart.
        Disagreement = "disagreement",
        /// No poller led: none was running, or none could reach the log.
        NoLeader = "no_leader",
        /// A poller was running, but the pair was not in its settings.
        NotConfigured = "not_configured",
        /// The slots are before the pair's first live one and were not backfilled: those between the newest backfilled
        /// slot and the first live one, or those that there was no time to backfill.
        NotBackfilled = "not_backfilled",
        /// The poller was running but missed slots, because it was paused, or because the log was unavailable for so
        /// long that the poller's queue was full.
        Missed = "missed",
        /// The log has lost the acknowledged records of these slots, or was continued without them. The poller that
        /// notices this writes the gap. If no poller did, readers add the gap to their own data.
        LogLost = "log_lost",
        /// The records of these slots had expired before the reader could read them. Only readers add this gap.
        Retention = "retention",
        /// The log has a message that is not a record where the records of these slots should be. Only readers add this
        /// gap.
        Unreadable = "unreadable",
    }
}

impl GapCause {
    /// Whether a gap in the log may have this cause. Readers add gaps with the other causes to their own data.
    pub fn is_of_log(self) -> bool {
        !matches!(self, Self::Retention | Self::Unreadable)
    }
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The pair.
    pub pair: Pair,
    /// The epoch of the leader that wrote the record.
    pub epoch: Epoch,
    /// Where the prices come from.
    pub origin: Origin,
    /// The content.
    pub body: Body,
}

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// One slot has a price.
    Tick(Tick),
    /// One or more slots have no price.
    Gap(Gap),
    /// A new leader has started.
    Lead(Lead),
}

/// The price of one slot, and the evidence for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// The slot.
    pub slot: Slot,
    /// The interval between slots when the tick was written.
    pub interval: Interval,
    /// The price.
    pub price: Price,
    /// How far the used quotes are apart: (max − min) / median.
    pub spread: Ratio,
    /// Whether the tick is about a slot before the pair's first live one, and was added afterwards: from sources'
    /// candles, or from prices that a user imported.
    pub backfilled: bool,
    /// The quotes and the policy from which the price was computed.
    pub evidence: Evidence,
}

/// Slots without a tick, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The first slot of the gap.
    pub from: Slot,
    /// The last slot of the gap.
    pub slot: Slot,
    /// The interval between slots when the gap was written.
    pub interval: Interval,
    /// Why there is no tick.
    pub cause: GapCause,
    /// Whether the gap is about slots before the pair's first live one, like a backfilled tick.
    pub backfilled: bool,
    /// The quotes and the policy, if any quotes were requested.
    pub evidence: Option<Evidence>,
}

/// The first record of a new leader on a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lead {
    /// The newest slot for which the log already had a tick or a gap of the pair; `None` if the pair is new. If this
    /// leader dies before its second record, the next leader continues after this slot.
    pub covered: Option<Timestamp>,
    /// Whether the record of that slot was backfilled, so that the pair has no live slot yet.
    pub backfilled: bool,
    /// The id of the leader. Without the id, two pollers that choose the same epoch would write identical records, and
    /// each would mistake the other's record for its own. Records of early versions have no id.
    pub leader: Option<LeaderId>,
}

/// Everything that was used to compute a price, so that the computation can be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The rules that were applied.
    pub policy: Policy,
    /// The quote or failure of every source, with its verdict.
    pub quotes: Vec<Judged>,
}

impl Record {
    /// The newest slot for which the log has a tick or a gap of the pair once this record is appended. A record covers
    /// the slot of its tick, or all slots of its gap.
    pub fn covers_up_to(&self) -> Option<Timestamp> {
        match &self.body {
            Body::Tick(tick) => Some(tick.slot.start()),
            Body::Gap(gap) => Some(gap.slot.start()),
            Body::Lead(lead) => lead.covered,
        }
    }

    /// Whether the record is about slots before the pair's first live one, or is a lead that continues after them.
    pub fn is_backfilled(&self) -> bool {
        match &self.body {
            Body::Tick(tick) => tick.backfilled,
            Body::Gap(gap) => gap.backfilled,
            Body::Lead(lead) => lead.backfilled,
        }
    }

    /// The record's message id in the log: `<pair>:<slot>`, or `<pair>:lead:<epoch>` for leads.
    ///
    /// The id contains the pair because NATS rejects duplicate ids across all subjects of a stream.
    pub fn id(&self) -> String {
        let mut id = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_id(&mut id);
        id
    }

    /// Whether this is the record's message id.
    pub fn has_id(&self, id: &str) -> bool {
        let mut rest = Rest(id);
        self.write_id(&mut rest).is_ok() && rest.0.is_empty()
    }

    fn write_id(&self, target: &mut impl fmt::Write) -> fmt::Result {
        match &self.body {
            Body::Tick(Tick { slot, .. }) | Body::Gap(Gap { slot, .. }) => {
                write!(target, "{}:{slot}", self.pair)
            }
            Body::Lead(_) => write!(target, "{}:lead:{}", self.pair, self.epoch),
        }
    }
}

/// A text that is compared with what is written: what has not been compared yet.
struct Rest<'a>(&'a str);

impl fmt::Write for Rest<'_> {
    fn write_str(&mut self, written: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(written).ok_or(fmt::Error)?;
        Ok(())
    }
}

impl Body {
    /// The quotes and the policy, if any quotes were requested.
    pub fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Tick(tick) => Some(&tick.evidence),
            Self::Gap(gap) => gap.evidence.as_ref(),
            Self::Lead(_) => None,
        }
    }
}

impl Epoch {
    /// The next epoch.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Sequence {
    /// The next position.
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
        // Accept only the canonical spelling, so that encoding a decoded record gives the same bytes.
        id.filter(|id| id.to_string() == text).ok_or_else(|| LeaderIdError(text.chars().take(40).collect()))
    }
}
