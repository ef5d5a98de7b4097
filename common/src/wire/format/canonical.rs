//! Reads ticks that are written exactly as this version writes them: the same members in the same order, without
//! spaces.
//!
//! Nearly all records are such ticks, and a pod that rebuilds its store decodes millions of them. A reader that knows
//! what comes next takes a small part of the time of serde, which must expect any member anywhere. Every other record
//! is read with serde. Both readers apply the same rules, because both end in the same conversion to a [`Record`].

use std::str::FromStr;

use super::{Object, PolicyFormat, QuoteFormat, TickFormat};
use crate::domain::Record;

/// Reads a tick. `None` if it is written in any other way, or if it is invalid.
pub(in crate::wire) fn read_tick(bytes: &[u8]) -> Option<Record> {
    // A text with escapes is left to serde, as is one with control characters, which JSON does not allow. One pass over
    // all bytes takes less time than looking for them in each text.
    let is_plain = bytes.iter().fold(true, |plain, byte| plain & (*byte >= b' ') & (*byte != b'\\'));
    let mut rest = Rest(std::str::from_utf8(bytes).ok().filter(|_| is_plain)?);
    rest.skip(br#"{"version":2,"kind":"tick","pair":""#)?;
    let pair = rest.text()?;
    rest.skip(br#","slot":""#)?;
    let slot = rest.text()?;
    rest.skip(br#","interval":""#)?;
    let interval = rest.text()?;
    rest.skip(br#","epoch":"#)?;
    let epoch = rest.number()?;
    rest.skip(br#","origin":""#)?;
    let origin = rest.text()?;
    rest.skip(br#","price":""#)?;
    let price = rest.text()?;
    rest.skip(br#","spread":""#)?;
    let spread = rest.text()?;
    let backfilled = rest.skip(br#","backfilled":true"#).is_some();
    rest.skip(br#","policy":{"#)?;
    let policy = Object(rest.policy()?);
    rest.skip(br#"},"quotes":["#)?;
    let mut quotes = Vec::new();
    if rest.skip(b"]}").is_none() {
        quotes.push(rest.quote()?);
        while rest.skip(b",").is_some() {
            quotes.push(rest.quote()?);
        }
        rest.skip(b"]}")?;
    }
    let tick = TickFormat { pair, slot, interval, epoch, origin, price, spread, backfilled, policy, quotes };
    rest.0.is_empty().then(|| Record::try_from(tick).ok())?
}

/// What has not been read yet.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    /// Skips these bytes, if they come next. Their number is known when this is compiled, so that the comparison needs
    /// no call.
    fn skip<const LENGTH: usize>(&mut self, expected: &[u8; LENGTH]) -> Option<()> {
        let next: &[u8; LENGTH] = self.0.as_bytes().first_chunk()?;
        self.0 = self.0.get(LENGTH..).filter(|_| next == expected)?;
        Some(())
    }

    /// The value of a text up to its closing quotation mark.
    fn text<T: FromStr>(&mut self) -> Option<T> {
        let end = self.0.bytes().position(|byte| byte == b'"')?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..)?;
        text.parse().ok()
    }

    /// The value of a text that follows this one. Fails if there is such a value, but it is invalid.
    fn optional<T: FromStr, const LENGTH: usize>(&mut self, before: &[u8; LENGTH]) -> Option<Option<T>> {
        match self.skip(before) {
            Some(()) => self.text().map(Some),
            None => Some(None),
        }
    }

    /// A whole number. JSON allows no leading zeros.
    fn number<T: FromStr>(&mut self) -> Option<T> {
        let end = self.0.bytes().position(|byte| !byte.is_ascii_digit())?;
        let (digits, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        let has_leading_zero = digits.len() > 1 && digits.starts_with('0');
        digits.parse().ok().filter(|_| !has_leading_zero)
    }

    fn policy(&mut self) -> Option<PolicyFormat> {
        self.skip(br#""rules":"#)?;
        let rules = self.number()?;
        self.skip(br#","price":""#)?;
        let price = self.text()?;
        self.skip(br#","min_sources":"#)?;
        let min_sources = self.number()?;
        self.skip(br#","max_deviation":""#)?;
        let max_deviation = self.text()?;
        self.skip(br#","max_quote_age":""#)?;
        let max_quote_age = self.text()?;
        self.skip(br#","max_clock_skew":""#)?;
        let max_clock_skew = self.text()?;
        self.skip(br#","frozen_after":""#)?;
        let frozen_after = self.text()?;
        let aged_at = self.optional(br#","aged_at":""#)?;
        Some(PolicyFormat {
            rules,
            price,
            min_sources,
            max_deviation,
            max_quote_age,
            max_clock_skew,
            frozen_after,
            aged_at,
        })
    }

    fn quote(&mut self) -> Option<QuoteFormat> {
        self.skip(br#"{"source":""#)?;
        let source = self.text()?;
        let price = self.optional(br#","price":""#)?;
        let basis = self.optional(br#","basis":""#)?;
        let last = self.optional(br#","last":""#)?;
        let bid = self.optional(br#","bid":""#)?;
        let ask = self.optional(br#","ask":""#)?;
        let observed_at = self.optional(br#","observed_at":""#)?;
        let source_time = match self.skip(br#","source_time":null"#) {
            Some(()) => Some(None),
            None => self.optional(br#","source_time":""#)?.map(Some),
        };
        let unchanged_since = self.optional(br#","unchanged_since":""#)?;
        let max_quote_age = self.optional(br#","max_quote_age":""#)?;
        self.skip(br#","verdict":""#)?;
        let verdict = self.text()?;
        self.skip(b"}")?;
        Some(QuoteFormat {
            source,
            price,
            basis,
            last,
            bid,
            ask,
            observed_at,
            source_time,
            unchanged_since,
            max_quote_age,
            verdict,
        })
    }
}
