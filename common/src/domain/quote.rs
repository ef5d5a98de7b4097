//! Quotes and what was made of them.

use std::{fmt, str::FromStr};

use arrayvec::ArrayString;

use super::{Price, Span, Timestamp, UnknownWord, Words};

/// The longest source name; they become metric labels and JSON values.
const MAX_NAME_LENGTH: usize = 24;

/// The name of a source: lower-case letters, digits and `_`, starting with a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceName(ArrayString<MAX_NAME_LENGTH>);

/// Why a text is not a source's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a source name: lower-case letters, digits and _, a letter first, at most 24")]
pub struct SourceNameError(String);

/// What a source said about one pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The source's price, digits kept.
    pub price: Price,
    /// When the answer was here, by the poller's clock.
    pub observed_at: Timestamp,
    /// The source's own time for the price, where it gives one.
    pub source_time: Option<Timestamp>,
    /// Since when the poller has seen this same price from this source.
    pub unchanged_since: Timestamp,
    /// How old its own time may be, where the source has a limit of its own and not the policy's.
    pub max_age: Option<Span>,
}

/// One source's answer for one pair in one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Who was asked.
    pub source: SourceName,
    /// Whether the source is only watched: its quotes are kept and never used.
    pub shadow: bool,
    /// What came back.
    pub answer: Result<Observation, Failure>,
}

/// A quote with the aggregator's verdict on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Who was asked.
    pub source: SourceName,
    /// What the source said; missing where it gave no usable answer.
    pub observation: Option<Observation>,
    /// What was done with it, or why there is nothing.
    pub verdict: Verdict,
}

crate::words! {
    /// Why a source gave no quote.
    #[derive(thiserror::Error)]
    pub enum Failure ("failure") {
        /// Not asked: resting after failures, or until the time it named.
        BackingOff = "backing_off",
        /// No full answer before the slot's deadline.
        Timeout = "timeout",
        /// No connection that speaks HTTP: refused, reset, or another protocol.
        Unreachable = "unreachable",
        /// No connection: the name was not found.
        Dns = "dns",
        /// The certificate or handshake was not acceptable.
        Tls = "tls",
        /// Answered with a redirect, which is never followed.
        Redirect = "redirect",
        /// HTTP 403: forbidden.
        Http403 = "http_403",
        /// HTTP 418: banned, in the dialect of some exchanges.
        Http418 = "http_418",
        /// HTTP 429: too many requests.
        Http429 = "http_429",
        /// HTTP 451: not available in this place.
        Http451 = "http_451",
        /// Another HTTP 4xx.
        Http4xx = "http_4xx",
        /// An HTTP 5xx.
        Http5xx = "http_5xx",
        /// The body is larger than any honest answer, before or after decompression.
        TooLarge = "too_large",
        /// The body does not follow the source's contract.
        Malformed = "malformed",
        /// The source said in its own words, and not by HTTP 429, that it was asked too often.
        RateLimited = "rate_limited",
        /// The source reported another error in its own words.
        Refused = "refused",
        /// The answer does not contain the pair.
        Missing = "missing",
        /// The answer's price or time is not one: zero, negative, not a number, or not representable.
        Invalid = "invalid",
    }
}

/// What the aggregator did with a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Part of the price.
    Used,
    /// Too far from the median of its peers.
    Outlier,
    /// Its own time is too old.
    Stale,
    /// Its own time lies ahead of the poller's clock by more than clocks differ.
    Future,
    /// Unchanged for too long while peers moved.
    Frozen,
    /// Watched only.
    Shadow,
    /// Fit to use, but no price was agreed in this slot.
    Unused,
    /// There is no quote, for this reason.
    Failed(Failure),
}

impl Verdict {
    /// The verdicts on quotes that are there.
    pub const ON_QUOTES: [Self; 7] =
        [Self::Used, Self::Outlier, Self::Stale, Self::Future, Self::Frozen, Self::Shadow, Self::Unused];

    /// The verdict's one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Outlier => "outlier",
            Self::Stale => "stale",
            Self::Future => "future",
            Self::Frozen => "frozen",
            Self::Shadow => "shadow",
            Self::Unused => "unused",
            Self::Failed(failure) => failure.as_str(),
        }
    }

    /// Every verdict there is.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ON_QUOTES.into_iter().chain(Failure::ALL.iter().copied().map(Self::Failed))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Verdict {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::all().find(|verdict| verdict.as_str() == word).ok_or_else(|| UnknownWord {
            what: "verdict",
            word: word.to_owned(),
            known: Self::all().map(Self::as_str).collect::<Vec<_>>().join(", "),
        })
    }
}

impl SourceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SourceName {
    type Err = SourceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        ArrayString::from(text)
            .ok()
            .filter(|_| valid)
            .map(Self)
            .ok_or_else(|| SourceNameError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_its_own_word_and_comes_back() {
        for verdict in Verdict::all() {
            assert_eq!(verdict.as_str().parse::<Verdict>(), Ok(verdict));
        }
        assert!("splendid".parse::<Verdict>().is_err());
    }

    #[test]
    fn source_names_are_labels() {
        assert!("kraken".parse::<SourceName>().is_ok());
        for text in ["", "Kraken", "1kraken", "kra ken", "a_name_that_is_longer_than_a_label"] {
            assert!(text.parse::<SourceName>().is_err(), "{text}");
        }
    }
}
