//! `/v1/prices/{pair}/history`: ticks of the past.

mod json;

use std::sync::Arc;

use http::HeaderMap;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Path, Query},
};

use super::{
    State, Tag,
    as_of::AsOf,
    format::{FormatParameter, VARY},
    paging::{LimitParameter, OrderParameter, PageRequest, Parameters},
    rows::{ChosenFormat, Formatted},
    view,
};
use crate::{
    dto::{
        History, HistoryItem, PageCursorParameter, PairParameter, PriceText, TimeText, TimestampParameter,
        WholeNumber,
    },
    lines::TickLine,
    problem::Problem,
};
use json::json;
use ledger::{
    sample::{MAX_POINTS, MIN_POINTS, sample},
    snapshot::Snapshot,
    store::Order,
    window::WindowTick,
};

/// The maximum number of ticks that a range is thinned to, as a parameter.
#[expect(clippy::as_conversions, reason = "constants have no other conversion, and the values are small")]
type MaxPoints = WholeNumber<{ MIN_POINTS as u64 }, { MAX_POINTS as u64 }>;

/// The handler of history.
pub struct HistoryApi(pub(super) Arc<State>);

#[derive(ApiResponse)]
enum HistoryResponse {
    /// A page of ticks
    #[oai(status = 200)]
    Page(
        Formatted<History>,
        /// A link to the next page, as `<…>; rel="next"`. Absent on the last page.
        #[oai(header = "Link")]
        Option<String>,
        /// The format depends on the `Accept` header.
        #[oai(header = "Vary")]
        String,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::History")]
impl HistoryApi {
    /// List the ticks of a pair in a time range
    ///
    /// Returns the ticks whose slot is in `[from, to)`.
    ///
    /// New records do not shift the pages, because a cursor is a point in time and not a count.
    ///
    /// With `max_points` the response covers the whole range at once, and is thinned if the range has more ticks than
    /// that. The range is divided into buckets of equal length, and each bucket keeps its first, last, lowest and
    /// highest tick. So the response always includes the first and last tick of the range, its minimum and its maximum.
    /// All items are real ticks and none is an average.
    ///
    /// The response is JSON, CSV or NDJSON. The parameter `format` selects one of them. Without it, the `Accept` header
    /// does. In CSV and NDJSON, the cursor of the next page is only in the `Link` header.
    #[oai(path = "/prices/:pair/history", method = "get", operation_id = "getHistory")]
    #[expect(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn history(
        &self,
        headers: &HeaderMap,
        /// The pair.
        pair: Path<PairParameter>,
        /// The start of the range. Default: the beginning of history.
        from: Query<Option<TimestampParameter>>,
        /// The end of the range, which is not included. Default: no end.
        to: Query<Option<TimestampParameter>>,
        /// The order of the items. Default: newest first (`desc`).
        order: Query<Option<OrderParameter>>,
        /// The number of ticks on a page.
        limit: Query<Option<LimitParameter>>,
        /// The `next_cursor` of the previous page.
        cursor: Query<Option<PageCursorParameter>>,
        /// Thin the whole range to at most this many ticks. Cannot be combined with `limit` or `cursor`.
        max_points: Query<Option<MaxPoints>>,
        /// The format of the response. Default: chosen by the `Accept` header.
        format: Query<Option<FormatParameter>>,
        /// Use the log as it was at this position. Default: the newest position.
        at_sequence: AsOf,
    ) -> Result<HistoryResponse, Problem> {
        let pair = pair.0.value()?;
        if max_points.0.is_some() && (limit.0.is_some() || cursor.0.is_some()) {
            let detail =
                "max_points returns the whole range at once, so it cannot be combined with limit or cursor";
            return Err(Problem::parameter("max_points", detail));
        }
        let max_points = max_points.0.map(|points| usize::try_from(points.get())).transpose();
        let parameters = Parameters { from, to, order, limit, cursor, at_sequence: at_sequence.sequence };
        let query = HistoryQuery {
            page: parameters.check(pair)?,
            max_points: max_points.map_err(Problem::internal)?,
            format: ChosenFormat::of(format.0, headers)?,
        };
        let is_closed = query.page.is_closed(&self.0, &at_sequence.snapshot, |to| to);
        at_sequence.lifetime.close_if(is_closed);
        let (state, snapshot) = (self.0.clone(), at_sequence.snapshot);
        if let Some(ticks) = query.in_memory(&state, &snapshot)? {
            return query.page_of(ticks);
        }
        let workers = state.workers.clone();
        let is_long = query.is_long(&state, &snapshot);
        workers.read_or_compute(is_long, move || query.respond(&state, &snapshot)).await
    }
}

/// A range of at most this many slots is thinned about as quickly as a page is read: within a few milliseconds.
const SHORT_SLOTS: u64 = 50_000;

/// A page of at most this many ticks that are in memory takes some ten microseconds. That is less than handing it to
/// another thread takes, so no other request waits longer for it.
const MAX_INLINE_ITEMS: usize = 200;

/// A valid request.
struct HistoryQuery {
    page: PageRequest,
    max_points: Option<usize>,
    format: ChosenFormat,
}

impl HistoryQuery {
    /// The ticks of a small page and one more, if all of them are in memory.
    fn in_memory(&self, state: &State, snapshot: &Snapshot) -> Result<Option<Vec<WindowTick>>, Problem> {
        let page = &self.page;
        if self.max_points.is_some() || page.limit > MAX_INLINE_ITEMS {
            return Ok(None);
        }
        let view = view(snapshot, page.pair)?;
        match page.range(state, view)? {
            Some(range) => Ok(view.ticks_in_memory(range, page.order(), page.limit + 1)),
            None => Ok(Some(Vec::new())),
        }
    }

    /// Whether the response may have many ticks, or may be computed from many.
    fn is_long(&self, state: &State, snapshot: &Snapshot) -> bool {
        if self.page.is_long() {
            return true;
        }
        let view = self.max_points.and_then(|_| snapshot.pairs.get(&self.page.pair));
        view.and_then(|view| {
            let (from, to) = self.page.range(state, view).ok()??;
            Some(to.millis_since(from) / view.interval.millis() > SHORT_SLOTS)
        })
        .unwrap_or(false)
    }

    fn respond(&self, state: &State, snapshot: &Snapshot) -> Result<HistoryResponse, Problem> {
        match self.max_points {
            Some(points) => self.sample(state, snapshot, points),
            None => self.page(state, snapshot),
        }
    }

    fn sample(&self, state: &State, snapshot: &Snapshot, points: usize) -> Result<HistoryResponse, Problem> {
        let page = &self.page;
        let Some(range) = page.range(state, view(snapshot, page.pair)?)? else {
            return self.response(Vec::new(), None);
        };
        let mut ticks = sample(&state.store, page.pair, range, points)?;
        if page.order() == Order::Descending {
            ticks.reverse();
        }
        self.response(ticks.into_iter().map(WindowTick::from).collect(), None)
    }

    fn page(&self, state: &State, snapshot: &Snapshot) -> Result<HistoryResponse, Problem> {
        let page = &self.page;
        let Some((from, to)) = page.range(state, view(snapshot, page.pair)?)? else {
            return self.response(Vec::new(), None);
        };
        // Read one item more than fits on the page, to know whether there is another page.
        let ticks = state.store.ticks(page.pair, from, to, page.order()).take(page.limit + 1);
        self.page_of(ticks.map(|tick| tick.map(WindowTick::from)).collect::<Result<_, _>>()?)
    }

    /// The page of these ticks, which may be one more than fits on it.
    fn page_of(&self, mut ticks: Vec<WindowTick>) -> Result<HistoryResponse, Problem> {
        let next_cursor = self.page.cut(&mut ticks, |tick| tick.point.slot.start());
        self.response(ticks, next_cursor)
    }

    fn response(
        &self,
        ticks: Vec<WindowTick>,
        next_cursor: Option<String>,
    ) -> Result<HistoryResponse, Problem> {
        let link = next_cursor.as_ref().map(|cursor| self.page.link("history", &self.format.query(), cursor));
        let rows = ticks.iter().copied().map(TickLine::from);
        let page = self.format.page(|| json(&ticks, next_cursor.as_deref()), rows)?;
        Ok(HistoryResponse::Page(page, link, VARY.to_owned()))
    }
}

pub(super) fn item(WindowTick { point, sequence }: WindowTick) -> HistoryItem {
    HistoryItem {
        slot: TimeText(point.slot.start()),
        price: PriceText(point.price),
        sequence: sequence.0,
        backfilled: point.backfilled,
    }
}
