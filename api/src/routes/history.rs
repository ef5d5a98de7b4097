//! Earlier prices, page by page.

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
    dto::{History, HistoryItem, PairParameter, PriceText, TimeText, TimestampParameter},
    problem::Problem,
    snapshot::Snapshot,
    store::StoredTick,
};

/// Earlier prices.
pub struct HistoryApi(pub(super) Arc<State>);

#[derive(ApiResponse)]
enum HistoryResponse {
    /// A page of ticks
    #[oai(status = 200)]
    Page(
        Json<History>,
        /// The next page, as `<…>; rel="next"`; absent on the last.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::History")]
impl HistoryApi {
    /// Ticks of a pair in `[from, to)`
    ///
    /// Pages stay stable while records arrive: a cursor names a place in time, not a count.
    #[oai(path = "/prices/:pair/history", method = "get", operation_id = "getHistory")]
    #[expect(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn history(
        &self,
        /// The pair.
        pair: Path<PairParameter>,
        /// The first instant; as early as history goes, if absent.
        from: Query<Option<TimestampParameter>>,
        /// The instant after the last; no end, if absent.
        to: Query<Option<TimestampParameter>>,
        /// Newest first (`desc`), if absent.
        order: Query<Option<OrderParameter>>,
        /// Ticks on a page, from 1 to 10000; 100 if absent.
        limit: Query<Option<u64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// The position in the log to answer as of; the newest, if absent.
        at_sequence: AsOf,
    ) -> Result<HistoryResponse, Problem> {
        let pair = pair.0.value()?;
        let parameters = Parameters {
            from: from.0,
            to: to.0,
            order: order.0,
            limit: limit.0,
            cursor: cursor.0,
            at_sequence: at_sequence.sequence,
        };
        let asked = parameters.check(pair, "ticks")?;
        let (state, snapshot) = (self.0.clone(), at_sequence.snapshot);
        let readers = state.readers.clone();
        readers.read(move || read_page(&state, &snapshot, &asked)).await
    }
}

fn read_page(state: &State, snapshot: &Snapshot, asked: &Asked) -> Result<HistoryResponse, Problem> {
    let Some((from, to)) = asked.range(state, view(snapshot, asked.pair)?)? else {
        return Ok(HistoryResponse::Page(Json(History { items: Vec::new(), next_cursor: None }), None));
    };
    // One more than the page has, to know whether there is another.
    let mut ticks = state
        .store
        .ticks(asked.pair, from, to, asked.order())
        .take(asked.limit + 1)
        .collect::<Result<Vec<StoredTick>, _>>()?;
    let next_cursor = asked.cut(&mut ticks, |tick| tick.slot.start());
    let link = next_cursor.as_ref().map(|cursor| asked.link("history", "", cursor));
    let item = |tick: StoredTick| HistoryItem {
        slot: TimeText(tick.slot.start()),
        price: PriceText(tick.price),
        sequence: tick.sequence.0,
    };
    let items = ticks.into_iter().map(item).collect();
    Ok(HistoryResponse::Page(Json(History { items, next_cursor }), link))
}
