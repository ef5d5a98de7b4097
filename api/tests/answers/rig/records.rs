//! Records, and their bytes in the log.

use common::{
    domain::{
        AgeRule, Body, Epoch, Evidence, Failure, Gap, GapCause, Interval, Judged, Lead, Observation, Origin,
        Policy, PriceRule, Ratio, Record, Slot, Span, Tick, Timestamp, Verdict,
    },
    wire,
};

/// The start of these tests' slots, which is aligned to every interval that they use.
const BASE_MILLIS: i64 = 1_700_000_000_000 - 1_700_000_000_000 % 86_400_000;

/// The time this many seconds after the start of the tests' slots.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(BASE_MILLIS + seconds * 1_000).unwrap()
}

fn interval() -> Interval {
    "10s".parse().unwrap()
}

fn slot(seconds: i64) -> Slot {
    interval().slot(at(seconds)).unwrap()
}

fn policy() -> Policy {
    Policy {
        rules: Policy::RULES,
        price: PriceRule::Mid,
        min_sources: 1,
        max_deviation: "2%".parse().unwrap(),
        max_quote_age: Span::from_seconds(30),
        max_clock_skew: Span::from_seconds(5),
        frozen_after: Span::from_seconds(600),
        aged_at: AgeRule::Arrival,
    }
}

fn record(pair: &str, body: Body) -> Record {
    Record { pair: pair.parse().unwrap(), epoch: Epoch(1), origin: Origin::Live, body }
}

/// The bytes of a tick of one source.
pub(crate) fn tick(pair: &str, seconds: i64, price: &str) -> Vec<u8> {
    wire::encode(&tick_record(pair, seconds, price))
}

pub(crate) fn tick_record(pair: &str, seconds: i64, price: &str) -> Record {
    let price = price.parse().unwrap();
    let observation = Observation::traded(price, at(seconds));
    let judged =
        Judged { source: "kraken".parse().unwrap(), observation: Some(observation), verdict: Verdict::Used };
    let evidence = Evidence { policy: policy(), quotes: vec![judged] };
    let spread = Ratio::distance(price, price, price);
    record(
        pair,
        Body::Tick(Tick {
            slot: slot(seconds),
            interval: interval(),
            price,
            spread,
            backfilled: false,
            evidence,
        }),
    )
}

/// The bytes of a backfilled tick.
pub(crate) fn backfilled(pair: &str, seconds: i64, price: &str) -> Vec<u8> {
    let mut record = tick_record(pair, seconds, price);
    if let Body::Tick(tick) = &mut record.body {
        let interval: Interval = "1m".parse().unwrap();
        (tick.slot, tick.interval, tick.backfilled) = (interval.slot(at(seconds)).unwrap(), interval, true);
        tick.evidence.policy.aged_at = AgeRule::Slot;
    }
    wire::encode(&record)
}

/// The bytes of a gap before a pair's first live slot.
pub(crate) fn not_backfilled(pair: &str, from: i64, to: i64) -> Vec<u8> {
    let (from, slot, cause) = (slot(from), slot(to), GapCause::NotBackfilled);
    let gap = Gap { from, slot, interval: interval(), cause, backfilled: true, evidence: None };
    wire::encode(&record(pair, Body::Gap(gap)))
}

/// The bytes of a gap for which no source was polled.
pub(crate) fn gap(pair: &str, from: i64, to: i64) -> Vec<u8> {
    gap_of(pair, from, to, GapCause::NoLeader, None)
}

/// The bytes of a gap for which this many sources were polled.
pub(crate) fn gap_of(pair: &str, from: i64, to: i64, cause: GapCause, asked: Option<usize>) -> Vec<u8> {
    let (from, slot) = (slot(from), slot(to));
    let failed = |number| Judged {
        source: format!("source_{number}").parse().unwrap(),
        observation: None,
        verdict: Verdict::Failed(Failure::Timeout),
    };
    let evidence = asked.map(|count| Evidence { policy: policy(), quotes: (0..count).map(failed).collect() });
    let gap = Gap { from, slot, interval: interval(), cause, backfilled: false, evidence };
    wire::encode(&record(pair, Body::Gap(gap)))
}

/// The bytes of a lead.
pub(crate) fn lead(pair: &str) -> Vec<u8> {
    wire::encode(&record(pair, Body::Lead(Lead { covered: None, backfilled: false, leader: None })))
}
