//! What a pod's log has for one time.

use std::fmt;

use anyhow::{Error, anyhow};
use common::domain::{Price, Timestamp};
use serde::Deserialize;

/// The longest word of the API.
const MAX_WORD_BYTES: usize = 64;

/// One item of the response, as it is in JSON.
#[derive(Debug, Deserialize)]
pub(super) struct FoundItem {
    outcome: String,
    price: Option<String>,
    slot: Option<String>,
    sequence: Option<u64>,
    gap: Option<GapItem>,
    before: Option<TickItem>,
}

#[derive(Debug, Deserialize)]
struct GapItem {
    from: String,
    to: String,
    cause: String,
}

#[derive(Debug, Deserialize)]
struct TickItem {
    slot: String,
    price: String,
    sequence: u64,
}

/// What the log has for one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The tick that stood at that time.
    Tick(FoundTick),
    /// The gap that covers that time, and the tick before it.
    Gap { from: String, to: String, cause: String, before: Option<FoundTick> },
    /// Nothing. The word says why.
    Nothing(String),
}

/// A tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundTick {
    pub(super) price: String,
    pub(super) slot: Timestamp,
    pub(super) sequence: u64,
}

impl FoundTick {
    fn of(price: String, slot: &str, sequence: u64) -> Result<Self, Error> {
        price.parse::<Price>()?;
        Ok(Self { price, slot: slot.parse()?, sequence })
    }
}

impl TryFrom<FoundItem> for Found {
    type Error = Error;

    fn try_from(item: FoundItem) -> Result<Self, Error> {
        match (item.outcome.as_str(), item.price, item.slot, item.sequence, item.gap) {
            ("tick", Some(price), Some(slot), Some(sequence), _) => {
                FoundTick::of(price, &slot, sequence).map(Self::Tick)
            }
            ("gap", _, _, _, Some(GapItem { from, to, cause })) => {
                let before = item.before.map(|tick| FoundTick::of(tick.price, &tick.slot, tick.sequence));
                let time = |text: String| Ok::<_, Error>(text.parse::<Timestamp>()?.to_string());
                let (from, to, cause) = (time(from)?, time(to)?, word(cause)?);
                Ok(Self::Gap { from, to, cause, before: before.transpose()? })
            }
            ("tick" | "gap", ..) => Err(anyhow!("an item with the outcome {} is incomplete", item.outcome)),
            _ => Ok(Self::Nothing(word(item.outcome)?)),
        }
    }
}

/// A word of the API, such as `too_few_sources`. Later versions may have other words, but no other characters.
pub(crate) fn word(text: String) -> Result<String, Error> {
    let is_word = (1..=MAX_WORD_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_word { Ok(text) } else { Err(anyhow!("the pod sent something else where a word was expected")) }
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick(tick) => tick.fmt(formatter),
            Self::Gap { from, to, cause, before } => {
                write!(formatter, "no price: gap from {from} to {to} ({cause})")?;
                before.as_ref().map_or(Ok(()), |before| write!(formatter, "; before it: {before}"))
            }
            Self::Nothing(outcome) => write!(formatter, "no price: {outcome}"),
        }
    }
}

impl fmt::Display for FoundTick {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (slot {}, sequence {})", self.price, self.slot, self.sequence)
    }
}
