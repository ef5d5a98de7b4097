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
        CauseParameter, GapItem, Gaps, Json, Nullable, PageCursorParameter, PairParameter, SpanText,
        TimeText, TimestampParameter, Word,
    },
    problem::Problem,
};
use ledger::{
    snapshot::Snapshot,
    store::{StoreError, StoredGap},
};

/// The maximum number of gaps that a request with `cause` reads. Reading this many takes about a tenth of a second.
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
    /// New records do not shift the pages, because a cursor is a point in time and not a count. With `cause`, a page
    /// may be short or empty and still have a `next_cursor`. Continue until `next_cursor` is null.
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
        let cause = cause.0.map(|cause| cause.0);
        let (state, snapshot) = (self.0.clone(), at_sequence.snapshot);
        let readers = state.readers.clone();
        readers.read(move || read_page(&state, &snapshot, &page, cause)).await
    }
}

fn read_page(
    state: &State,
    snapshot: &Snapshot,
    page: &PageRequest,
    cause: Option<GapCause>,
) -> Result<GapsResponse, Problem> {
    let Some((from, to)) = page.range(state, view(snapshot, page.pair)?)? else {
        return Ok(GapsResponse::Page(Json(Gaps { items: Vec::new(), next_cursor: Nullable(None) }), None));
    };
    let gaps = state.store.gaps(page.pair, from, to, page.order());
    let (gaps, more) = collect(gaps, cause, page.limit, MAX_READ)?;
    let next_cursor = more.map(|(last, next)| page.cursor_between(last.from.start(), next.from.start()));
    let filter = cause.map_or_else(String::new, |cause| format!("cause={cause}&"));
    let link = next_cursor.as_ref().map(|cursor| page.link("gaps", &filter, cursor));
    let items = gaps.into_iter().map(item).collect();
    Ok(GapsResponse::Page(Json(Gaps { items, next_cursor: Nullable(next_cursor) }), link))
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
        sequence: gap.recorded.map(|(sequence, _)| sequence.0).into(),
        epoch: gap.recorded.map(|(_, epoch)| epoch.0).into(),
        sources: gap.asked.into(),
    }
}

#[cfg(test)]
mod tests;
