//! `/v1/prices/{pair}/candles`: candles of a pair.

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
        CandleIntervalParameter, CandleItem, Candles, Json, Nullable, PageCursorParameter, PairParameter,
        PriceText, TimeText, TimestampParameter,
    },
    lines::CandleLine,
    problem::Problem,
};
use ledger::{
    candle::{Buckets, Candle, CandleInterval},
    snapshot::Snapshot,
};

/// The handler of candles.
pub struct CandlesApi(pub(super) Arc<State>);

#[derive(ApiResponse)]
enum CandlesResponse {
    /// A page of candles
    #[oai(status = 200)]
    Page(
        Formatted<Candles>,
        /// A link to the next page, as `<…>; rel="next"`. Absent on the last page.
        #[oai(header = "Link")]
        Option<String>,
        /// The format depends on the `Accept` header.
        #[oai(header = "Vary")]
        String,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::History")]
impl CandlesApi {
    /// List the candles of a pair in a time range
    ///
    /// Returns the candles whose buckets begin in `[from, to)`.
    ///
    /// Buckets `[start, start + interval)` are aligned to the UTC calendar. A bucket without a tick is left out. The
    /// newest bucket is included while it is still open, with `complete: false`.
    ///
    /// New records do not shift the pages, because a cursor is a point in time and not a count. In CSV and NDJSON, the
    /// cursor of the next page is only in the `Link` header.
    #[oai(path = "/prices/:pair/candles", method = "get", operation_id = "getCandles")]
    #[expect(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn candles(
        &self,
        headers: &HeaderMap,
        /// The pair.
        pair: Path<PairParameter>,
        /// The length of a candle.
        interval: Query<CandleIntervalParameter>,
        /// The earliest start of a candle. Default: the beginning of history.
        from: Query<Option<TimestampParameter>>,
        /// The end of the range, which is not included. Default: no end.
        to: Query<Option<TimestampParameter>>,
        /// The order of the items. Default: newest first (`desc`).
        order: Query<Option<OrderParameter>>,
        /// The number of candles on a page.
        limit: Query<Option<LimitParameter>>,
        /// The `next_cursor` of the previous page.
        cursor: Query<Option<PageCursorParameter>>,
        /// The format of the response. Default: chosen by the `Accept` header.
        format: Query<Option<FormatParameter>>,
        /// Use the log as it was at this position. Default: the newest position.
        at_sequence: AsOf,
    ) -> Result<CandlesResponse, Problem> {
        let pair = pair.0.value()?;
        let parameters = Parameters { from, to, order, limit, cursor, at_sequence: at_sequence.sequence };
        let page = parameters.check(pair)?;
        let format = ChosenFormat::of(format.0, headers)?;
        let interval = interval.0.0;
        let is_closed =
            page.is_closed(&self.0, &at_sequence.snapshot, |to| interval.end_of_buckets_before(to));
        at_sequence.lifetime.close_if(is_closed);
        let (state, snapshot) = (self.0.clone(), at_sequence.snapshot);
        let workers = state.workers.clone();
        let is_long = page.is_long();
        let work = move || read_page(&state, &snapshot, &page, interval, format);
        workers.read_or_compute(is_long, work).await
    }
}

fn read_page(
    state: &State,
    snapshot: &Snapshot,
    page: &PageRequest,
    interval: CandleInterval,
    format: ChosenFormat,
) -> Result<CandlesResponse, Problem> {
    let view = view(snapshot, page.pair)?;
    let buckets = Buckets { pair: page.pair, interval, newest: view.slot, next: view.next_slot() };
    let mut candles = match page.range(state, view)? {
        // Read one item more than fits on the page, to know whether there is another page.
        Some(range) => buckets.page(&state.store, range, page.order(), page.limit + 1)?,
        None => Vec::new(),
    };
    let next_cursor = page.cut(&mut candles, |candle| candle.start);
    let filter = format!("interval={interval}&{}", format.query());
    let link = next_cursor.as_ref().map(|cursor| page.link("candles", &filter, cursor));
    let rows = candles.iter().copied().map(CandleLine::from);
    let items = || candles.iter().copied().map(item).collect();
    let list = || Json::of(Candles { items: items(), next_cursor: Nullable(next_cursor) });
    Ok(CandlesResponse::Page(format.page(list, rows)?, link, VARY.to_owned()))
}

fn item(candle: Candle) -> CandleItem {
    let summary = candle.summary;
    CandleItem {
        start: TimeText(candle.start),
        open: PriceText(summary.first.price),
        high: PriceText(summary.max.price),
        low: PriceText(summary.min.price),
        close: PriceText(summary.last.price),
        samples: summary.count,
        backfilled: summary.backfilled,
        complete: candle.complete,
    }
}
