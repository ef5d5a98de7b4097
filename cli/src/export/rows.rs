//! The lists that can be exported, and where their rows are read from.
//!
//! A row has the same members in the same order as an item of the API's lists, whether it is read from a pod or a
//! store.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, Result, ensure};
use api::lines::{CandleLine, Line, TickLine};
use common::domain::{Pair, Timestamp};
use ledger::{
    candle::{Buckets, CandleInterval},
    snapshot::{PairView, Snapshot},
    store::{Order, Store, StoreError, StoredGap},
    window::WindowTick,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::check::Check;
use crate::pod::PodClient;

/// The number of rows per page: the largest limit that the API accepts.
const PAGE: usize = 10_000;

/// One of the API's lists over time.
pub(super) trait List {
    /// A row of the list.
    type Row: Line + DeserializeOwned + 'static;

    /// What the list contains, for messages.
    const ITEMS: &'static str;

    /// The last part of the list's route, with the parameters that select the list.
    fn route(&self) -> String;

    /// All rows of a store in a time range, oldest first.
    fn of_store(&self, store: &Store, range: &Range) -> Stored<Self::Row>;

    /// The time that a row ends with, for messages.
    fn time(row: &Self::Row) -> &str;
}

/// The prices of slots.
pub(super) struct Ticks;

/// The slots without a price.
pub(super) struct Gaps;

/// The prices of time buckets.
pub(super) struct Candles(pub(super) CandleInterval);

/// Rows that are read from a store.
pub(super) type Stored<R> = Box<dyn Iterator<Item = Result<R, StoreError>>>;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GapRow {
    from: String,
    to: String,
    slots: u64,
    interval: String,
    cause: String,
    #[serde(default)]
    backfilled: bool,
    sequence: Option<u64>,
    epoch: Option<u64>,
    sources: Option<u32>,
}

/// Which rows to export: those of the pair in `[from, to)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) pair: Pair,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
}

/// Which rows of a store to export: those of the pair in `[from, to)`.
pub(super) struct Range {
    pair: Pair,
    view: PairView,
    from: Timestamp,
    to: Timestamp,
}

/// Where rows come from.
pub(super) enum ExportInput {
    /// A running pod.
    Pod(PodClient),
    /// The store of a stopped process, and how long it keeps ticks.
    Store(Store, Duration),
}

/// Reads rows page by page.
pub(super) enum Pages<R> {
    Pod {
        pod: Box<PodClient>,
        path: String,
        cursor: Option<String>,
        ended: bool,
        end: Timestamp,
        check: Check,
    },
    Store {
        rows: Stored<R>,
        end: Timestamp,
    },
}

/// A page of one of the API's lists.
#[derive(Debug, Deserialize)]
struct Page<R> {
    items: VecDeque<R>,
    next_cursor: Option<String>,
}

/// An item of the API's list of pairs.
#[derive(Debug, Deserialize)]
struct PairItem {
    pair: String,
    slot: String,
}

impl ExportInput {
    /// Starts reading the requested rows, up to the current newest slot of the pair.
    pub(super) async fn pages<L: List>(self, list: &L, asked: Asked) -> Result<Pages<L::Row>> {
        let Asked { pair, from, to } = asked;
        match self {
            Self::Pod(pod) => {
                let end = end_of(&pod, pair).await?;
                let end = to.map_or(end, |to| to.min(end));
                let from =
                    from.map(|from| format!("&from={}", from.min(end).unix_millis())).unwrap_or_default();
                let (list, end_millis) = (list.route(), end.unix_millis());
                let path = format!("/v1/prices/{pair}/{list}order=asc&limit={PAGE}{from}&to={end_millis}");
                Ok(Pages::Pod {
                    pod: Box::new(pod),
                    path,
                    cursor: None,
                    ended: false,
                    end,
                    check: Check::default(),
                })
            }
            Self::Store(store, retain) => {
                let snapshot = Snapshot::load(&store, Duration::ZERO)?;
                let known = snapshot.pairs.keys().map(ToString::to_string);
                let Some(view) = snapshot.pairs.get(&pair) else {
                    return Err(unknown(pair, known.collect()));
                };
                // The store may still have older rows, but the API would not return them either.
                let (begin, end) = (view.slot.start().minus(retain), view.slot.start().next());
                let end = to.map_or(end, |to| to.min(end));
                let from = from.map_or(begin, |from| from.max(begin)).min(end);
                let range = Range { pair, view: view.clone(), from, to: end };
                Ok(Pages::Store { rows: list.of_store(&store, &range), end })
            }
        }
    }
}

/// Whether a character may be in a cursor, which becomes a part of the next request's URL.
fn is_of_cursor(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)
}

/// The exclusive end of a time range that includes the newest slot that a pod has of a pair.
async fn end_of(pod: &PodClient, pair: Pair) -> Result<Timestamp> {
    let page: Page<PairItem> = pod.parse(&pod.get("/v1/pairs").await?)?;
    match page.items.iter().find(|item| item.pair == pair.to_string()) {
        Some(item) => Ok(item.slot.parse::<Timestamp>()?.next()),
        None => Err(unknown(pair, page.items.into_iter().map(|item| item.pair).collect())),
    }
}

fn unknown(pair: Pair, known: Vec<String>) -> anyhow::Error {
    let known = if known.is_empty() { "no pairs yet".to_owned() } else { known.join(", ") };
    anyhow::anyhow!("--pair: the log has no pair {pair}; it has {known}")
}

impl<R: DeserializeOwned + Serialize> Pages<R> {
    /// The next page, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<R>>> {
        match self {
            Self::Store { rows, .. } => {
                // Let `unless_interrupted` notice an interruption.
                tokio::task::yield_now().await;
                let page = rows.take(PAGE).collect::<Result<Vec<R>, _>>()?;
                Ok(Some(page).filter(|page| !page.is_empty()))
            }
            Self::Pod { ended: true, .. } => Ok(None),
            Self::Pod { pod, path, cursor, ended, check, .. } => {
                let cursor_part = cursor.as_ref().map(|at| format!("&cursor={at}")).unwrap_or_default();
                let page: Page<R> = pod.parse(&pod.get(&format!("{path}{cursor_part}")).await?)?;
                let rows = Vec::from(page.items);
                check.page(&rows, page.next_cursor.is_none()).with_context(|| pod.url().to_owned())?;
                ensure!(
                    page.next_cursor.as_ref().is_none_or(|next| next.bytes().all(is_of_cursor)),
                    "{} sent an invalid cursor",
                    pod.url()
                );
                (*ended, *cursor) = (page.next_cursor.is_none(), page.next_cursor);
                Ok(Some(rows))
            }
        }
    }

    /// The exclusive end of the time range.
    pub(super) fn end(&self) -> Timestamp {
        match self {
            Self::Pod { end, .. } | Self::Store { end, .. } => *end,
        }
    }
}

impl List for Ticks {
    type Row = TickLine;

    const ITEMS: &'static str = "ticks";

    fn route(&self) -> String {
        "history?".to_owned()
    }

    fn of_store(&self, store: &Store, range: &Range) -> Stored<TickLine> {
        let ticks = store.ticks(range.pair, range.from, range.to, Order::Ascending);
        Box::new(ticks.map(|tick| tick.map(|tick| TickLine::from(WindowTick::from(tick)))))
    }

    fn time(row: &TickLine) -> &str {
        &row.slot
    }
}

impl List for Gaps {
    type Row = GapRow;

    const ITEMS: &'static str = "gaps";

    fn route(&self) -> String {
        "gaps?".to_owned()
    }

    fn of_store(&self, store: &Store, range: &Range) -> Stored<GapRow> {
        let gaps = store.gaps(range.pair, range.from, range.to, Order::Ascending);
        Box::new(gaps.map(|gap| gap.map(GapRow::from)))
    }

    fn time(row: &GapRow) -> &str {
        &row.to
    }
}

impl List for Candles {
    type Row = CandleLine;

    const ITEMS: &'static str = "candles";

    fn route(&self) -> String {
        format!("candles?interval={}&", self.0)
    }

    fn of_store(&self, store: &Store, range: &Range) -> Stored<CandleLine> {
        let Range { pair, view, to, .. } = range;
        let (store, to, mut next) = (store.clone(), *to, Some(range.from));
        let buckets = Buckets { pair: *pair, interval: self.0, newest: view.slot, next: view.next_slot() };
        let pages = std::iter::from_fn(move || {
            let page = buckets.page(&store, (next.take()?, to), Order::Ascending, PAGE);
            // A failure ends the export, so nothing is read after it.
            next = page.as_ref().ok().and_then(|page| page.last()).map(|last| last.start.next());
            Some(page)
        });
        Box::new(pages.flat_map(|page| match page {
            Ok(page) => page.into_iter().map(|candle| Ok(CandleLine::from(candle))).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        }))
    }

    fn time(row: &CandleLine) -> &str {
        &row.start
    }
}

impl Line for GapRow {
    const COLUMNS: &'static [&'static str] =
        &["from", "to", "slots", "interval", "cause", "backfilled", "sequence", "epoch", "sources"];
}

impl From<StoredGap> for GapRow {
    fn from(gap: StoredGap) -> Self {
        Self {
            from: gap.from.start().to_string(),
            to: gap.slot.start().to_string(),
            slots: gap.slots(),
            interval: gap.interval.to_string(),
            cause: gap.cause.to_string(),
            backfilled: gap.backfilled,
            sequence: gap.recorded.map(|(sequence, _)| sequence.0),
            epoch: gap.recorded.map(|(_, epoch)| epoch.0),
            sources: gap.asked,
        }
    }
}
