//! The JSON format of records. Fields are written in the order in which the structs declare them.

mod canonical;

pub(super) use canonical::read_tick;
use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::value::RawValue;

use crate::{
    domain::{
        AgeRule, Basis, Body, Epoch, Evidence, Gap, GapCause, Interval, Judged, Lead, LeaderId, Observation,
        Origin, Pair, Policy, Price, PriceRule, Ratio, Record, Reported, Slot, SourceName, Span, Tick,
        Timestamp, Verdict,
    },
    object::Object,
    text,
};

/// What is read of a record first, because it says how to read the rest.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    pub(super) version: u32,
    /// Not parsed yet, because another version may have other kinds.
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Tick,
    Gap,
    Lead,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum BodyFormat {
    Tick(TickFormat),
    Gap(GapFormat),
    Lead(LeadFormat),
}

#[derive(Serialize)]
pub(super) struct RecordFormat {
    version: u32,
    #[serde(flatten)]
    body: BodyFormat,
}

#[derive(Serialize, Deserialize)]
struct TickFormat {
    #[serde(with = "text")]
    pair: Pair,
    #[serde(with = "text")]
    slot: Timestamp,
    #[serde(with = "text")]
    interval: Interval,
    epoch: u64,
    #[serde(with = "text")]
    origin: Origin,
    #[serde(with = "text")]
    price: Price,
    #[serde(with = "text")]
    spread: Ratio,
    #[serde(default, skip_serializing_if = "is_false")]
    backfilled: bool,
    policy: Object<PolicyFormat>,
    quotes: Vec<QuoteFormat>,
}

#[derive(Serialize, Deserialize)]
struct GapFormat {
    #[serde(with = "text")]
    pair: Pair,
    #[serde(with = "text")]
    slot: Timestamp,
    #[serde(with = "text")]
    from: Timestamp,
    #[serde(with = "text")]
    cause: GapCause,
    #[serde(default, skip_serializing_if = "is_false")]
    backfilled: bool,
    #[serde(with = "text")]
    interval: Interval,
    epoch: u64,
    #[serde(with = "text")]
    origin: Origin,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<Object<PolicyFormat>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quotes: Option<Vec<QuoteFormat>>,
}

#[derive(Serialize, Deserialize)]
struct LeadFormat {
    #[serde(with = "text")]
    pair: Pair,
    #[serde(default, with = "text::option")]
    covered: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "is_false")]
    backfilled: bool,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    leader: Option<LeaderId>,
    epoch: u64,
    #[serde(with = "text")]
    origin: Origin,
}

#[derive(Serialize, Deserialize)]
struct PolicyFormat {
    rules: u32,
    #[serde(with = "text")]
    price: PriceRule,
    min_sources: u32,
    #[serde(with = "text")]
    max_deviation: Ratio,
    #[serde(with = "text")]
    max_quote_age: Span,
    #[serde(with = "text")]
    max_clock_skew: Span,
    #[serde(with = "text")]
    frozen_after: Span,
    /// Left out if it is the rule for current prices.
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    aged_at: Option<AgeRule>,
}

/// A quote or, if the source has failed, only the source and the verdict.
#[derive(Serialize, Deserialize)]
struct QuoteFormat {
    #[serde(with = "text")]
    source: SourceName,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    basis: Option<Basis>,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    last: Option<Price>,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    bid: Option<Price>,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    ask: Option<Price>,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    observed_at: Option<Timestamp>,
    /// The inner `None` is `null`: the source gave no time.
    #[serde(default, with = "text::nullable", skip_serializing_if = "Option::is_none")]
    source_time: Option<Option<Timestamp>>,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    unchanged_since: Option<Timestamp>,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    max_quote_age: Option<Span>,
    #[serde(with = "text")]
    verdict: Verdict,
}

impl From<&Record> for RecordFormat {
    fn from(record: &Record) -> Self {
        let (pair, epoch, origin) = (record.pair, record.epoch.0, record.origin);
        let body = match &record.body {
            Body::Tick(tick) => {
                let (policy, quotes) = write_evidence(&tick.evidence);
                BodyFormat::Tick(TickFormat {
                    pair,
                    slot: tick.slot.start(),
                    interval: tick.interval,
                    epoch,
                    origin,
                    price: tick.price,
                    spread: tick.spread,
                    backfilled: tick.backfilled,
                    policy,
                    quotes,
                })
            }
            Body::Gap(gap) => {
                let (policy, quotes) = gap.evidence.as_ref().map(write_evidence).unzip();
                BodyFormat::Gap(GapFormat {
                    pair,
                    slot: gap.slot.start(),
                    from: gap.from.start(),
                    cause: gap.cause,
                    backfilled: gap.backfilled,
                    interval: gap.interval,
                    epoch,
                    origin,
                    policy,
                    quotes,
                })
            }
            Body::Lead(Lead { covered, backfilled, leader }) => {
                let (covered, backfilled, leader) = (*covered, *backfilled, *leader);
                BodyFormat::Lead(LeadFormat { pair, covered, backfilled, leader, epoch, origin })
            }
        };
        Self { version: super::VERSION, body }
    }
}

impl Head<'_> {
    /// Reads the record that this head belongs to. `bytes` is the whole record.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Record, serde_json::Error> {
        let kind = self.kind.ok_or_else(|| serde_json::Error::missing_field("kind"))?;
        match serde_json::from_str(kind.get())? {
            Kind::Tick => read::<TickFormat>(bytes),
            Kind::Gap => read::<GapFormat>(bytes),
            Kind::Lead => read::<LeadFormat>(bytes),
        }
    }
}

fn read<'a, F>(bytes: &'a [u8]) -> Result<Record, serde_json::Error>
where
    F: Deserialize<'a>,
    Record: TryFrom<F, Error = String>,
{
    let Object(format): Object<F> = serde_json::from_slice(bytes)?;
    Record::try_from(format).map_err(serde_json::Error::custom)
}

impl TryFrom<TickFormat> for Record {
    type Error = String;

    fn try_from(tick: TickFormat) -> Result<Self, Self::Error> {
        Ok(Self {
            pair: tick.pair,
            epoch: Epoch(tick.epoch),
            origin: tick.origin,
            body: Body::Tick(Tick {
                slot: on_grid(tick.interval, tick.slot)?,
                interval: tick.interval,
                price: tick.price,
                spread: tick.spread,
                backfilled: tick.backfilled,
                evidence: read_evidence(tick.policy, tick.quotes)?,
            }),
        })
    }
}

impl TryFrom<GapFormat> for Record {
    type Error = String;

    fn try_from(gap: GapFormat) -> Result<Self, Self::Error> {
        let (from, slot) = (on_grid(gap.interval, gap.from)?, on_grid(gap.interval, gap.slot)?);
        if from > slot {
            return Err(format!("the gap ends at {slot}, before it starts at {from}"));
        }
        if !gap.cause.is_of_log() {
            return Err(format!("a gap in the log cannot have the cause {}", gap.cause));
        }
        let evidence = match (gap.policy, gap.quotes) {
            (Some(policy), Some(quotes)) => Some(read_evidence(policy, quotes)?),
            (None, None) => None,
            (Some(_), None) => return Err("the gap has a policy but no quotes".to_owned()),
            (None, Some(_)) => return Err("the gap has quotes but no policy".to_owned()),
        };
        Ok(Self {
            pair: gap.pair,
            epoch: Epoch(gap.epoch),
            origin: gap.origin,
            body: Body::Gap(Gap {
                from,
                slot,
                interval: gap.interval,
                cause: gap.cause,
                backfilled: gap.backfilled,
                evidence,
            }),
        })
    }
}

impl TryFrom<LeadFormat> for Record {
    type Error = String;

    fn try_from(lead: LeadFormat) -> Result<Self, Self::Error> {
        Ok(Self {
            pair: lead.pair,
            epoch: Epoch(lead.epoch),
            origin: lead.origin,
            body: Body::Lead(Lead {
                covered: lead.covered,
                backfilled: lead.backfilled,
                leader: lead.leader,
            }),
        })
    }
}

fn write_evidence(evidence: &Evidence) -> (Object<PolicyFormat>, Vec<QuoteFormat>) {
    let Policy {
        rules,
        price,
        min_sources,
        max_deviation,
        max_quote_age,
        max_clock_skew,
        frozen_after,
        aged_at,
    } = evidence.policy;
    let policy = PolicyFormat {
        rules,
        price,
        min_sources,
        max_deviation,
        max_quote_age,
        max_clock_skew,
        frozen_after,
        aged_at: (aged_at != AgeRule::Arrival).then_some(aged_at),
    };
    let quotes = evidence.quotes.iter().map(QuoteFormat::from);
    (Object(policy), quotes.collect())
}

fn read_evidence(Object(policy): Object<PolicyFormat>, quotes: Vec<QuoteFormat>) -> Result<Evidence, String> {
    let PolicyFormat {
        rules,
        price,
        min_sources,
        max_deviation,
        max_quote_age,
        max_clock_skew,
        frozen_after,
        aged_at,
    } = policy;
    let policy = Policy {
        rules,
        price,
        min_sources,
        max_deviation,
        max_quote_age,
        max_clock_skew,
        frozen_after,
        aged_at: aged_at.unwrap_or(AgeRule::Arrival),
    };
    if min_sources == 0 {
        return Err("min_sources: must be at least 1".to_owned());
    }
    if quotes.len() > super::MAX_QUOTES {
        return Err(format!(
            "there are {} quotes, which is more than the limit of {}",
            quotes.len(),
            super::MAX_QUOTES
        ));
    }
    let mut judged: Vec<Judged> = Vec::with_capacity(quotes.len());
    for quote in quotes {
        // There are few quotes, so this takes less time than a set.
        if judged.iter().any(|other| other.source == quote.source) {
            return Err(format!("{}: there are two quotes from this source", quote.source));
        }
        judged.push(Judged::try_from(quote)?);
    }
    Ok(Evidence { policy, quotes: judged })
}

impl From<&Judged> for QuoteFormat {
    fn from(judged: &Judged) -> Self {
        let observed = judged.observation.as_ref();
        let reported = observed.map(|observed| observed.reported);
        Self {
            source: judged.source,
            price: observed.map(|observed| observed.price),
            basis: observed.map(|observed| observed.basis),
            last: reported.and_then(|reported| reported.last),
            bid: reported.and_then(|reported| reported.bid),
            ask: reported.and_then(|reported| reported.ask),
            observed_at: observed.map(|observed| observed.observed_at),
            source_time: observed.map(|observed| observed.source_time),
            unchanged_since: observed.map(|observed| observed.unchanged_since),
            max_quote_age: observed.and_then(|observed| observed.max_age),
            verdict: judged.verdict,
        }
    }
}

impl TryFrom<QuoteFormat> for Judged {
    type Error = String;

    fn try_from(quote: QuoteFormat) -> Result<Self, Self::Error> {
        let QuoteFormat { source, verdict, .. } = quote;
        let observation = quote.observation();
        if matches!(verdict, Verdict::Failed(_)) == observation.is_some() {
            return Err(format!("{source}: the verdict `{verdict}` does not match the fields of the quote"));
        }
        Ok(Self { source, observation, verdict })
    }
}

impl QuoteFormat {
    /// What the source reported, if the quote has all the fields for it.
    fn observation(&self) -> Option<Observation> {
        Some(Observation {
            price: self.price?,
            basis: self.basis?,
            reported: Reported { last: self.last, bid: self.bid, ask: self.ask },
            observed_at: self.observed_at?,
            source_time: self.source_time?,
            unchanged_since: self.unchanged_since?,
            max_age: self.max_quote_age,
        })
    }
}

fn on_grid(interval: Interval, instant: Timestamp) -> Result<Slot, String> {
    interval.slot(instant).ok_or_else(|| format!("{instant} is not a slot of interval {interval}"))
}

fn is_false(flag: &bool) -> bool {
    !flag
}
