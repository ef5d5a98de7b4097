//! `/v1/prices/{pair}/averages`: averages over windows that end with the pair's newest slot, or with an earlier one.

use std::sync::Arc;

use common::domain::{Pair, Ratio, Sequence, Span, Timestamp};
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
};
use rust_decimal::Decimal;

use super::{
    State, Tag,
    as_of::AsOf,
    contract::{Contract, MinSources},
    view,
};
use crate::{
    dto::{
        Averages, CoverageParameter, DerivedText, Json, PairParameter, PairText, PriceText, RatioParameter,
        SpanText, SpansText, TimeText, TimestampParameter, WindowItem, WindowLength, WindowText,
    },
    problem::{Code, Problem},
};
use ledger::{
    averages::WindowAverages,
    derived::LEAST_DECIMALS,
    snapshot::PairView,
    store::{Extent, Standing},
    summary::Summary,
};

/// The maximum number of windows in one request.
const MAX_WINDOWS: usize = 16;

/// If the windows are in memory, and medians and moving averages need at most this many ticks, computing them takes at
/// most a tenth of a millisecond, and usually some ten microseconds. That is about what handing them to another thread
/// takes, so no other request waits longer for them.
const MAX_INLINE_TICKS: u64 = 1_000;

/// A coverage of zero, with as many decimal places as any other coverage.
const NOTHING_COVERED: Decimal = Decimal::from_parts(0, 0, 0, false, LEAST_DECIMALS);

/// The window that is used if the request has none.
const DEFAULT_WINDOW: Span = Span::from_seconds(600);

/// The handler of averages.
pub struct AveragesApi(pub(super) Arc<State>);

#[OpenApi(prefix_path = "/v1", tag = "Tag::Prices")]
impl AveragesApi {
    /// Get averages of a pair over one or more windows
    ///
    /// A window of length `w` is `(end − w, end]`, where `end` is the pair's newest slot, or its newest slot at or
    /// before `to`. This slot may have a tick or be part of a gap. A window can reach back as far as history is kept.
    ///
    /// `max_age`, `min_sources` and `max_spread` apply to the pair's newest price. If this price does not meet all of
    /// them, the response is 503 `contract_not_met`, with the price as `newest`. So they cannot be combined with `to`.
    #[oai(path = "/prices/:pair/averages", method = "get", operation_id = "getAverages")]
    #[expect(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn averages(
        &self,
        /// The pair.
        pair: Path<PairParameter>,
        /// The windows, separated by commas. Each is at least one slot long and at most as long as history is kept.
        /// Default: `10m`.
        window: Query<Option<SpansText>>,
        /// End all windows with the pair's newest slot at or before this time. Default: the pair's newest slot.
        to: Query<Option<TimestampParameter>>,
        /// The share of each window that ticks must cover, such as `0.95` or `95%`. If ticks cover less of a window,
        /// the response is 503 `thin_window`. Default: any coverage.
        min_coverage: Query<Option<CoverageParameter>>,
        /// The maximum age of the pair's newest price, counted from its slot. Cannot be combined with `to`. Default:
        /// any age.
        max_age: Query<Option<SpanText>>,
        /// The minimum number of sources of the newest price. Cannot be combined with `to`. Default: any number.
        min_sources: Query<Option<MinSources>>,
        /// The maximum spread between the sources of the newest price, such as `0.005` or `0.5%`. Cannot be combined
        /// with `to`. Default: any spread.
        max_spread: Query<Option<RatioParameter>>,
        /// Use the log as it was at this position. Default: the newest position.
        at_sequence: AsOf,
    ) -> Result<Json<Averages>, Problem> {
        let pair = pair.0.value()?;
        let windows = window.0.map_or_else(|| vec![DEFAULT_WINDOW.into()], |windows| windows.0.0);
        if windows.len() > MAX_WINDOWS {
            let detail = format!("request at most {MAX_WINDOWS} windows, not {}", windows.len());
            return Err(Problem::parameter("window", detail));
        }
        let min_coverage = min_coverage.0.map(|ratio| ratio.0);
        if min_coverage.is_some_and(|ratio| ratio.decimal() > Decimal::ONE) {
            return Err(Problem::parameter("min_coverage", "must be at most 1, or 100%"));
        }
        let contract = Contract::of(max_age, min_sources, max_spread, &at_sequence);
        let to = to.0.map(|to| to.0);
        if let Some(parameter) = contract.parameter().filter(|_| to.is_some()) {
            return Err(about_the_past(parameter));
        }
        let (state, snapshot) = (self.0.clone(), at_sequence.snapshot);
        let newest = view(&snapshot, pair)?;
        contract.check(&state, &snapshot, pair, newest)?;
        let end = to.map_or(newest.slot.start(), |to| to.min(newest.slot.start()));
        let begins = |window: &WindowLength| end.minus(window.span.duration());
        let in_memory = windows.iter().all(|window| newest.window_since(begins(window)).is_some());
        let visited = |window: &WindowLength| state.scans.ticks_to_visit(pair, newest, window.span);
        let is_short = to.is_none()
            && windows
                .iter()
                .map(visited)
                .sum::<Option<u64>>()
                .is_some_and(|ticks| ticks <= MAX_INLINE_TICKS);
        let is_pinned = at_sequence.sequence.is_some();
        // A later slot cannot change windows that end with an earlier one.
        let is_past = to.is_some_and(|to| to <= newest.slot.start());
        at_sequence.lifetime.close_if(is_past);
        let is_final = is_pinned || is_past;
        let request = Requested { pair, windows, to, min_coverage, is_final };
        if is_short {
            return averages(&state, newest, &request).map(Json::of);
        }
        let workers = state.workers.clone();
        let work = move || averages(&state, view(&snapshot, pair)?, &request);
        workers.read_or_compute(!in_memory, work).await.map(Json::of)
    }
}

fn about_the_past(parameter: &'static str) -> Problem {
    let detail = format!(
        "{parameter} is a requirement for the pair's newest price, which says nothing about windows that end at `to`; omit \
         {parameter} or `to`. For windows in the past, min_coverage says how much of them must have prices"
    );
    Problem::parameter(parameter, detail)
}

/// A valid request.
struct Requested {
    pair: Pair,
    windows: Vec<WindowLength>,
    to: Option<Timestamp>,
    min_coverage: Option<Ratio>,
    /// Whether the response never changes, so that retrying does not help.
    is_final: bool,
}

fn averages(state: &State, newest: &PairView, requested: &Requested) -> Result<Averages, Problem> {
    let Requested { pair, windows, to, min_coverage, is_final } = requested;
    let (view, sequence) = match to {
        Some(to) => ending_at(state, newest, *pair, *to)?,
        None => (newest.clone(), Some(newest.sequence)),
    };
    let begin = state.history_from(newest);
    windows.iter().try_for_each(|window| check(state, &view, window.span, begin))?;
    let item = |window: &WindowLength| {
        let averages = state.scans.window(&state.store, *pair, &view, window.span)?;
        let item = item(*window, &averages);
        match min_coverage {
            Some(least) if item.coverage.0 < least.decimal() => Err(thin(&view, &item, *least, *is_final)),
            _ => Ok(item),
        }
    };
    let windows = windows.iter().map(item).collect::<Result<_, _>>()?;
    let (as_of, sequence) = (TimeText(view.slot.start()), sequence.map(|sequence| sequence.0).into());
    Ok(Averages { pair: PairText(*pair), as_of, sequence, windows })
}

/// The view of a pair as if its newest slot were the one at or before `to`, and the sequence of that slot's record.
/// Only what averages need is replaced.
fn ending_at(
    state: &State,
    newest: &PairView,
    pair: Pair,
    to: Timestamp,
) -> Result<(PairView, Option<Sequence>), Problem> {
    let extent = Extent { from: state.history_from(newest), newest: newest.slot };
    let instant = to.min(newest.slot.start());
    let (slot, interval, sequence) = match state.store.standing(pair, extent, instant)? {
        Standing::Tick(tick) => (tick.slot, tick.interval, Some(tick.sequence)),
        Standing::Gap { gap, .. } => {
            let slot = gap.interval.slot_at(instant).min(gap.slot);
            (slot, gap.interval, gap.recorded.map(|(sequence, _)| sequence))
        }
        Standing::BeforeHistory | Standing::Future => {
            let detail = format!("{to} is before the history of {pair}; use a later time");
            return Err(Problem::parameter("to", detail));
        }
    };
    Ok((PairView { slot, interval, ..newest.clone() }, sequence))
}

/// Checks the length of a window. `begin` is where history begins.
fn check(state: &State, view: &PairView, span: Span, begin: Timestamp) -> Result<(), Problem> {
    if span.duration() > state.retain_ticks {
        let limit = SpanText::of(state.retain_ticks).map_or_else(String::new, |limit| limit.0.to_string());
        let detail = format!("{span} is longer than the time for which history is kept, {limit}");
        return Err(Problem::parameter("window", detail));
    }
    if view.slot.start().minus(span.duration()) < begin {
        let detail = format!(
            "{span} up to {} begins before {begin}, and older history is not kept; use a shorter window or a later `to`",
            view.slot
        );
        return Err(Problem::parameter("window", detail));
    }
    if span.duration() < view.interval.duration() {
        let detail = format!("{span} is shorter than the interval between slots, {}", view.interval);
        return Err(Problem::parameter("window", detail));
    }
    Ok(())
}

fn thin(view: &PairView, window: &WindowItem, least: Ratio, is_final: bool) -> Problem {
    let detail = format!(
        "ticks cover {} of the window {}, less than {least}; use a lower min_coverage or another window",
        window.coverage.0, window.window.0
    );
    let problem = Problem::new(Code::ThinWindow, detail).naming("min_coverage");
    if is_final { problem } else { problem.retry_after(view.interval.duration().as_secs()) }
}

fn item(length: WindowLength, window: &WindowAverages) -> WindowItem {
    let span = length.span;
    let (from, to) = (window.from, window.to.start());
    let (of, scanned) = (window.summary.as_ref(), window.scanned);
    let gap = of.map(|summary| summary.largest_gap(from, to));
    WindowItem {
        window: WindowText(length),
        from: TimeText(from),
        to: TimeText(to),
        mean: of.map(|summary| DerivedText(summary.mean())).into(),
        twap: of.map(|summary| DerivedText(summary.twap())).into(),
        median: scanned.map(|scanned| DerivedText(scanned.median)).into(),
        ema: scanned.map(|scanned| DerivedText(scanned.ema)).into(),
        min: of.map(|summary| PriceText(summary.min.price)).into(),
        max: of.map(|summary| PriceText(summary.max.price)).into(),
        open: of.map(|summary| PriceText(summary.first.price)).into(),
        close: of.map(|summary| PriceText(summary.last.price)).into(),
        change: of.map(|summary| DerivedText(summary.change())).into(),
        change_ratio: of.and_then(Summary::change_ratio).map(DerivedText).into(),
        stddev: of.map(|summary| DerivedText(summary.stddev())).into(),
        expected: window.expected,
        observed: of.map_or(0, |summary| summary.count),
        backfilled: of.map_or(0, |summary| summary.backfilled),
        coverage: DerivedText(of.map_or(NOTHING_COVERED, |summary| summary.coverage(span.duration()))),
        largest_gap: gap.map_or(Some(SpanText(span)), SpanText::of).into(),
        complete: gap.is_some_and(|gap| gap.is_zero()),
    }
}
