//! Slots without a price, and why, page by page.

use std::sync::Arc;

use common::domain::GapCause;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use super::{
    State, Tag,
    as_of::AsOf,
    paging::{Asked, OrderParameter, Parameters},
    view,
};
use crate::{
    dto::{CauseParameter, GapItem, Gaps, PairParameter, SpanText, TimeText, TimestampParameter},
    problem::Problem,
};
use ledger::{
    snapshot::Snapshot,
    store::{StoreError, StoredGap},
};

/// Gaps that one request looks at, where only those of one cause are asked for: about a tenth of a second.
const MAX_LOOKED_AT: usize = 100_000;

/// Gaps.
pub struct GapsApi(pub(super) Arc<State>);

#[derive(ApiResponse)]
enum GapsResponse {
    /// A page of gaps
    #[oai(status = 200)]
    Page(
        Json<Gaps>,
        /// The next page, as `<…>; rel="next"`; absent on the last.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::History")]
impl GapsApi {
    /// Gaps of a pair in a range of time
    ///
    /// Those that have a slot in `[from, to)`.
    ///
    /// Where history has no tick there is a gap, and every slot is in one or the other. An item is one
    /// record of the log and is given whole, also where it begins before `from` or ends after `to`; what one
    /// outage left may be several items. What each source said is at `/v1/ticks/{sequence}`.
    ///
    /// Pages stay stable while records arrive: a cursor names a place in time, not a count. A page of one
    /// cause may be short, or empty, and still have a `next_cursor`: go on until it is null.
    #[oai(path = "/prices/:pair/gaps", method = "get", operation_id = "getGaps")]
    #[expect(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn gaps(
        &self,
        /// The pair.
        pair: Path<PairParameter>,
        /// The first instant; as early as history goes, if absent.
        from: Query<Option<TimestampParameter>>,
        /// The instant after the last; no end, if absent.
        to: Query<Option<TimestampParameter>>,
        /// Only gaps of this cause; of any, if absent.
        cause: Query<Option<CauseParameter>>,
        /// Newest first (`desc`), if absent.
        order: Query<Option<OrderParameter>>,
        /// Gaps on a page, from 1 to 10000; 100 if absent.
        limit: Query<Option<u64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// The position in the log to answer as of; the newest, if absent.
        at_sequence: AsOf,
    ) -> Result<GapsResponse, Problem> {
        let pair = pair.0.value()?;
        let parameters = Parameters {
            from: from.0,
            to: to.0,
            order: order.0,
            limit: limit.0,
            cursor: cursor.0,
            at_sequence: at_sequence.sequence,
        };
        let asked = parameters.check(pair, "gaps")?;
        at_sequence.lifetime.close_if(asked.is_closed(&self.0, &at_sequence.snapshot, |to| to));
        let cause = cause.0.map(|cause| cause.0);
        let (state, snapshot) = (self.0.clone(), at_sequence.snapshot);
        let readers = state.readers.clone();
        readers.read(move || read_page(&state, &snapshot, &asked, cause)).await
    }
}

fn read_page(
    state: &State,
    snapshot: &Snapshot,
    asked: &Asked,
    cause: Option<GapCause>,
) -> Result<GapsResponse, Problem> {
    let Some((from, to)) = asked.range(state, view(snapshot, asked.pair)?)? else {
        return Ok(GapsResponse::Page(Json(Gaps { items: Vec::new(), next_cursor: None }), None));
    };
    let gaps = state.store.gaps(asked.pair, from, to, asked.order());
    let (gaps, more) = collect(gaps, cause, asked.limit, MAX_LOOKED_AT)?;
    let next_cursor = more.map(|(last, next)| asked.cursor_between(last.from.start(), next.from.start()));
    let filter = cause.map_or_else(String::new, |cause| format!("cause={cause}&"));
    let link = next_cursor.as_ref().map(|cursor| asked.link("gaps", &filter, cursor));
    Ok(GapsResponse::Page(Json(Gaps { items: gaps.into_iter().map(item).collect(), next_cursor }), link))
}

/// A page's gaps, and the two between which the next page begins, if there is one.
type Found = (Vec<StoredGap>, Option<(StoredGap, StoredGap)>);

/// Up to `limit` gaps of a cause, looking at no more than `patience`; and the gaps to go on after and with,
/// where there are more to look at. What is looked at depends on the log and the question alone.
fn collect(
    gaps: impl Iterator<Item = Result<StoredGap, StoreError>>,
    cause: Option<GapCause>,
    limit: usize,
    patience: usize,
) -> Result<Found, StoreError> {
    let (mut found, mut seen, mut last) = (Vec::new(), 0, None);
    for gap in gaps {
        let gap = gap?;
        let fits = cause.is_none_or(|cause| cause == gap.cause);
        // Whoever has a full page, of which nothing is left over, should not be sent on for an empty one.
        if seen == patience || (fits && found.len() == limit) {
            return Ok((found, last.map(|last| (last, gap))));
        }
        if fits {
            found.push(gap);
        }
        (seen, last) = (seen + 1, Some(gap));
    }
    Ok((found, None))
}

fn item(gap: StoredGap) -> GapItem {
    GapItem {
        from: TimeText(gap.from.start()),
        to: TimeText(gap.slot.start()),
        slots: gap.slots(),
        interval: SpanText(gap.interval.span()),
        cause: gap.cause.to_string(),
        sequence: gap.recorded.map(|(sequence, _)| sequence.0),
        epoch: gap.recorded.map(|(_, epoch)| epoch.0),
        sources: gap.asked,
    }
}

#[cfg(test)]
mod tests;
