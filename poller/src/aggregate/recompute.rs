//! Runs the quotes and the policy of a stored record through the aggregator again.
//!
//! The input is taken from the record: the prices and times of the sources, their failures, and which sources
//! are shadows (a record shows that by the verdict `shadow`). Everything else is computed again and must be
//! identical: the price and spread with all their digits, or the gap's cause, and all other verdicts.

use std::fmt;

use common::domain::{
    Basis, Body, Evidence, Failure, GapCause, Interval, Judged, Policy, Price, Quote, Ratio, Record,
    Reported, Slot, SourceName, Verdict,
};

use super::aggregate;

/// The result of recomputing a record, if nothing differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The result is as recorded.
    Agrees,
    /// The record has no quotes: it is a lead, or a gap for which no source was asked.
    NothingToRecompute,
    /// The record was computed by rules that this version does not know.
    OtherRules(u32),
}

/// What a slot resulted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreed {
    /// A tick with this price.
    Price(Price),
    /// A gap with this cause.
    Gap(GapCause),
}

/// Something in a record that does not follow from its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The record is a tick but should be a gap, or the reverse.
    Kind(Both<Agreed>),
    /// The price differs, or the same price is written with other digits.
    Price(Both<Price>),
    /// The spread differs.
    Spread(Both<Ratio>),
    /// The gap's cause differs.
    Cause(Both<GapCause>),
    /// The gap's first slot differs: the gap covers several slots, although it has the quotes of only one.
    From(Both<Slot>),
    /// The verdict on a source differs.
    Verdict(SourceName, Both<Verdict>),
    /// The gap has no quotes, but its cause requires them.
    QuotesMissing(GapCause),
    /// The price of a source's quote, or its basis, does not follow from what the source reported.
    Quote(SourceName),
    /// The `unchanged_since` of a source's quote is later than its `observed_at`, which is impossible.
    TimesReversed(SourceName),
}

/// A recorded value and the recomputed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Both<T> {
    /// The value in the record.
    pub recorded: T,
    /// The value from the aggregator.
    pub recomputed: T,
}

/// Recomputes a record. The error lists all differences and is never empty.
pub fn recompute(record: &Record) -> Result<Outcome, Vec<Difference>> {
    let (evidence, slot, interval) = match &record.body {
        Body::Tick(tick) => (&tick.evidence, tick.slot, tick.interval),
        Body::Gap(gap) => match &gap.evidence {
            Some(evidence) => (evidence, gap.slot, gap.interval),
            None if comes_from_quotes(gap.cause) => return Err(vec![Difference::QuotesMissing(gap.cause)]),
            None => return Ok(Outcome::NothingToRecompute),
        },
        Body::Lead(_) => return Ok(Outcome::NothingToRecompute),
    };
    if evidence.policy.rules != Policy::RULES {
        return Ok(Outcome::OtherRules(evidence.policy.rules));
    }
    let mut differences = compare(&record.body, &aggregate_again(evidence, slot, interval));
    differences.extend(evidence.quotes.iter().filter_map(|judged| mispriced(judged, &evidence.policy)));
    differences.extend(evidence.quotes.iter().filter_map(reversed));
    if differences.is_empty() { Ok(Outcome::Agrees) } else { Err(differences) }
}

fn comes_from_quotes(cause: GapCause) -> bool {
    match cause {
        GapCause::TooFewSources | GapCause::Disagreement => true,
        GapCause::NoLeader
        | GapCause::NotConfigured
        | GapCause::NotBackfilled
        | GapCause::Missed
        | GapCause::LogLost
        | GapCause::Retention
        | GapCause::Unreadable => false,
    }
}

/// A candle's close or an imported price is the only price of its quote, so there is nothing to compare it with.
fn mispriced(judged: &Judged, policy: &Policy) -> Option<Difference> {
    let observation = judged.observation?;
    let written = |price: Price, basis: Basis| (price.to_string(), basis);
    let agrees = match observation.basis {
        Basis::CandleClose | Basis::Imported => observation.reported == Reported::default(),
        Basis::Mid | Basis::Last => {
            let recomputed = observation.reported.price(policy);
            recomputed.map(|(price, basis)| written(price, basis))
                == Some(written(observation.price, observation.basis))
        }
    };
    (!agrees).then_some(Difference::Quote(judged.source))
}

/// Finds a quote whose `unchanged_since` is later than its `observed_at`. No verdict depends on the order of
/// these times, so comparing verdicts would not find such a quote.
fn reversed(judged: &Judged) -> Option<Difference> {
    let observation = judged.observation?;
    let is_reversed = observation.unchanged_since > observation.observed_at;
    is_reversed.then_some(Difference::TimesReversed(judged.source))
}

fn aggregate_again(evidence: &Evidence, slot: Slot, interval: Interval) -> Body {
    let quotes: Vec<Quote> = evidence.quotes.iter().map(quote).collect();
    aggregate(&quotes, &evidence.policy, slot, interval)
}

/// The quote that the aggregator was given. A record does not show whether a failed source is a shadow, but
/// that makes no difference to the result.
fn quote(judged: &Judged) -> Quote {
    let failure = match judged.verdict {
        Verdict::Failed(failure) => failure,
        // This failure is only used for a quote without an observation. Decoding refuses a record with such a quote if
        // the quote's verdict is not a failure. For any other record with such a quote, the recomputed verdict differs.
        _ => Failure::Missing,
    };
    Quote {
        source: judged.source,
        shadow: judged.verdict == Verdict::Shadow,
        result: judged.observation.ok_or(failure),
    }
}

fn compare(recorded: &Body, recomputed: &Body) -> Vec<Difference> {
    let mut differences = Vec::new();
    match (recorded, recomputed) {
        (Body::Tick(recorded), Body::Tick(recomputed)) => {
            // `Price` compares by value, so 1.50 equals 1.5. Here the digits must be equal too.
            if recorded.price.to_string() != recomputed.price.to_string() {
                let (recorded, recomputed) = (recorded.price, recomputed.price);
                differences.push(Difference::Price(Both { recorded, recomputed }));
            }
            if recorded.spread != recomputed.spread {
                let (recorded, recomputed) = (recorded.spread, recomputed.spread);
                differences.push(Difference::Spread(Both { recorded, recomputed }));
            }
        }
        (Body::Gap(recorded), Body::Gap(recomputed)) => {
            if recorded.cause != recomputed.cause {
                let (recorded, recomputed) = (recorded.cause, recomputed.cause);
                differences.push(Difference::Cause(Both { recorded, recomputed }));
            }
            if recorded.from != recomputed.from {
                let (recorded, recomputed) = (recorded.from, recomputed.from);
                differences.push(Difference::From(Both { recorded, recomputed }));
            }
        }
        _ => {
            if let (Some(recorded), Some(recomputed)) = (agreed(recorded), agreed(recomputed)) {
                differences.push(Difference::Kind(Both { recorded, recomputed }));
            }
        }
    }
    let verdicts = judged(recorded).iter().zip(judged(recomputed));
    differences.extend(verdicts.filter(|(recorded, recomputed)| recorded.verdict != recomputed.verdict).map(
        |(recorded, recomputed)| {
            let pair = Both { recorded: recorded.verdict, recomputed: recomputed.verdict };
            Difference::Verdict(recorded.source, pair)
        },
    ));
    differences
}

fn agreed(body: &Body) -> Option<Agreed> {
    match body {
        Body::Tick(tick) => Some(Agreed::Price(tick.price)),
        Body::Gap(gap) => Some(Agreed::Gap(gap.cause)),
        Body::Lead(_) => None,
    }
}

fn judged(body: &Body) -> &[Judged] {
    body.evidence().map_or(&[], |evidence| &evidence.quotes)
}

impl fmt::Display for Agreed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Price(price) => write!(formatter, "a tick with price {price}"),
            Self::Gap(cause) => write!(formatter, "a gap with cause {cause}"),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Both<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "recorded {}, recomputed {}", self.recorded, self.recomputed)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(pair) => pair.fmt(formatter),
            Self::Price(pair) => write!(formatter, "price {pair}"),
            Self::Spread(pair) => write!(formatter, "spread {pair}"),
            Self::Cause(pair) => write!(formatter, "cause {pair}"),
            Self::From(pair) => write!(formatter, "from {pair}"),
            Self::Verdict(source, pair) => write!(formatter, "verdict on {source} {pair}"),
            Self::QuotesMissing(cause) => {
                write!(formatter, "the gap has no quotes, but its cause {cause} requires them")
            }
            Self::Quote(source) => {
                write!(formatter, "the price of {source} does not follow from what it reported")
            }
            Self::TimesReversed(source) => {
                write!(formatter, "the quote of {source} has an unchanged_since later than its observed_at")
            }
        }
    }
}

#[cfg(test)]
mod tests;
