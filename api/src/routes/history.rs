//! Earlier prices, page by page.

use std::sync::Arc;

use http::HeaderMap;
use poem_openapi::{
    ApiResponse, OpenApi, ResponseContent,
    param::{Path, Query},
    payload::Json,
};

use super::{
    State, Tag,
    as_of::AsOf,
    format::{self, Csv, FormatParameter, Ndjson, VARY},
    paging::{Asked, OrderParameter, Parameters},
    view,
};
use crate::{
    dto::{History, HistoryItem, PairParameter, PriceText, TimeText, TimestampParameter},
    lines::{LineFormat, Lines, TickLine},
    problem::Problem,
};
use ledger::{
    sample::{MAX_POINTS, MIN_POINTS, sample},
    snapshot::Snapshot,
    store::{Order, StoredTick},
};

/// Earlier prices.
pub struct HistoryApi(pub(super) Arc<State>);

#[derive(ApiResponse)]
enum HistoryResponse {
    /// A page of ticks
    #[oai(status = 200)]
    Page(
        HistoryPage,
        /// The next page, as `<…>; rel="next"`; absent on the last.
        #[oai(header = "Link")]
        Option<String>,
        /// The format depends on the `Accept` header.
        #[oai(header = "Vary")]
        String,
    ),
}

/// A page in one of its forms.
#[derive(ResponseContent)]
enum HistoryPage {
    Json(Json<History>),
    Csv(Csv),
    Ndjson(Ndjson),
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::History")]
impl HistoryApi {
    /// Ticks of a pair in a range of time
    ///
    /// Those whose slot is in `[from, to)`.
    ///
    /// Pages stay stable while records arrive: a cursor names a place in time, not a count.
    ///
    /// With `max_points` the whole range is answered at once, thinned if it must be: it is cut into buckets of one
    /// length, and of each the first, last, lowest and highest tick are given. So the first and last tick of the
    /// range are always among them, and its extremes. All are ticks of the log; none is an average.
    ///
    /// The answer is JSON, CSV or NDJSON, by the `Accept` header or by `format`, which wins. In CSV and NDJSON
    /// the cursor of the next page is in the `Link` header alone.
    #[oai(path = "/prices/:pair/history", method = "get", operation_id = "getHistory")]
    #[expect(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn history(
        &self,
        headers: &HeaderMap,
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
        /// The most ticks to bring the range down to, from 4 to 10000; not together with `limit` or `cursor`.
        max_points: Query<Option<u64>>,
        /// The form of the answer; by the `Accept` header, if absent.
        format: Query<Option<FormatParameter>>,
        /// The position in the log to answer as of; the newest, if absent.
        at_sequence: AsOf,
    ) -> Result<HistoryResponse, Problem> {
        let pair = pair.0.value()?;
        let max_points = check_max_points(max_points.0, limit.0.is_some() || cursor.0.is_some())?;
        let parameters = Parameters {
            from: from.0,
            to: to.0,
            order: order.0,
            limit: limit.0,
            cursor: cursor.0,
            at_sequence: at_sequence.sequence,
        };
        let question = Question {
            asked: parameters.check(pair, "ticks")?,
            max_points,
            format: format::choose(format.0, headers)?,
            named_format: format.0,
        };
        let is_closed = question.asked.is_closed(&self.0, &at_sequence.snapshot, |to| to);
        at_sequence.lifetime.close_if(is_closed);
        let (state, snapshot) = (self.0.clone(), at_sequence.snapshot);
        let readers = state.readers.clone();
        match question.is_long(&state, &snapshot) {
            true => readers.scan(move || question.answer(&state, &snapshot)).await,
            false => readers.read(move || question.answer(&state, &snapshot)).await,
        }
    }
}

/// Slots of a range that is thinned out like a page is read: a few milliseconds of work.
const SHORT_SLOTS: u64 = 50_000;

/// What is asked of history.
struct Question {
    asked: Asked,
    max_points: Option<usize>,
    format: FormatParameter,
    /// The format as the request target names it, for the links to further pages.
    named_format: Option<FormatParameter>,
}

impl Question {
    /// Whether many ticks may have to be looked at.
    fn is_long(&self, state: &State, snapshot: &Snapshot) -> bool {
        let view = self.max_points.and_then(|_| snapshot.pairs.get(&self.asked.pair));
        view.and_then(|view| {
            let (from, to) = self.asked.range(state, view).ok()??;
            Some(to.millis_since(from) / view.interval.millis() > SHORT_SLOTS)
        })
        .unwrap_or(false)
    }

    fn answer(&self, state: &State, snapshot: &Snapshot) -> Result<HistoryResponse, Problem> {
        match self.max_points {
            Some(points) => self.sample(state, snapshot, points),
            None => self.page(state, snapshot),
        }
    }

    fn sample(&self, state: &State, snapshot: &Snapshot, points: usize) -> Result<HistoryResponse, Problem> {
        let asked = &self.asked;
        let Some(range) = asked.range(state, view(snapshot, asked.pair)?)? else {
            return self.response(Vec::new(), None);
        };
        let mut ticks = sample(&state.store, asked.pair, range, points)?;
        if asked.order() == Order::Descending {
            ticks.reverse();
        }
        self.response(ticks, None)
    }

    fn page(&self, state: &State, snapshot: &Snapshot) -> Result<HistoryResponse, Problem> {
        let asked = &self.asked;
        let Some((from, to)) = asked.range(state, view(snapshot, asked.pair)?)? else {
            return self.response(Vec::new(), None);
        };
        // One more than the page has, to know whether there is another.
        let mut ticks = state
            .store
            .ticks(asked.pair, from, to, asked.order())
            .take(asked.limit + 1)
            .collect::<Result<Vec<StoredTick>, _>>()?;
        let next_cursor = asked.cut(&mut ticks, |tick| tick.slot.start());
        self.response(ticks, next_cursor)
    }

    fn response(
        &self,
        ticks: Vec<StoredTick>,
        next_cursor: Option<String>,
    ) -> Result<HistoryResponse, Problem> {
        let format = self.named_format.map(|format| format!("format={}&", format.word())).unwrap_or_default();
        let link = next_cursor.as_ref().map(|cursor| self.asked.link("history", &format, cursor));
        let page = match self.format {
            FormatParameter::Json => {
                let items = ticks.into_iter().map(item).collect();
                HistoryPage::Json(Json(History { items, next_cursor }))
            }
            FormatParameter::Csv => HistoryPage::Csv(Csv(lines(LineFormat::Csv, ticks)?)),
            FormatParameter::Ndjson => HistoryPage::Ndjson(Ndjson(lines(LineFormat::Ndjson, ticks)?)),
        };
        Ok(HistoryResponse::Page(page, link, VARY.to_owned()))
    }
}

fn check_max_points(asked: Option<u64>, paged: bool) -> Result<Option<usize>, Problem> {
    let Some(asked) = asked else { return Ok(None) };
    let wrong = |detail: String| Problem::parameter("max_points", detail);
    if paged {
        let detail = "max_points answers the whole range at once: leave out limit and cursor, or max_points";
        return Err(wrong(detail.to_owned()));
    }
    let points = usize::try_from(asked).ok().filter(|points| (MIN_POINTS..=MAX_POINTS).contains(points));
    let detail = || format!("a range can be brought down to {MIN_POINTS} to {MAX_POINTS} ticks, not {asked}");
    points.map(Some).ok_or_else(|| wrong(detail()))
}

fn item(tick: StoredTick) -> HistoryItem {
    HistoryItem { slot: TimeText(tick.slot.start()), price: PriceText(tick.price), sequence: tick.sequence.0 }
}

fn lines(format: LineFormat, ticks: Vec<StoredTick>) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut lines = Lines::begin::<TickLine>(format, &mut bytes)?;
    ticks.into_iter().try_for_each(|tick| lines.write(&TickLine::from(tick)))?;
    lines.finish()?;
    Ok(bytes)
}
