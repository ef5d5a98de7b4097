//! The questions that can be asked.
//!
//! A handler takes one snapshot and answers from it alone, so that an answer belongs to one sequence.

pub(crate) mod admin;
mod as_of;
mod averages;
mod candles;
mod contract;
mod convert;
mod document;
mod format;
mod gaps;
mod history;
mod lifetime;
mod operations;
mod page;
mod paging;
mod prices;
mod reading;
mod sources;
mod streams;
mod ticks;

use std::{sync::Arc, time::Duration};

use common::{
    clock::Clock,
    domain::{Origin, Pair, Sequence, Slot, Timestamp},
    readiness::Readiness,
};
use poem_openapi::{LicenseObject, OpenApiService, ServerObject, Tags};
use prometheus::Registry;
use tokio::sync::watch;

use crate::problem::{Code, Problem};
use ledger::{
    averages::Scans,
    snapshot::{PairView, Snapshot},
    sources::Reports,
    store::Store,
};

pub(crate) use as_of::Pinned;
pub(crate) use document::Document;
pub(crate) use lifetime::Lifetime;
pub use operations::{Build, Operations};
pub(crate) use operations::{errors, metrics_route};
pub(crate) use page::{ICON, NOT_YET, PAGE, PAGE_FILES, Page};
pub use reading::Readers;
pub use streams::Streams;

/// What every handler can use.
pub struct State {
    /// The newest snapshots.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// History.
    pub store: Store,
    /// The time, for fresh or stale and nothing else.
    pub clock: Arc<dyn Clock>,
    /// After how long without a tick a price is stale.
    pub stale_after: Duration,
    /// How far back ticks are in memory, and how far back answers can be pinned.
    pub keep_windows: Duration,
    /// How far back ticks are answered.
    pub retain_ticks: Duration,
    /// How far back quotes are answered.
    pub retain_quotes: Duration,
    /// The places for those who read from the store.
    pub readers: Readers,
    /// The averages that took a look at every tick.
    pub scans: Scans,
    /// The clients that follow the log.
    pub streams: Streams,
    /// What was found out about the sources.
    pub reports: Reports,
}

/// What operators ask about a process.
#[derive(Clone)]
pub struct Process {
    /// Whether it is ready, and why not.
    pub readiness: Readiness,
    /// What it counts.
    pub registry: Registry,
    /// What it is.
    pub build: Build,
}

#[derive(Tags)]
enum Tag {
    /// The newest prices and their averages.
    Prices,
    /// Earlier prices, and where there are none.
    History,
    /// Why a price was what it was.
    Explanation,
    /// Every tick and gap as it happens.
    Streams,
    /// For those who run it.
    Operations,
}

/// The documented routes of a pod.
pub type Service = OpenApiService<
    (
        prices::PricesApi,
        averages::AveragesApi,
        convert::ConvertApi,
        history::HistoryApi,
        candles::CandlesApi,
        gaps::GapsApi,
        ticks::TicksApi,
        streams::StreamApi,
        streams::SocketApi,
        sources::SourcesApi,
        operations::OperationsApi,
    ),
    (),
>;

/// The documented routes of a pod, ready to be served.
pub fn service(state: &Arc<State>, process: &Process) -> Service {
    let apis = (
        prices::PricesApi(state.clone()),
        averages::AveragesApi(state.clone()),
        convert::ConvertApi(state.clone()),
        history::HistoryApi(state.clone()),
        candles::CandlesApi(state.clone()),
        gaps::GapsApi(state.clone()),
        ticks::TicksApi(state.clone()),
        streams::StreamApi(state.clone()),
        streams::SocketApi(state.clone()),
        sources::SourcesApi(state.clone()),
        operations::OperationsApi(process.clone()),
    );
    OpenApiService::new(apis, "Tickwell", &process.build.version)
        .description(include_str!("routes/description.md"))
        .license(LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
        .server(ServerObject::new("/").description("The pod that this document is from"))
}

impl State {
    /// The newest snapshot; each request takes one and keeps to it.
    pub fn newest_snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// The snapshot of an earlier sequence. Only what is not told about a newer one is read again.
    pub(crate) async fn snapshot_at(
        self: &Arc<Self>,
        newest: Arc<Snapshot>,
        sequence: Sequence,
    ) -> Result<Arc<Snapshot>, Problem> {
        if sequence == newest.sequence {
            return Ok(newest);
        }
        let state = self.clone();
        let readers = state.readers.clone();
        readers.read(move || Ok(Arc::new(newest.at(&state.store, sequence, state.keep_windows)?))).await
    }

    /// From when on a pair's history is told.
    fn history_from(&self, view: &PairView) -> Timestamp {
        view.slot.start().minus(self.retain_ticks)
    }

    fn is_stale(&self, snapshot: &Snapshot, view: &PairView) -> bool {
        view.tick.as_ref().is_none_or(|newest| self.is_past(snapshot, newest.tick.slot, view.slot))
    }

    /// Whether the price of a slot is too old to be taken for the price now. `newest` is the newest slot of the
    /// pairs in question.
    fn is_past(&self, snapshot: &Snapshot, slot: Slot, newest: Slot) -> bool {
        self.now(snapshot, newest).since(slot.start()) > self.stale_after
    }

    /// The instant by which the age of a price is told, where `newest` is the newest slot of the pairs in question.
    fn now(&self, snapshot: &Snapshot, newest: Slot) -> Timestamp {
        match snapshot.origin {
            // A recording is over long since; what passes is its own time.
            Some(Origin::Replay) => newest.start(),
            _ => self.clock.now(),
        }
    }
}

/// A pair of the log, or why there is none. Most routes are asked for it as `pair`.
fn view(snapshot: &Snapshot, pair: Pair) -> Result<&PairView, Problem> {
    snapshot.pairs.get(&pair).ok_or_else(|| {
        if snapshot.pairs.is_empty() {
            return no_price_yet(None, None);
        }
        let known: Vec<String> = snapshot.pairs.keys().map(ToString::to_string).collect();
        Problem::new(Code::UnknownPair, format!("the log has no pair {pair}; it has {}", known.join(", ")))
            .naming("pair")
    })
}

/// How long to wait before asking again, where nothing says when the next slot is.
const RETRY_SECONDS: u64 = 10;

/// There is no price of a pair, or of any.
fn no_price_yet(pair: Option<Pair>, view: Option<&PairView>) -> Problem {
    let seconds = view.map_or(RETRY_SECONDS, |view| view.interval.duration().as_secs());
    let of = pair.map(|pair| format!(" of {pair}")).unwrap_or_default();
    let detail = format!(
        "no price{of} has been agreed yet; /readyz?verbose says why. Without reachable sources, \
         `tickwell run --demo` (in a checkout: `cargo run -- run --demo`) shows a simulated market"
    );
    Problem::new(Code::NoPriceYet, detail).retry_after(seconds)
}
