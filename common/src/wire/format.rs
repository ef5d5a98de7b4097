//! The JSON format of records. Fields are written in the order in which the structs declare them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        AgeRule, Basis, Body, Epoch, Evidence, Gap, GapCause, Interval, Judged, Lead, LeaderId, Observation,
        Origin, Pair, Policy, Price, PriceRule, Ratio, Record, Reported, Slot, SourceName, Span, Tick,
        Timestamp, Verdict,
    },
    object::Object,
    text,
};

#[derive(Deserialize)]
pub(super) struct VersionFormat {
    pub(super) version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Kind {
    Tick(TickFormat),
    Gap(GapFormat),
    Lead(LeadFormat),
}

#[derive(Serialize, Deserialize)]
pub(super) struct RecordFormat {
    version: u32,
    #[serde(flatten)]
    kind: Kind,
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

#[derive(Serialize, Deserialize)]
struct QuoteFormat {
    #[serde(with = "text")]
    source: SourceName,
    #[serde(flatten)]
    observation: Option<ObservationFormat>,
    #[serde(with = "text")]
    verdict: Verdict,
}

#[derive(Serialize, Deserialize)]
struct ObservationFormat {
    #[serde(with = "text")]
    price: Price,
    #[serde(with = "text")]
    basis: Basis,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    last: Option<Price>,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    bid: Option<Price>,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    ask: Option<Price>,
    #[serde(with = "text")]
    observed_at: Timestamp,
    #[serde(with = "text::option")]
    source_time: Option<Timestamp>,
    #[serde(with = "text")]
    unchanged_since: Timestamp,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    max_quote_age: Option<Span>,
}

impl From<&Record> for RecordFormat {
    fn from(record: &Record) -> Self {
        let (pair, epoch, origin) = (record.pair, record.epoch.0, record.origin);
        let kind = match &record.body {
            Body::Tick(tick) => {
                let (policy, quotes) = write_evidence(&tick.evidence);
                Kind::Tick(TickFormat {
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
                Kind::Gap(GapFormat {
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
                Kind::Lead(LeadFormat { pair, covered, backfilled, leader, epoch, origin })
            }
        };
        Self { version: super::VERSION, kind }
    }
}

impl TryFrom<RecordFormat> for Record {
    type Error = String;

    fn try_from(format: RecordFormat) -> Result<Self, Self::Error> {
        Ok(match format.kind {
            Kind::Tick(tick) => Self {
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
            },
            Kind::Gap(gap) => {
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
                Self {
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
                }
            }
            Kind::Lead(lead) => Self {
                pair: lead.pair,
                epoch: Epoch(lead.epoch),
                origin: lead.origin,
                body: Body::Lead(Lead {
                    covered: lead.covered,
                    backfilled: lead.backfilled,
                    leader: lead.leader,
                }),
            },
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
    let quotes = evidence.quotes.iter().map(|judged| QuoteFormat {
        source: judged.source,
        observation: judged.observation.map(
            |Observation { price, basis, reported, observed_at, source_time, unchanged_since, max_age }| {
                let Reported { last, bid, ask } = reported;
                ObservationFormat {
                    price,
                    basis,
                    last,
                    bid,
                    ask,
                    observed_at,
                    source_time,
                    unchanged_since,
                    max_quote_age: max_age,
                }
            },
        ),
        verdict: judged.verdict,
    });
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
    let mut sources = BTreeSet::new();
    let quotes = quotes.into_iter().map(|quote| {
        if !sources.insert(quote.source) {
            return Err(format!("{}: there are two quotes from this source", quote.source));
        }
        let failed = matches!(quote.verdict, Verdict::Failed(_));
        if failed == quote.observation.is_some() {
            return Err(format!(
                "{}: the verdict `{}` does not match the fields of the quote",
                quote.source, quote.verdict
            ));
        }
        let observation = quote.observation.map(
            |ObservationFormat {
                 price,
                 basis,
                 last,
                 bid,
                 ask,
                 observed_at,
                 source_time,
                 unchanged_since,
                 max_quote_age,
             }| {
                let reported = Reported { last, bid, ask };
                let max_age = max_quote_age;
                Observation { price, basis, reported, observed_at, source_time, unchanged_since, max_age }
            },
        );
        Ok(Judged { source: quote.source, observation, verdict: quote.verdict })
    });
    Ok(Evidence { policy, quotes: quotes.collect::<Result<_, _>>()? })
}

fn on_grid(interval: Interval, instant: Timestamp) -> Result<Slot, String> {
    interval.slot(instant).ok_or_else(|| format!("{instant} is not a slot of interval {interval}"))
}

fn is_false(flag: &bool) -> bool {
    !flag
}
