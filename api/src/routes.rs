//! The routes of a pod, one file each, and the OpenAPI document.
//!
//! Each handler uses one snapshot, so that its response belongs to one sequence.

pub(crate) mod admin;
mod as_of;
mod at;
mod averages;
mod candles;
pub(crate) mod coingecko;
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
mod price_item;
mod prices;
mod rows;
mod sources;
mod streams;
pub(crate) mod tickets;
mod ticks;

use std::{sync::Arc, time::Duration};

use common::{
    clock::Clock,
    domain::{Pair, Sequence, Timestamp},
    readiness::Readiness,
    telemetry::LogFilter,
};
use poem_openapi::{LicenseObject, OpenApiService, ServerObject, Tags};
use prometheus::Registry;
use tokio::sync::watch;

use crate::{
    freshness::Freshness,
    problem::{Code, Problem},
    work::Workers,
};
use ledger::{
    averages::Scans,
    snapshot::{PairView, Snapshot},
    sources::Reports,
    store::Store,
};

pub(crate) use as_of::Pinned;
pub(crate) use coingecko::Coins;
pub(crate) use document::Document;
pub(crate) use format::accept_json;
pub(crate) use lifetime::Lifetime;
pub use operations::{Build, Operations};
pub(crate) use operations::{Side, errors};
pub(crate) use page::{ICON, NOT_YET, PAGE, PAGE_FILES, Page};
pub(crate) use paging::MAX_LIMIT;
pub use streams::Streams;
pub(crate) use streams::{IsStream, STREAM_PATHS, event_source, max_streams, shake_hands};

/// What the handlers share.
pub struct State {
    /// The newest snapshot.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// The store, which contains the history.
    pub store: Store,
    /// The clock, for the time of a backup.
    pub clock: Arc<dyn Clock>,
    /// Which prices are fresh.
    pub freshness: Arc<Freshness>,
    /// How far back ticks are kept in memory. `at_sequence` reaches back equally far.
    pub keep_windows: Duration,
    /// How far back responses include ticks.
    pub retain_ticks: Duration,
    /// How far back responses include quotes.
    pub retain_quotes: Duration,
    /// Limits how much work is done for requests at once.
    pub workers: Workers,
    /// Caches the averages that can only be computed by reading every tick of the window.
    pub scans: Scans,
    /// The open streams.
    pub streams: Streams,
    /// Caches the statistics of the sources.
    pub reports: Reports,
}

/// What the routes for operators report about a process.
#[derive(Clone)]
pub struct Process {
    /// Whether the process is ready, and the reason if it is not.
    pub readiness: Readiness,
    /// The metrics.
    pub registry: Registry,
    /// The version.
    pub build: Build,
    /// The filter of the log.
    pub log_filter: LogFilter,
    /// Whether the process has an admin listener. If so, only that listener serves the metrics.
    pub has_admin: bool,
}

/// The groups of routes in the OpenAPI document.
#[derive(Tags)]
enum Tag {
    /// The newest prices, averages and conversions.
    Prices,
    /// Past prices, candles and gaps.
    History,
    /// How prices were computed, and how the sources performed.
    Explanation,
    /// Ticks and gaps as they happen. `/v1/ws` sends the events of `/v1/stream` over a WebSocket, one text message each, and
    /// takes the same `pairs` and `after`: `new WebSocket('v1/ws?pairs=BTC-USD')`.
    Streams,
    /// The prices in CoinGecko's dialect, for programs that were written for CoinGecko.
    CoinGecko,
    /// For operators.
    Operations,
}

impl Tag {
    /// All groups in the order in which the document shows them. The framework would sort them by name.
    const SHOWN: [Self; 6] =
        [Self::Prices, Self::History, Self::Explanation, Self::Streams, Self::CoinGecko, Self::Operations];
}

/// The documented routes of a pod, in the order in which the document shows them.
pub type Apis = (
    prices::PricesApi,
    averages::AveragesApi,
    convert::ConvertApi,
    history::HistoryApi,
    candles::CandlesApi,
    gaps::GapsApi,
    at::AtApi,
    ticks::TicksApi,
    sources::SourcesApi,
    streams::StreamApi,
    streams::SocketApi,
    tickets::TicketsApi,
    coingecko::CoinGeckoApi,
    operations::OperationsApi,
);

/// The documented routes as the framework serves them.
pub type Service = OpenApiService<Apis, ()>;

/// Creates the documented routes of a pod.
pub(crate) fn service(state: &Arc<State>, process: &Process, coins: Coins) -> Service {
    let apis = (
        prices::PricesApi(state.clone()),
        averages::AveragesApi(state.clone()),
        convert::ConvertApi(state.clone()),
        history::HistoryApi(state.clone()),
        candles::CandlesApi(state.clone()),
        gaps::GapsApi(state.clone()),
        at::AtApi(state.clone()),
        ticks::TicksApi(state.clone()),
        sources::SourcesApi(state.clone()),
        streams::StreamApi(state.clone()),
        streams::SocketApi(state.clone()),
        tickets::TicketsApi(state.clone()),
        coingecko::CoinGeckoApi { state: state.clone(), coins: Arc::new(coins) },
        operations::OperationsApi(process.clone()),
    );
    OpenApiService::new(apis, "Tickwell", &process.build.version)
        .description(include_str!("routes/description.md"))
        .license(LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
        // Relative to the document, so that it is also right behind a proxy that removes a prefix of the path.
        .server(ServerObject::new(".").description("The pod that serves this document"))
}

impl State {
    /// The newest snapshot. Each request takes one and uses it throughout.
    pub fn newest_snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// The snapshot of an earlier sequence. Reads from the store only what the newest snapshot does not have.
    pub(crate) async fn snapshot_at(
        self: &Arc<Self>,
        newest: Arc<Snapshot>,
        sequence: Sequence,
    ) -> Result<Arc<Snapshot>, Problem> {
        if sequence == newest.sequence {
            return Ok(newest);
        }
        let state = self.clone();
        let workers = state.workers.clone();
        workers.read(move || Ok(Arc::new(newest.at(&state.store, sequence, state.keep_windows)?))).await
    }

    /// Where a pair's history begins: older records are past their retention.
    fn history_from(&self, view: &PairView) -> Timestamp {
        view.slot.start().minus(self.retain_ticks)
    }

    /// Whether the newest price of a pair is stale, or the pair has none.
    fn is_stale(&self, snapshot: &Snapshot, pair: Pair, view: &PairView) -> bool {
        let newest = view.tick.as_ref();
        newest.is_none_or(|newest| self.freshness.is_stale(snapshot, pair, view, newest.tick.slot))
    }
}

/// The state of a pair, or a problem that names the parameter `pair` if the log does not have the pair.
fn view(snapshot: &Snapshot, pair: Pair) -> Result<&PairView, Problem> {
    snapshot.pairs.get(&pair).ok_or_else(|| {
        if snapshot.pairs.is_empty() {
            return no_price_yet(None, None);
        }
        let known: Vec<String> = snapshot.pairs.keys().map(ToString::to_string).collect();
        let detail = format!(
            "the log has no pair {pair}; its pairs are {}. The operator of the service can add pairs to feed.pairs",
            known.join(", ")
        );
        Problem::new(Code::UnknownPair, detail).naming("pair")
    })
}

/// The `Retry-After` if it is not known when the next slot begins.
const RETRY_SECONDS: u64 = 10;

/// The problem that `pair` has no price yet or, if `pair` is `None`, that the log has no prices yet.
fn no_price_yet(pair: Option<Pair>, view: Option<&PairView>) -> Problem {
    let seconds = view.map_or(RETRY_SECONDS, |view| view.interval.duration().as_secs());
    let of = pair.map(|pair| format!(" of {pair}")).unwrap_or_default();
    let detail = format!(
        "there is no agreed price{of} yet; /readyz?verbose of the poller says why. If no source is reachable, `tickwell run \
         --demo` (in a checkout: `cargo run -- run --demo`) serves simulated prices"
    );
    Problem::new(Code::NoPriceYet, detail).retry_after(seconds)
}
