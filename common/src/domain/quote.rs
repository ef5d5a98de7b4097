//! Quotes, failures and verdicts.

use std::{fmt, str::FromStr};

use arrayvec::ArrayString;

use super::{Policy, Price, PriceRule, Span, Timestamp, UnknownWord, Words};

/// The longest source name. Source names are used as metric labels and JSON values.
const MAX_NAME_LENGTH: usize = 24;

/// The name of a source: lower-case letters, digits and `_`, starting with a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceName(ArrayString<MAX_NAME_LENGTH>);

/// The text is not a valid source name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid source name; use at most 24 lower-case letters, digits and _, starting with a letter"
)]
pub struct SourceNameError(String);

crate::words! {
    /// Where the price of a quote comes from.
    pub enum Basis ("basis") {
        /// The midpoint of bid and ask.
        Mid = "mid",
        /// The last trade.
        Last = "last",
        /// The close of a finished candle.
        CandleClose = "candle_close",
        /// A price that a user imported.
        Imported = "imported",
    }
}

/// The prices of one pair that a source returned, with their original digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reported {
    /// The price of the last trade.
    pub last: Option<Price>,
    /// The highest price that a buyer offers.
    pub bid: Option<Price>,
    /// The lowest price at which a seller offers.
    pub ask: Option<Price>,
}

impl Reported {
    /// Only the price of the last trade.
    pub fn traded(last: Price) -> Self {
        Self { last: Some(last), ..Self::default() }
    }

    /// The price that counts under a policy, and its basis. `None` if there is no last trade and no sane book.
    ///
    /// A book is sane if the bid is not above the ask and their distance is within `max_deviation`. A book whose sellers
    /// have left would otherwise give a price that nobody trades at.
    pub fn price(&self, policy: &Policy) -> Option<(Price, Basis)> {
        let last = self.last.map(|last| (last, Basis::Last));
        let mid = || self.midpoint(policy).map(|mid| (mid, Basis::Mid));
        match policy.price {
            PriceRule::Mid => mid().or(last),
            PriceRule::Last => last.or_else(mid),
        }
    }

    fn midpoint(&self, policy: &Policy) -> Option<Price> {
        let (bid, ask) = (self.bid?, self.ask?);
        let mid = bid.midpoint(ask);
        (bid <= ask && policy.max_deviation.admits(bid, ask, mid)).then_some(mid)
    }
}

/// The quote of one pair that a source returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The price that counts.
    pub price: Price,
    /// Where `price` comes from.
    pub basis: Basis,
    /// The prices that the source returned. Empty if the price is a candle's close or was imported.
    pub reported: Reported,
    /// When the response had arrived, by the poller's clock.
    pub observed_at: Timestamp,
    /// The time that the source gives for the price, if it gives one.
    pub source_time: Option<Timestamp>,
    /// Since when this source has returned exactly the same prices and the same time.
    pub unchanged_since: Timestamp,
    /// The largest allowed age of `source_time`, if the source has a limit of its own. Otherwise the policy's limit
    /// applies.
    pub max_age: Option<Span>,
}

impl Observation {
    /// The price of a last trade without a time, first returned at this moment.
    pub fn traded(last: Price, at: Timestamp) -> Self {
        Self {
            price: last,
            basis: Basis::Last,
            reported: Reported::traded(last),
            observed_at: at,
            source_time: None,
            unchanged_since: at,
            max_age: None,
        }
    }
}

/// The result of requesting the price of one pair from one source for one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// The source.
    pub source: SourceName,
    /// Whether the source is a shadow source, whose quotes are recorded but never used.
    pub shadow: bool,
    /// The price, or why there is none.
    pub result: Result<Observation, Failure>,
}

/// A quote with the aggregator's verdict on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// The source.
    pub source: SourceName,
    /// The price, if the source returned one.
    pub observation: Option<Observation>,
    /// How the price was used, or why there is none.
    pub verdict: Verdict,
}

crate::words! {
    /// Why there is no quote from a source.
    #[derive(thiserror::Error)]
    pub enum Failure ("failure") {
        /// No request was sent, because the source is not asked for a while after failures or after it asked to wait.
        BackingOff = "backing_off",
        /// There was no complete response before the slot's deadline.
        Timeout = "timeout",
        /// There was no HTTP connection: it was refused or reset, or the server uses another protocol.
        Unreachable = "unreachable",
        /// The host name was not found.
        Dns = "dns",
        /// The certificate is invalid, or the handshake failed.
        Tls = "tls",
        /// The response is a redirect, which is never followed.
        Redirect = "redirect",
        /// HTTP 403: forbidden.
        Http403 = "http_403",
        /// HTTP 418, which some exchanges use for banned clients.
        Http418 = "http_418",
        /// HTTP 429: too many requests.
        Http429 = "http_429",
        /// HTTP 451: not available in this country.
        Http451 = "http_451",
        /// Any other HTTP 4xx.
        Http4xx = "http_4xx",
        /// Any HTTP 5xx.
        Http5xx = "http_5xx",
        /// The body is larger than any legitimate response, before or after decompression.
        TooLarge = "too_large",
        /// The body does not have the documented format.
        Malformed = "malformed",
        /// The body says that there were too many requests, although the status is not HTTP 429.
        RateLimited = "rate_limited",
        /// The body contains an error other than too many requests.
        Refused = "refused",
        /// The response does not contain the pair.
        Missing = "missing",
        /// The price or the time is invalid: zero, negative, not a number, or out of range.
        Invalid = "invalid",
        /// Not requested: the source's own list of markets does not contain the pair.
        Unlisted = "unlisted",
        /// The source lists the market, but trading is halted.
        Halted = "halted",
        /// The source reported that its service is unavailable.
        Unavailable = "unavailable",
        /// The source reported that it has locked this client out for a while.
        LockedOut = "locked_out",
        /// Instead of JSON, the source's content delivery network returned a page that checks for browsers.
        Challenge = "challenge",
    }
}

/// How the aggregator used a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// The quote was used to compute the price.
    Used,
    /// The quote is too far from the median.
    Outlier,
    /// The source's own time is too old.
    Stale,
    /// The source's own time is too far ahead of the poller's clock.
    Future,
    /// Nothing of the quote has changed for too long, although other sources' prices have moved away from it.
    Frozen,
    /// The source is a shadow source.
    Shadow,
    /// The quote was usable, but no price was computed for the slot.
    Unused,
    /// There is no quote. Contains the reason.
    Failed(Failure),
}

impl Verdict {
    /// The verdicts that a quote with a price can have.
    pub const ON_QUOTES: [Self; 7] =
        [Self::Used, Self::Outlier, Self::Stale, Self::Future, Self::Frozen, Self::Shadow, Self::Unused];

    /// The verdict's spelling.
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

    /// Every verdict.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ON_QUOTES.into_iter().chain(Failure::ALL.iter().copied().map(Self::Failed))
    }
}

impl fmt::Display for Reported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [("last", self.last), ("bid", self.bid), ("ask", self.ask)];
        let known =
            named.into_iter().filter_map(|(name, price)| price.map(|price| format!("{name} {price}")));
        formatter.write_str(&known.collect::<Vec<_>>().join(", "))
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
    use crate::domain::AgeRule;

    #[test]
    fn every_verdict_has_its_own_spelling_and_round_trips() {
        for verdict in Verdict::all() {
            assert_eq!(verdict.as_str().parse::<Verdict>(), Ok(verdict));
        }
        assert!("splendid".parse::<Verdict>().is_err());
    }

    #[test]
    fn source_names_are_valid_labels() {
        assert!("kraken".parse::<SourceName>().is_ok());
        for text in ["", "Kraken", "1kraken", "kra ken", "a_name_that_is_longer_than_a_label"] {
            assert!(text.parse::<SourceName>().is_err(), "{text}");
        }
    }

    fn reported(last: &str, bid: &str, ask: &str) -> Reported {
        let price = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        Reported { last: price(last), bid: price(bid), ask: price(ask) }
    }

    fn counts(reported: Reported, rule: PriceRule) -> Option<(String, Basis)> {
        let policy = Policy {
            rules: Policy::RULES,
            price: rule,
            min_sources: 1,
            max_deviation: "2%".parse().unwrap(),
            max_quote_age: Span::from_seconds(30),
            max_clock_skew: Span::from_seconds(5),
            frozen_after: Span::from_seconds(600),
            aged_at: AgeRule::Arrival,
        };
        reported.price(&policy).map(|(price, basis)| (price.to_string(), basis))
    }

    #[test]
    fn the_midpoint_of_a_sane_book_counts() {
        for (last, bid, ask, expected) in [
            ("99.50", "100.00", "100.10", "100.05"),
            ("", "100.00", "100.10", "100.05"),
            // The midpoint may have one more decimal place.
            ("99.50", "100.00", "100.01", "100.005"),
            // Bid and ask may be equal, and 2 % apart.
            ("99.50", "100.00", "100.00", "100.00"),
            ("99.50", "99", "101", "100"),
        ] {
            let mid = Some((expected.to_owned(), Basis::Mid));
            assert_eq!(counts(reported(last, bid, ask), PriceRule::Mid), mid, "{last} {bid} {ask}");
        }
    }

    #[test]
    fn the_last_trade_counts_if_the_book_is_crossed_too_wide_or_one_sided() {
        for (bid, ask) in [("100.11", "100.10"), ("98.99", "101.01"), ("100", ""), ("", "100"), ("", "")] {
            let last = Some(("99.50".to_owned(), Basis::Last));
            assert_eq!(counts(reported("99.50", bid, ask), PriceRule::Mid), last, "{bid} {ask}");
            for rule in [PriceRule::Mid, PriceRule::Last] {
                assert_eq!(counts(reported("", bid, ask), rule), None, "{bid} {ask}");
            }
        }
    }

    #[test]
    fn the_last_trade_counts_by_setting_and_the_book_replaces_it() {
        let last = Some(("99.50".to_owned(), Basis::Last));
        assert_eq!(counts(reported("99.50", "100.00", "100.10"), PriceRule::Last), last);
        let mid = Some(("100.05".to_owned(), Basis::Mid));
        assert_eq!(counts(reported("", "100.00", "100.10"), PriceRule::Last), mid);
    }
}
