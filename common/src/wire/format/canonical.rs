//! Reads ticks that are written exactly as this version writes them: the same members in the same order, without spaces.
//!
//! Nearly all records are such ticks, and a pod that rebuilds its store decodes millions of them. A reader that knows
//! what comes next takes a small part of the time of serde, which must expect any member anywhere. Every other record is
//! read with serde. Both readers apply the same rules, because both end in the same conversion to a [`Record`].

use std::str::FromStr;

use super::{Object, PolicyFormat, QuoteFormat, TickFormat};
use crate::domain::Record;

/// Reads a tick. `None` if it is written in any other way, or if it is invalid.
pub(in crate::wire) fn read_tick(bytes: &[u8]) -> Option<Record> {
    let mut rest = Rest(std::str::from_utf8(bytes).ok()?);
    rest.skip(r#"{"version":2,"kind":"tick","pair":""#)?;
    let pair = rest.text()?;
    rest.skip(r#","slot":""#)?;
    let slot = rest.text()?;
    rest.skip(r#","interval":""#)?;
    let interval = rest.text()?;
    rest.skip(r#","epoch":"#)?;
    let epoch = rest.number()?;
    rest.skip(r#","origin":""#)?;
    let origin = rest.text()?;
    rest.skip(r#","price":""#)?;
    let price = rest.text()?;
    rest.skip(r#","spread":""#)?;
    let spread = rest.text()?;
    let backfilled = rest.skip(r#","backfilled":true"#).is_some();
    rest.skip(r#","policy":{"#)?;
    let policy = Object(rest.policy()?);
    rest.skip(r#"},"quotes":["#)?;
    let mut quotes = Vec::new();
    if rest.skip("]}").is_none() {
        quotes.push(rest.quote()?);
        while rest.skip(",").is_some() {
            quotes.push(rest.quote()?);
        }
        rest.skip("]}")?;
    }
    let tick = TickFormat { pair, slot, interval, epoch, origin, price, spread, backfilled, policy, quotes };
    rest.0.is_empty().then(|| Record::try_from(tick).ok())?
}

/// What has not been read yet.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    /// Skips a text, if it comes next.
    #[inline(always)]
    fn skip(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// The value of a text up to its closing quotation mark. A text with escapes is left to serde, as is one with control
    /// characters, which JSON does not allow.
    fn text<T: FromStr>(&mut self) -> Option<T> {
        let end = self.0.bytes().position(|byte| matches!(byte, b'"' | b'\\' | ..b' '))?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.strip_prefix('"')?;
        text.parse().ok()
    }

    /// The value of a text that follows this one. Fails if there is such a value, but it is invalid.
    #[inline(always)]
    fn optional<T: FromStr>(&mut self, before: &str) -> Option<Option<T>> {
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
        self.skip(r#""rules":"#)?;
        let rules = self.number()?;
        self.skip(r#","price":""#)?;
        let price = self.text()?;
        self.skip(r#","min_sources":"#)?;
        let min_sources = self.number()?;
        self.skip(r#","max_deviation":""#)?;
        let max_deviation = self.text()?;
        self.skip(r#","max_quote_age":""#)?;
        let max_quote_age = self.text()?;
        self.skip(r#","max_clock_skew":""#)?;
        let max_clock_skew = self.text()?;
        self.skip(r#","frozen_after":""#)?;
        let frozen_after = self.text()?;
        let aged_at = self.optional(r#","aged_at":""#)?;
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
        self.skip(r#"{"source":""#)?;
        let source = self.text()?;
        let price = self.optional(r#","price":""#)?;
        let basis = self.optional(r#","basis":""#)?;
        let last = self.optional(r#","last":""#)?;
        let bid = self.optional(r#","bid":""#)?;
        let ask = self.optional(r#","ask":""#)?;
        let observed_at = self.optional(r#","observed_at":""#)?;
        let source_time = match self.skip(r#","source_time":null"#) {
            Some(()) => Some(None),
            None => self.optional(r#","source_time":""#)?.map(Some),
        };
        let unchanged_since = self.optional(r#","unchanged_since":""#)?;
        let max_quote_age = self.optional(r#","max_quote_age":""#)?;
        self.skip(r#","verdict":""#)?;
        let verdict = self.text()?;
        self.skip("}")?;
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
