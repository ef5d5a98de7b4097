//! The rows, and where they are read from.
//!
//! A row has the same members in the same order as an item of the API's lists, whether it is read from a pod or a store.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, Result, ensure};
use api::lines::{Line, TickLine};
use common::domain::{Pair, Timestamp};
use ledger::{
    snapshot::Snapshot,
    store::{Order, Store, StoreError, StoredGap},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::check::Check;
use crate::pod::PodClient;

/// The number of rows per page: the largest limit that the API accepts.
const PAGE: usize = 10_000;

/// One of the API's lists over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Ticks,
    Gaps,
}

/// One row of the output.
pub(super) trait Row: Line + DeserializeOwned + Sized + 'static {
    /// The list that the row belongs to.
    const LIST: List;

    /// All rows of a store in a time range, oldest first.
    fn of_store(store: &Store, pair: Pair, from: Timestamp, to: Timestamp) -> Stored<Self>;

    /// The last slot of the row.
    fn last_slot(&self) -> &str;
}

/// Rows that are read from a store.
pub(super) type Stored<R> = Box<dyn Iterator<Item = Result<R, StoreError>>>;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GapRow {
    from: String,
    to: String,
    slots: u64,
    interval: String,
    cause: String,
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

/// Where rows come from.
pub(super) enum ExportInput {
    /// A running pod.
    Pod(PodClient),
    /// The store of a stopped process, and how long it keeps ticks.
    Store(Store, Duration),
}

/// Reads rows page by page.
pub(super) enum Pages<R> {
    Pod { pod: PodClient, path: String, cursor: Option<String>, ended: bool, end: Timestamp, check: Check },
    Store { rows: Stored<R>, end: Timestamp },
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
    pub(super) async fn pages<R: Row>(self, asked: Asked) -> Result<Pages<R>> {
        let Asked { pair, from, to } = asked;
        match self {
            Self::Pod(pod) => {
                let end = end_of(&pod, pair).await?;
                let end = to.map_or(end, |to| to.min(end));
                let from =
                    from.map(|from| format!("&from={}", from.min(end).unix_millis())).unwrap_or_default();
                let (list, end_millis) = (R::LIST.route(), end.unix_millis());
                let path = format!("/v1/prices/{pair}/{list}?order=asc&limit={PAGE}{from}&to={end_millis}");
                Ok(Pages::Pod { pod, path, cursor: None, ended: false, end, check: Check::default() })
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
                Ok(Pages::Store { rows: R::of_store(&store, pair, from, end), end })
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

impl<R: Row> Pages<R> {
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

impl List {
    fn route(self) -> &'static str {
        match self {
            Self::Ticks => "history",
            Self::Gaps => "gaps",
        }
    }

    /// What the list contains, for messages.
    pub(super) fn items(self) -> &'static str {
        match self {
            Self::Ticks => "ticks",
            Self::Gaps => "gaps",
        }
    }
}

impl Row for TickLine {
    const LIST: List = List::Ticks;

    fn of_store(store: &Store, pair: Pair, from: Timestamp, to: Timestamp) -> Stored<Self> {
        Box::new(store.ticks(pair, from, to, Order::Ascending).map(|tick| tick.map(Self::from)))
    }

    fn last_slot(&self) -> &str {
        &self.slot
    }
}

impl Line for GapRow {
    const COLUMNS: &'static [&'static str] =
        &["from", "to", "slots", "interval", "cause", "sequence", "epoch", "sources"];
}

impl Row for GapRow {
    const LIST: List = List::Gaps;

    fn of_store(store: &Store, pair: Pair, from: Timestamp, to: Timestamp) -> Stored<Self> {
        Box::new(store.gaps(pair, from, to, Order::Ascending).map(|gap| gap.map(Self::from)))
    }

    fn last_slot(&self) -> &str {
        &self.to
    }
}

impl From<StoredGap> for GapRow {
    fn from(gap: StoredGap) -> Self {
        Self {
            from: gap.from.start().to_string(),
            to: gap.slot.start().to_string(),
            slots: gap.slots(),
            interval: gap.interval.to_string(),
            cause: gap.cause.to_string(),
            sequence: gap.recorded.map(|(sequence, _)| sequence.0),
            epoch: gap.recorded.map(|(_, epoch)| epoch.0),
            sources: gap.asked,
        }
    }
}
