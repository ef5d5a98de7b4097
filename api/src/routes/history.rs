//! Earlier prices, page by page.

use std::sync::Arc;

use common::domain::{Pair, Timestamp};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Enum, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use super::{State, Tag, view};
use crate::{
    dto::{History, HistoryItem, PairParameter, PriceText, TimeText, TimestampParameter},
    problem::Problem,
    snapshot::Snapshot,
    store::{Order, StoredTick},
};

/// Ticks on a page where nothing else is asked for.
const DEFAULT_LIMIT: usize = 100;

/// Ticks on a page at most: about 1 MB of JSON.
const MAX_LIMIT: usize = 10_000;

/// Earlier prices.
pub struct HistoryApi(pub(super) Arc<State>);

/// In which order ticks are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum OrderParameter {
    /// Oldest first.
    Asc,
    /// Newest first.
    Desc,
}

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
        snapshot: Data<&Arc<Snapshot>>,
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
    ) -> Result<HistoryResponse, Problem> {
        let pair = pair.0.value()?;
        let limit = limit.0.map_or(Some(DEFAULT_LIMIT), |limit| usize::try_from(limit).ok());
        let limit = limit
            .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            .ok_or_else(|| Problem::parameter("limit", format!("a page has 1 to {MAX_LIMIT} ticks")))?;
        let order = order.0.unwrap_or(OrderParameter::Desc);
        let asked = Asked {
            pair,
            from: from.0.map(|from| from.0),
            to: to.0.map(|to| to.0),
            order,
            limit,
            cursor: cursor.0.map(|cursor| parse_cursor(&cursor, order)).transpose()?,
        };
        if let (Some(from), Some(to)) = (asked.from, asked.to)
            && from > to
        {
            return Err(Problem::parameter("from", format!("{from} is after to, {to}")));
        }
        let (state, snapshot) = (self.0.clone(), snapshot.0.clone());
        // Reading a page blocks on the disk.
        let page = tokio::task::spawn_blocking(move || read_page(&state, &snapshot, &asked));
        page.await.map_err(|_| Problem::new(crate::problem::Code::Internal, "reading history failed"))?
    }
}

/// A checked question.
struct Asked {
    pair: Pair,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    order: OrderParameter,
    limit: usize,
    cursor: Option<Timestamp>,
}

fn read_page(state: &State, snapshot: &Snapshot, asked: &Asked) -> Result<HistoryResponse, Problem> {
    let view = view(snapshot, asked.pair)?;
    // What the snapshot does not know yet may be in the store already, and what is past retention may
    // still be there: neither is part of the answer.
    let end = view.slot.start().next();
    let begin = view.slot.start().minus(state.retain_ticks);
    let mut from = asked.from.unwrap_or(begin).max(begin);
    let mut to = asked.to.unwrap_or(end).min(end);
    let order = match asked.order {
        OrderParameter::Asc => Order::Ascending,
        OrderParameter::Desc => Order::Descending,
    };
    match (order, asked.cursor) {
        (Order::Ascending, Some(last)) => from = from.max(last.next()),
        (Order::Descending, Some(last)) => to = to.min(last),
        (_, None) => {}
    }
    if from >= to {
        return Ok(HistoryResponse::Page(Json(History { items: Vec::new(), next_cursor: None }), None));
    }
    // One more than the page has, to know whether there is another.
    let mut ticks = state
        .store
        .ticks(asked.pair, from, to, order)
        .take(asked.limit + 1)
        .collect::<Result<Vec<StoredTick>, _>>()?;
    let more = ticks.len() > asked.limit;
    ticks.truncate(asked.limit);
    let next_cursor = ticks.last().filter(|_| more).map(|tick| cursor(tick.slot.start(), asked.order));
    let link = next_cursor.as_ref().map(|cursor| link(asked, cursor));
    let item = |tick: StoredTick| HistoryItem {
        slot: TimeText(tick.slot.start()),
        price: PriceText(tick.price),
        sequence: tick.sequence.0,
    };
    let items = ticks.into_iter().map(item).collect();
    Ok(HistoryResponse::Page(Json(History { items, next_cursor }), link))
}

/// The last tick's slot, marked with the order it was read in.
fn cursor(last: Timestamp, order: OrderParameter) -> String {
    format!("{}{}", mark(order), last.unix_millis())
}

fn parse_cursor(text: &str, order: OrderParameter) -> Result<Timestamp, Problem> {
    let parsed = text.strip_prefix(mark(order)).and_then(|millis| millis.parse().ok());
    parsed.and_then(|millis| Timestamp::from_unix_millis(millis).ok()).ok_or_else(|| {
        Problem::parameter(
            "cursor",
            "this is no next_cursor of a page in this order; leave it out to begin anew",
        )
    })
}

fn mark(order: OrderParameter) -> char {
    match order {
        OrderParameter::Asc => 'a',
        OrderParameter::Desc => 'd',
    }
}

fn link(asked: &Asked, cursor: &str) -> String {
    let millis = |name: &str, at: Option<Timestamp>| at.map(|at| format!("{name}={}&", at.unix_millis()));
    let order = match asked.order {
        OrderParameter::Asc => "asc",
        OrderParameter::Desc => "desc",
    };
    format!(
        "</v1/prices/{}/history?{}{}order={order}&limit={}&cursor={cursor}>; rel=\"next\"",
        asked.pair,
        millis("from", asked.from).unwrap_or_default(),
        millis("to", asked.to).unwrap_or_default(),
        asked.limit,
    )
}
