//! `/v1/prices/{pair}/gaps`: the slots without a price, and why they have none.

use std::sync::Arc;

use common::domain::GapCause;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Path, Query},
};

use super::{
    State, Tag,
    as_of::AsOf,
    paging::{LimitParameter, OrderParameter, PageRequest, Parameters},
    view,
};
use crate::{
    dto::{
        CauseParameter, FlagParameter, GapCauseItem, GapItem, Gaps, Json, Nullable, PageCursorParameter,
        PairParameter, SpanText, TimeText, TimestampParameter, Word,
    },
    problem::Problem,
};
use ledger::{
    merged_gaps::{self, Limits, MergedGap},
    snapshot::Snapshot,
    store::{StoreError, StoredGap},
};

/// The maximum number of gaps that a request with `cause` or `merge` reads. Reading this many takes about a tenth of a second.
const MAX_READ: usize = 100_000;

/// The handler of gaps.
pub struct GapsApi(pub(super) Arc<State>);

#[derive(ApiResponse)]
enum GapsResponse {
    /// A page of gaps
    #[oai(status = 200)]
    Page(
        Json<Gaps>,
        /// A link to the next page, as `<…>; rel="next"`. Absent on the last page.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::History")]
impl GapsApi {
    /// List the gaps of a pair in a time range
    ///
    /// Returns the gaps that have a slot in `[from, to)`.
    ///
    /// Every slot of history either has a tick or belongs to a gap. An item is one whole record of the log, even if it
    /// begins before `from` or ends after `to`. One outage can produce several items. The quotes and verdicts behind a
    /// gap are at `/v1/ticks/{sequence}`.
    ///
    /// With `merge=true`, gap records that follow each other without a tick between them are one item, with all their
    /// causes. Only records that have a slot in `[from, to)` are merged. Like an open candle, the newest item may grow.
    /// If more than 100,000 records follow each other, they are several items.
    ///
    /// New records do not shift the pages, because a cursor is a point in time and not a count. With `cause` or `merge`,
    /// a page may be short or empty and still have a `next_cursor`. Continue until `next_cursor` is null.
    #[oai(path = "/prices/:pair/gaps", method = "get", operation_id = "getGaps")]
    #[expect(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn gaps(
        &self,
        /// The pair.
        pair: Path<PairParameter>,
        /// The start of the range. Default: the beginning of history.
        from: Query<Option<TimestampParameter>>,
        /// The end of the range, which is not included. Default: no end.
        to: Query<Option<TimestampParameter>>,
        /// Return only gaps with this cause. Default: any cause.
        cause: Query<Option<CauseParameter>>,
        /// Return consecutive gaps as one item. Cannot be combined with `cause`. Default: `false`.
        merge: Query<Option<FlagParameter>>,
        /// The order of the items. Default: newest first (`desc`).
        order: Query<Option<OrderParameter>>,
        /// The number of gaps on a page.
        limit: Query<Option<LimitParameter>>,
        /// The `next_cursor` of the previous page.
        cursor: Query<Option<PageCursorParameter>>,
        /// Use the log as it was at this position. Default: the newest position.
        at_sequence: AsOf,
    ) -> Result<GapsResponse, Problem> {
        let pair = pair.0.value()?;
        let parameters = Parameters { from, to, order, limit, cursor, at_sequence: at_sequence.sequence };
        let page = parameters.check(pair)?;
        at_sequence.lifetime.close_if(page.is_closed(&self.0, &at_sequence.snapshot, |to| to));
        let records = match (merge.0.map(|merge| merge.0), cause.0) {
            (Some(true), Some(_)) => {
                let detail =
                    "merged gaps can have several causes, so merge=true cannot be combined with cause";
                return Err(Problem::parameter("merge", detail));
            }
            (Some(true), None) => Records::Merged,
            (_, cause) => Records::Single(cause.map(|cause| cause.0)),
        };
        let (state, snapshot) = (self.0.clone(), at_sequence.snapshot);
        let workers = state.workers.clone();
        let is_long = page.is_long() || !matches!(records, Records::Single(None));
        let work = move || read_page(&state, &snapshot, &page, records);
        workers.read_or_compute(is_long, work).await
    }
}

/// Which gap records become an item.
#[derive(Clone, Copy)]
enum Records {
    /// Each record, or each with this cause.
    Single(Option<GapCause>),
    /// All records that follow each other.
    Merged,
}

fn read_page(
    state: &State,
    snapshot: &Snapshot,
    page: &PageRequest,
    records: Records,
) -> Result<GapsResponse, Problem> {
    let Some(range) = page.range(state, view(snapshot, page.pair)?)? else {
        return Ok(GapsResponse::Page(
            Json::of(Gaps { items: Vec::new(), next_cursor: Nullable(None) }),
            None,
        ));
    };
    let (items, next, query) = match records {
        Records::Single(cause) => {
            let gaps = state.store.gaps(page.pair, range.0, range.1, page.order());
            let (gaps, next) = collect(gaps, cause, page.limit, MAX_READ)?;
            let next = next.map(|(last, next)| (last.from.start(), next.from.start()));
            let query = cause.map_or_else(String::new, |cause| format!("cause={cause}&"));
            (gaps.into_iter().map(item).collect(), next, query)
        }
        Records::Merged => {
            let limits = Limits { items: page.limit, gaps: MAX_READ };
            let merged = merged_gaps::page(&state.store, page.pair, range, page.order(), limits)?;
            (merged.items.iter().map(merged_item).collect(), merged.next, "merge=true&".to_owned())
        }
    };
    let next_cursor = next.map(|(last, next)| page.cursor_between(last, next));
    let link = next_cursor.as_ref().map(|cursor| page.link("gaps", &query, cursor));
    Ok(GapsResponse::Page(Json::of(Gaps { items, next_cursor: Nullable(next_cursor) }), link))
}

/// The gaps of a page. If there is a next page, also the last gap that was read, and the gap that follows it.
type Found = (Vec<StoredGap>, Option<(StoredGap, StoredGap)>);

/// Collects up to `limit` gaps of a cause from at most `max_read` gaps. The result depends only on the log and the
/// request, so it is the same on every pod.
fn collect(
    gaps: impl Iterator<Item = Result<StoredGap, StoreError>>,
    cause: Option<GapCause>,
    limit: usize,
    max_read: usize,
) -> Result<Found, StoreError> {
    let (mut found, mut seen, mut last) = (Vec::new(), 0, None);
    for gap in gaps {
        let gap = gap?;
        let fits = cause.is_none_or(|cause| cause == gap.cause);
        // A full page has a cursor only if another matching gap follows, so that no empty page comes after it.
        if seen == max_read || (fits && found.len() == limit) {
            return Ok((found, last.map(|last| (last, gap))));
        }
        if fits {
            found.push(gap);
        }
        (seen, last) = (seen + 1, Some(gap));
    }
    Ok((found, None))
}

pub(super) fn item(gap: StoredGap) -> GapItem {
    GapItem {
        from: TimeText(gap.from.start()),
        to: TimeText(gap.slot.start()),
        slots: gap.slots(),
        interval: SpanText(gap.interval.span()),
        cause: Word(gap.cause),
        backfilled: gap.backfilled,
        sequence: gap.recorded.map(|(sequence, _)| sequence.0).into(),
        epoch: gap.recorded.map(|(_, epoch)| epoch.0).into(),
        sources: gap.asked.into(),
        records: None,
        causes: None,
    }
}

fn merged_item(gap: &MergedGap) -> GapItem {
    let causes = gap.causes().into_iter();
    let causes = causes.map(|(cause, slots)| GapCauseItem { cause: Word(cause), slots });
    GapItem {
        to: TimeText(gap.last.slot.start()),
        slots: gap.slots(),
        records: Some(gap.count),
        causes: Some(causes.collect()),
        ..item(gap.first)
    }
}

#[cfg(test)]
mod tests;
