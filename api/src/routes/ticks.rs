//! `/v1/ticks/{sequence}`: one record of the log with everything in it.

use std::sync::Arc;

use common::domain::{
    AgeRule, Body, Epoch, Judged, Lead, Origin, Pair, Policy, Record, Sequence, Slot, Timestamp,
};
use poem_openapi::{OpenApi, param::Path};

use super::{State, Tag, as_of::AsOf, price_item::origin};
use crate::{
    dto::{
        DerivedText, Json, Nullable, PairText, PolicyItem, PriceText, QuoteItem, RecordItem, RecordKind,
        SequenceParameter, SpanText, TimeText, Word,
    },
    problem::{Code, Problem},
};
use ledger::{snapshot::Snapshot, store::TickOrGap};

/// The handler of single records.
pub struct TicksApi(pub(super) Arc<State>);

#[OpenApi(prefix_path = "/v1", tag = "Tag::Explanation")]
impl TicksApi {
    /// Get one record with the quote and verdict of every source
    ///
    /// The price can be recomputed from the quotes and the policy. Quotes are kept for a shorter time than prices;
    /// after that, `quotes_expired` is true.
    #[oai(path = "/ticks/:sequence", method = "get", operation_id = "getTick")]
    async fn tick(
        &self,
        /// The record's position in the log.
        sequence: Path<SequenceParameter>,
        /// Use the log as it was at this position. Default: the newest position.
        at_sequence: AsOf,
    ) -> Result<Json<RecordItem>, Problem> {
        let sequence = Sequence(sequence.0.value()?);
        let (state, snapshot) = (self.0.clone(), at_sequence.snapshot);
        let workers = state.workers.clone();
        workers.read(move || read(&state, &snapshot, sequence)).await.map(Json::of)
    }
}

fn read(state: &State, snapshot: &Snapshot, sequence: Sequence) -> Result<RecordItem, Problem> {
    let unknown = || {
        let newest = snapshot.sequence;
        let detail = format!("this pod has no record {sequence}; the newest is {newest}");
        Problem::new(Code::UnknownSequence, detail).naming("sequence")
    };
    if sequence > snapshot.sequence {
        return Err(unknown());
    }
    let is_past = |limit, newest: Option<Slot>, covered: Option<Timestamp>| {
        let age = newest.zip(covered).map(|(newest, covered)| newest.start().since(covered));
        age.is_some_and(|age| age > limit)
    };
    let record = state.store.record(sequence)?;
    let whole = record.as_ref().filter(|record| {
        // Once the quotes have expired they are not returned, even if they are still on disk, so that all pods return
        // the same response.
        matches!(record.body, Body::Lead(_))
            || !is_past(state.retain_quotes, snapshot.reached(), record.covers_up_to())
    });
    let (pair, covered, item) = match (whole, &record) {
        (Some(record), _) => (record.pair, record.covers_up_to(), explain(sequence, record)),
        (None, Some(record)) => expired(&TickOrGap::of(sequence, record).ok_or_else(unknown)?, snapshot),
        (None, None) => expired(&state.store.tick_or_gap(sequence)?.ok_or_else(unknown)?, snapshot),
    };
    let newest = snapshot.pairs.get(&pair).map(|view| view.slot);
    if is_past(state.retain_ticks, newest, covered) { Err(unknown()) } else { Ok(item) }
}

/// A whole record.
fn explain(sequence: Sequence, record: &Record) -> RecordItem {
    let evidence = record.body.evidence();
    let item = RecordItem {
        epoch: record.epoch.0,
        policy: evidence.map(|evidence| policy(&evidence.policy)),
        quotes: evidence.map(|evidence| evidence.quotes.iter().map(quote).collect()).into(),
        ..bare(sequence, record.pair, Word(record.origin))
    };
    match &record.body {
        Body::Tick(tick) => RecordItem {
            kind: Word(RecordKind::Tick),
            slot: Some(TimeText(tick.slot.start())),
            interval: Some(SpanText(tick.interval.span())),
            price: Some(PriceText(tick.price)),
            spread: Some(DerivedText(tick.spread.decimal())),
            backfilled: tick.backfilled.then_some(true),
            ..item
        },
        Body::Gap(gap) => RecordItem {
            kind: Word(RecordKind::Gap),
            slot: Some(TimeText(gap.slot.start())),
            from: Some(TimeText(gap.from.start())),
            interval: Some(SpanText(gap.interval.span())),
            cause: Some(Word(gap.cause)),
            backfilled: gap.backfilled.then_some(true),
            ..item
        },
        Body::Lead(Lead { covered, backfilled, leader }) => RecordItem {
            backfilled: backfilled.then_some(true),
            covered: covered.map(TimeText),
            leader: leader.map(|leader| leader.to_string()),
            ..item
        },
    }
}

/// Describes a record whose quotes have expired. Returns its pair, its last slot, and the description.
fn expired(tick_or_gap: &TickOrGap, snapshot: &Snapshot) -> (Pair, Option<Timestamp>, RecordItem) {
    let origin = origin(snapshot);
    match tick_or_gap {
        TickOrGap::Tick(pair, tick) => {
            let item = RecordItem {
                kind: Word(RecordKind::Tick),
                epoch: tick.epoch.0,
                slot: Some(TimeText(tick.slot.start())),
                interval: Some(SpanText(tick.interval.span())),
                price: Some(PriceText(tick.price)),
                backfilled: tick.backfilled.then_some(true),
                quotes_expired: true,
                ..bare(tick.sequence, *pair, origin)
            };
            (*pair, Some(tick.slot.start()), item)
        }
        TickOrGap::Gap(pair, gap) => {
            let (sequence, epoch) = gap.recorded.unwrap_or((Sequence::default(), Epoch(0)));
            let item = RecordItem {
                kind: Word(RecordKind::Gap),
                epoch: epoch.0,
                slot: Some(TimeText(gap.slot.start())),
                from: Some(TimeText(gap.from.start())),
                interval: Some(SpanText(gap.interval.span())),
                cause: Some(Word(gap.cause)),
                backfilled: gap.backfilled.then_some(true),
                quotes_expired: gap.asked.is_some(),
                ..bare(sequence, *pair, origin)
            };
            (*pair, Some(gap.slot.start()), item)
        }
    }
}

/// A record with only the members that every record has. Its kind is `lead` until the caller changes it.
fn bare(sequence: Sequence, pair: Pair, origin: Word<Origin>) -> RecordItem {
    RecordItem {
        sequence: sequence.0,
        kind: Word(RecordKind::Lead),
        pair: PairText(pair),
        slot: None,
        from: None,
        covered: None,
        leader: None,
        interval: None,
        epoch: 0,
        origin,
        price: None,
        spread: None,
        backfilled: None,
        cause: None,
        policy: None,
        quotes: Nullable(None),
        quotes_expired: false,
    }
}

fn policy(policy: &Policy) -> PolicyItem {
    PolicyItem {
        rules: policy.rules,
        price: Word(policy.price),
        min_sources: policy.min_sources,
        max_deviation: DerivedText(policy.max_deviation.decimal()),
        max_quote_age: SpanText(policy.max_quote_age),
        max_clock_skew: SpanText(policy.max_clock_skew),
        frozen_after: SpanText(policy.frozen_after),
        aged_at: (policy.aged_at != AgeRule::Arrival).then(|| policy.aged_at.to_string()),
    }
}

fn quote(judged: &Judged) -> QuoteItem {
    let seen = judged.observation;
    QuoteItem {
        source: judged.source.to_string(),
        price: seen.map(|seen| PriceText(seen.price)).into(),
        basis: seen.map(|seen| Word(seen.basis)).into(),
        last: seen.and_then(|seen| seen.reported.last).map(PriceText).into(),
        bid: seen.and_then(|seen| seen.reported.bid).map(PriceText).into(),
        ask: seen.and_then(|seen| seen.reported.ask).map(PriceText).into(),
        observed_at: seen.map(|seen| TimeText(seen.observed_at)).into(),
        source_time: seen.and_then(|seen| seen.source_time).map(TimeText).into(),
        unchanged_since: seen.map(|seen| TimeText(seen.unchanged_since)).into(),
        max_quote_age: seen.and_then(|seen| seen.max_age).map(SpanText),
        verdict: Word(judged.verdict),
    }
}
