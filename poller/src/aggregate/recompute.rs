//! A stored record's quotes and policy through the aggregator again.
//!
//! What sources said is taken from the record as it stands: their prices and times, how they failed, and
//! that a source is a shadow, which only its verdict says. Everything that follows from it is worked out
//! again and must be the same: price and spread or the gap's cause, to the digit, and every other verdict.

use std::fmt;

use common::domain::{
    Body, Evidence, Failure, GapCause, Interval, Judged, Price, Quote, Ratio, Record, Slot, SourceName,
    Verdict,
};

use super::aggregate;

/// What recomputing a record came to, where nothing differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as recorded.
    Agrees,
    /// It has no quotes: a lead, or a gap that nobody was asked about.
    NothingToRecompute,
}

/// What was agreed in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreed {
    /// A price.
    Price(Price),
    /// None, and why.
    Gap(GapCause),
}

/// One thing in a record that does not follow from its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// A tick that should be a gap, or the reverse.
    Kind(Both<Agreed>),
    /// Another price, or the same with other digits.
    Price(Both<Price>),
    /// Another spread.
    Spread(Both<Ratio>),
    /// Another cause.
    Cause(Both<GapCause>),
    /// A gap of many slots with the quotes of one: another first slot.
    From(Both<Slot>),
    /// Another verdict.
    Verdict(SourceName, Both<Verdict>),
    /// A gap whose cause only quotes can show, without any.
    QuotesMissing(GapCause),
    /// A quote that is unchanged since later than it was observed.
    TimesReversed(SourceName),
}

/// What stands in the record, and what should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Both<T> {
    /// As it stands in the record.
    pub recorded: T,
    /// As it comes out of the aggregator.
    pub recomputed: T,
}

/// Recomputes a record. An error names everything that differs, and is never empty.
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
    let mut differences = compare(&record.body, &again(evidence, slot, interval));
    differences.extend(evidence.quotes.iter().filter_map(reversed));
    if differences.is_empty() { Ok(Outcome::Agrees) } else { Err(differences) }
}

fn comes_from_quotes(cause: GapCause) -> bool {
    match cause {
        GapCause::TooFewSources | GapCause::Disagreement => true,
        GapCause::NoLeader
        | GapCause::Missed
        | GapCause::LogLost
        | GapCause::Retention
        | GapCause::Unreadable => false,
    }
}

/// No verdict follows from it, so that comparing them would not notice.
fn reversed(judged: &Judged) -> Option<Difference> {
    let observation = judged.observation?;
    let is_reversed = observation.unchanged_since > observation.observed_at;
    is_reversed.then_some(Difference::TimesReversed(judged.source))
}

fn again(evidence: &Evidence, slot: Slot, interval: Interval) -> Body {
    let quotes: Vec<Quote> = evidence.quotes.iter().map(quote).collect();
    aggregate(&quotes, &evidence.policy, slot, interval)
}

/// What the aggregator was given. Whether a source that failed is a shadow makes no difference to it.
fn quote(judged: &Judged) -> Quote {
    let failure = match judged.verdict {
        Verdict::Failed(failure) => failure,
        // The codec lets no such record through; whatever stands here, the verdict will differ.
        _ => Failure::Missing,
    };
    Quote {
        source: judged.source,
        shadow: judged.verdict == Verdict::Shadow,
        answer: judged.observation.ok_or(failure),
    }
}

fn compare(recorded: &Body, recomputed: &Body) -> Vec<Difference> {
    let mut differences = Vec::new();
    match (recorded, recomputed) {
        (Body::Tick(recorded), Body::Tick(recomputed)) => {
            // Prices are equal by value; here their digits count.
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
            Self::Price(price) => write!(formatter, "a tick at {price}"),
            Self::Gap(cause) => write!(formatter, "a gap, {cause}"),
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
                write!(formatter, "the cause {cause} comes from quotes, and it has none")
            }
            Self::TimesReversed(source) => {
                write!(formatter, "{source} is unchanged since later than it was observed")
            }
        }
    }
}

#[cfg(test)]
mod tests;
