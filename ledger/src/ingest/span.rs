//! The spans of a batch, which continue the traces of the slots in it.

use common::{
    bus::Batch,
    domain::Sequence,
    telemetry::{TraceContext, TraceId},
};
use tracing::{Span, field::Empty};

/// How many records a batch links to at most. A pod that catches up stores thousands of records at once, and more links
/// would be of no use.
const MAX_LINKS: usize = 100;

/// The span in which a batch is processed. If all records of the batch are of one slot, the span belongs to the trace
/// of that slot: it is a child of the first record's span, and linked to the others. Otherwise it begins a trace of its
/// own, which is linked to the records.
pub(super) fn of_ingest(batch: &Batch, system: &'static str) -> Span {
    if batch.entries.is_empty() {
        return Span::none();
    }
    let span = tracing::info_span!(
        "ingest",
        otel.kind = "consumer",
        otel.status_code = Empty,
        otel.status_description = Empty,
        messaging.system = system,
        messaging.operation.name = "ingest",
        messaging.operation.type = "process",
        messaging.batch.message_count = batch.entries.len(),
        tickwell.log.pending = batch.pending,
    );
    if span.is_disabled() {
        return span;
    }
    let (parent, links) = causes(batch);
    if let Some(parent) = parent {
        parent.continue_in(&span);
    }
    links.into_iter().for_each(|link| link.link_to(&span));
    span
}

/// The span in which records are written to the store.
pub(super) fn of_commit(records: usize, sequence: Sequence) -> Span {
    tracing::info_span!(
        "commit",
        db.system.name = "sled",
        db.operation.name = "commit",
        tickwell.records = records,
        tickwell.sequence = sequence.0,
    )
}

/// The parent of a batch's span if there is one, and the spans that it is linked to.
fn causes(batch: &Batch) -> (Option<TraceContext>, Vec<TraceContext>) {
    let mut published = batch.entries.iter().filter_map(|entry| entry.trace);
    let Some(first) = published.next() else { return (None, Vec::new()) };
    let others: Vec<TraceContext> = published.collect();
    let is_of_slot = |id: TraceId| others.iter().all(|other| other.trace_id == id);
    let (parent, links) = match is_of_slot(first.trace_id) {
        true => (Some(first), others),
        false => (None, [vec![first], others].concat()),
    };
    (parent, links.into_iter().take(MAX_LINKS).collect())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common::bus::Entry;

    use super::*;

    fn context(trace: u8, span: u8) -> TraceContext {
        TraceContext::parse(&format!("00-{trace:032x}-{span:016x}-01")).unwrap()
    }

    fn causes_of(traces: &[Option<TraceContext>]) -> (Option<TraceContext>, Vec<TraceContext>) {
        let entry = |trace: &Option<TraceContext>| Entry {
            sequence: Sequence(1),
            id: None,
            payload: Bytes::new(),
            trace: *trace,
        };
        let entries = traces.iter().map(entry).collect();
        causes(&Batch { entries, pending: 0, first: Sequence(1) })
    }

    #[test]
    fn a_batch_of_one_slot_is_a_child_and_a_batch_of_several_slots_has_links() {
        let (one, same, other) = (context(1, 1), context(1, 2), context(2, 3));
        assert_eq!(causes_of(&[]), (None, vec![]));
        assert_eq!(causes_of(&[None, None]), (None, vec![]));
        assert_eq!(causes_of(&[Some(one)]), (Some(one), vec![]));
        assert_eq!(causes_of(&[None, Some(one), Some(same)]), (Some(one), vec![same]));
        assert_eq!(causes_of(&[Some(one), Some(same), Some(other)]), (None, vec![one, same, other]));
        assert_eq!(causes_of(&[Some(one); 1_000]).1.len(), MAX_LINKS);
    }
}
