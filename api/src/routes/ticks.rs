//! Why a price was what it was.

use std::sync::Arc;

use common::domain::{Body, Judged, Lead, Policy, Record, Sequence};
use poem_openapi::{OpenApi, param::Path, payload::Json};

use super::{State, Tag, as_of::AsOf};
use crate::{
    dto::{
        DerivedText, PairText, PolicyItem, PriceText, QuoteItem, RecordItem, SequenceParameter, SpanText,
        TimeText,
    },
    problem::{Code, Problem},
};

/// Records, explained.
pub struct TicksApi(pub(super) Arc<State>);

#[OpenApi(prefix_path = "/v1", tag = "Tag::Explanation")]
impl TicksApi {
    /// One record, with every source's quote and verdict
    #[oai(path = "/ticks/:sequence", method = "get", operation_id = "getTick")]
    async fn tick(
        &self,
        /// The record's position in the log.
        sequence: Path<SequenceParameter>,
        /// The position in the log to answer as of; the newest, if absent.
        at_sequence: AsOf,
    ) -> Result<Json<RecordItem>, Problem> {
        let snapshot = &at_sequence.snapshot;
        let sequence = Sequence(sequence.0.value()?);
        let unknown = || {
            let newest = snapshot.sequence;
            let detail = format!("there is no record {sequence} here; the newest is {newest}");
            Problem::new(Code::UnknownSequence, detail)
        };
        if sequence > snapshot.sequence {
            return Err(unknown());
        }
        let record = self.0.store.record(sequence)?.ok_or_else(unknown)?;
        let newest = snapshot.pairs.get(&record.pair).map(|view| view.slot.start());
        let age = newest.zip(record.covers_up_to()).map(|(newest, covered)| newest.since(covered));
        if age.is_some_and(|age| age > self.0.retain_ticks) {
            return Err(unknown());
        }
        let expired = age.is_some_and(|age| age > self.0.retain_quotes);
        Ok(Json(explain(sequence, record, expired)))
    }
}

fn explain(sequence: Sequence, record: Record, quotes_expired: bool) -> RecordItem {
    let evidence = record.body.evidence();
    let policy = evidence.map(|evidence| policy(&evidence.policy));
    let quotes =
        evidence.filter(|_| !quotes_expired).map(|evidence| evidence.quotes.iter().map(quote).collect());
    let item = RecordItem {
        sequence: sequence.0,
        kind: "lead".to_owned(),
        pair: PairText(record.pair),
        slot: None,
        from: None,
        covered: None,
        leader: None,
        interval: None,
        epoch: record.epoch.0,
        origin: record.origin.to_string(),
        price: None,
        spread: None,
        cause: None,
        policy,
        quotes,
        quotes_expired,
    };
    match record.body {
        Body::Tick(tick) => RecordItem {
            kind: "tick".to_owned(),
            slot: Some(TimeText(tick.slot.start())),
            interval: Some(SpanText(tick.interval.span())),
            price: Some(PriceText(tick.price)),
            spread: Some(DerivedText(tick.spread.decimal())),
            ..item
        },
        Body::Gap(gap) => RecordItem {
            kind: "gap".to_owned(),
            slot: Some(TimeText(gap.slot.start())),
            from: Some(TimeText(gap.from.start())),
            interval: Some(SpanText(gap.interval.span())),
            cause: Some(gap.cause.to_string()),
            ..item
        },
        Body::Lead(Lead { covered, leader }) => RecordItem {
            covered: covered.map(TimeText),
            leader: leader.map(|leader| leader.to_string()),
            ..item
        },
    }
}

fn policy(policy: &Policy) -> PolicyItem {
    PolicyItem {
        min_sources: policy.min_sources,
        max_deviation: DerivedText(policy.max_deviation.decimal()),
        max_quote_age: SpanText(policy.max_quote_age),
        max_clock_skew: SpanText(policy.max_clock_skew),
        frozen_after: SpanText(policy.frozen_after),
    }
}

fn quote(judged: &Judged) -> QuoteItem {
    let seen = judged.observation;
    QuoteItem {
        source: judged.source.to_string(),
        price: seen.map(|seen| PriceText(seen.price)),
        observed_at: seen.map(|seen| TimeText(seen.observed_at)),
        source_time: seen.and_then(|seen| seen.source_time).map(TimeText),
        unchanged_since: seen.map(|seen| TimeText(seen.unchanged_since)),
        max_quote_age: seen.and_then(|seen| seen.max_age).map(SpanText),
        verdict: judged.verdict.to_string(),
    }
}
