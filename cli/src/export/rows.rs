//! What a line has, and where lines are read from.
//!
//! A line has the members that the API's lists give, in their order, whichever way it was read.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, Result, bail};
use api::lines::{Line, TickLine};
use common::domain::{Pair, Timestamp};
use ledger::{
    snapshot::Snapshot,
    store::{Order, Store, StoreError, StoredGap},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::pod::{Pod, StatusCode};

/// Rows of a page: the most that a pod gives at once.
const PAGE: usize = 10_000;

/// A list over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Ticks,
    Gaps,
}

/// One line.
pub(super) trait Row: Line + DeserializeOwned + Sized + 'static {
    /// The list that it is of.
    const LIST: List;

    /// All rows of a store in a range, oldest first.
    fn of_store(store: &Store, pair: Pair, from: Timestamp, to: Timestamp) -> Stored<Self>;

    /// The last slot it is about.
    fn last_slot(&self) -> &str;
}

/// Rows as they lie in a store.
pub(super) type Stored<R> = Box<dyn Iterator<Item = Result<R, StoreError>>>;

/// A gap.
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

/// Which rows: those in `[from, to)`, as far as there are any.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) pair: Pair,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
}

/// Where rows come from.
pub(super) enum Origin {
    /// A running pod.
    Pod(Pod),
    /// A store that no process uses, and how long its ticks are answered.
    Store(Store, Duration),
}

/// Rows, page by page.
pub(super) enum Pages<R> {
    Pod { pod: Pod, path: String, cursor: Option<String>, ended: bool, end: Timestamp },
    Store { rows: Stored<R>, end: Timestamp },
}

/// A page as a pod gives it.
#[derive(Debug, Deserialize)]
struct Page<R> {
    items: VecDeque<R>,
    next_cursor: Option<String>,
}

/// The pairs as a pod lists them.
#[derive(Debug, Deserialize)]
struct PairItem {
    pair: String,
    slot: String,
}

impl Origin {
    /// The rows that are asked for, up to the pair's newest slot now.
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
                Ok(Pages::Pod { pod, path, cursor: None, ended: false, end })
            }
            Self::Store(store, retain) => {
                let snapshot = Snapshot::load(&store, Duration::ZERO)?;
                let known = snapshot.pairs.keys().map(ToString::to_string);
                let Some(view) = snapshot.pairs.get(&pair) else {
                    return Err(unknown(pair, known.collect()));
                };
                // What is past retention may still be there, and is not part of any answer.
                let (begin, end) = (view.slot.start().minus(retain), view.slot.start().next());
                let end = to.map_or(end, |to| to.min(end));
                let from = from.map_or(begin, |from| from.max(begin)).min(end);
                Ok(Pages::Store { rows: R::of_store(&store, pair, from, end), end })
            }
        }
    }
}

/// The end of what a pod has of a pair now.
async fn end_of(pod: &Pod, pair: Pair) -> Result<Timestamp> {
    let answer = pod.get("/v1/pairs").await?;
    if answer.status != StatusCode::OK {
        return Err(pod.refusal(&answer));
    }
    let page: Page<PairItem> = serde_json::from_slice(&answer.body)
        .with_context(|| format!("{} does not answer as a Tickwell pod does", pod.url()))?;
    match page.items.iter().find(|item| item.pair == pair.to_string()) {
        Some(item) => Ok(item.slot.parse::<Timestamp>()?.next()),
        None => Err(unknown(pair, page.items.into_iter().map(|item| item.pair).collect())),
    }
}

fn unknown(pair: Pair, known: Vec<String>) -> anyhow::Error {
    let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
    anyhow::anyhow!("--pair: the log has no pair {pair}; it has {known}")
}

impl<R: Row> Pages<R> {
    /// The next page; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<R>>> {
        match self {
            Self::Store { rows, .. } => {
                // Who waits for an interruption has a chance to see it.
                tokio::task::yield_now().await;
                let page = rows.take(PAGE).collect::<Result<Vec<R>, _>>()?;
                Ok(Some(page).filter(|page| !page.is_empty()))
            }
            Self::Pod { ended: true, .. } => Ok(None),
            Self::Pod { pod, path, cursor, ended, .. } => {
                let cursor_part = cursor.as_ref().map(|at| format!("&cursor={at}")).unwrap_or_default();
                let answer = pod.get(&format!("{path}{cursor_part}")).await?;
                if answer.status != StatusCode::OK {
                    return Err(pod.refusal(&answer));
                }
                let page: Page<R> = serde_json::from_slice(&answer.body)
                    .with_context(|| format!("{} does not answer as a Tickwell pod does", pod.url()))?;
                if page.next_cursor.is_some() && page.next_cursor == *cursor {
                    bail!("{} gives the same page again and again", pod.url());
                }
                (*ended, *cursor) = (page.next_cursor.is_none(), page.next_cursor);
                Ok(Some(page.items.into()))
            }
        }
    }

    /// The instant that no row lies behind.
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

    /// What it is a list of.
    pub(super) fn things(self) -> &'static str {
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
