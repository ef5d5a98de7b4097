//! Candles, page by page.

use std::sync::Arc;

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
    dto::{
        CandleIntervalParameter, CandleItem, Candles, PairParameter, PriceText, TimeText, TimestampParameter,
    },
    problem::Problem,
};
use ledger::{
    candle::{Buckets, Candle, CandleInterval},
    snapshot::Snapshot,
};

/// Candles.
pub struct CandlesApi(pub(super) Arc<State>);

#[derive(ApiResponse)]
enum CandlesResponse {
    /// A page of candles
    #[oai(status = 200)]
    Page(
        Json<Candles>,
        /// The next page, as `<…>; rel="next"`; absent on the last.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::History")]
impl CandlesApi {
    /// Candles of a pair in a range of time
    ///
    /// Those whose buckets begin in `[from, to)`.
    ///
    /// Buckets `[start, start + interval)` lie on the calendar, in UTC. One without a tick is left out; the
    /// newest is there while it is still open, with `complete: false`.
    ///
    /// Pages stay stable while records arrive: a cursor names a place in time, not a count.
    #[oai(path = "/prices/:pair/candles", method = "get", operation_id = "getCandles")]
    #[expect(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn candles(
        &self,
        /// The pair.
        pair: Path<PairParameter>,
        /// How long a bucket is.
        interval: Query<CandleIntervalParameter>,
        /// The first instant a bucket may begin at; as early as history goes, if absent.
        from: Query<Option<TimestampParameter>>,
        /// The instant after the last; no end, if absent.
        to: Query<Option<TimestampParameter>>,
        /// Newest first (`desc`), if absent.
        order: Query<Option<OrderParameter>>,
        /// Candles on a page, from 1 to 10000; 100 if absent.
        limit: Query<Option<u64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// The position in the log to answer as of; the newest, if absent.
        at_sequence: AsOf,
    ) -> Result<CandlesResponse, Problem> {
        let pair = pair.0.value()?;
        let parameters = Parameters {
            from: from.0,
            to: to.0,
            order: order.0,
            limit: limit.0,
            cursor: cursor.0,
            at_sequence: at_sequence.sequence,
        };
        let asked = parameters.check(pair, "candles")?;
        let interval = interval.0.0;
        let is_closed =
            asked.is_closed(&self.0, &at_sequence.snapshot, |to| interval.end_of_buckets_before(to));
        at_sequence.lifetime.close_if(is_closed);
        let (state, snapshot) = (self.0.clone(), at_sequence.snapshot);
        let readers = state.readers.clone();
        readers.read(move || read_page(&state, &snapshot, &asked, interval)).await
    }
}

fn read_page(
    state: &State,
    snapshot: &Snapshot,
    asked: &Asked,
    interval: CandleInterval,
) -> Result<CandlesResponse, Problem> {
    let view = view(snapshot, asked.pair)?;
    let Some(range) = asked.range(state, view)? else {
        return Ok(CandlesResponse::Page(Json(Candles { items: Vec::new(), next_cursor: None }), None));
    };
    let buckets = Buckets { pair: asked.pair, interval, newest: view.slot, next: view.next_slot() };
    // One more than the page has, to know whether there is another.
    let mut candles = buckets.page(&state.store, range, asked.order(), asked.limit + 1)?;
    let next_cursor = asked.cut(&mut candles, |candle| candle.start);
    let filter = format!("interval={interval}&");
    let link = next_cursor.as_ref().map(|cursor| asked.link("candles", &filter, cursor));
    let items = candles.into_iter().map(item).collect();
    Ok(CandlesResponse::Page(Json(Candles { items, next_cursor }), link))
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
        complete: candle.complete,
    }
}
