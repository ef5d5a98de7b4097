//! The newest prices and their averages.

use std::sync::Arc;

use common::domain::{Pair, Span, Verdict};
use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::Json,
};
use rust_decimal::Decimal;

use super::{State, Tag, no_price_yet, view};
use crate::{
    dto::{
        Averages, DerivedText, PairItem, PairParameter, PairText, Pairs, PriceItem, PriceText, Prices,
        SpanText, SpansText, TimeText, WindowItem,
    },
    problem::Problem,
    snapshot::{PairView, Snapshot},
    summary::{DERIVED_DECIMALS, change_ratio},
};

/// Windows one request may ask for.
const MAX_WINDOWS: usize = 16;

/// The window that is answered when none is asked for.
const DEFAULT_WINDOW: Span = Span::from_seconds(600);

/// Prices and averages.
pub struct PricesApi(pub(super) Arc<State>);

#[OpenApi(prefix_path = "/v1", tag = "Tag::Prices")]
impl PricesApi {
    /// The pairs of the log
    #[oai(path = "/pairs", method = "get", operation_id = "listPairs")]
    async fn pairs(&self, snapshot: Data<&Arc<Snapshot>>) -> Result<Json<Pairs>, Problem> {
        let snapshot = snapshot.0;
        let item = |(pair, view): (&Pair, &PairView)| PairItem {
            pair: PairText(*pair),
            slot: TimeText(view.slot.start()),
            sequence: view.sequence.0,
            interval: interval(view),
            origin: origin(snapshot),
            stale: self.0.is_stale(snapshot, view),
        };
        Ok(Json(Pairs { items: snapshot.pairs.iter().map(item).collect() }))
    }

    /// The newest price of each pair
    #[oai(path = "/prices", method = "get", operation_id = "listPrices")]
    async fn prices(&self, snapshot: Data<&Arc<Snapshot>>) -> Result<Json<Prices>, Problem> {
        let snapshot = snapshot.0;
        let items: Vec<PriceItem> =
            snapshot.pairs.iter().filter_map(|(pair, view)| self.price_item(snapshot, *pair, view)).collect();
        if items.is_empty() {
            return Err(no_price_yet(snapshot.pairs.values().next()));
        }
        Ok(Json(Prices { items }))
    }

    /// The newest price of a pair
    #[oai(path = "/prices/:pair", method = "get", operation_id = "getPrice")]
    async fn price(
        &self,
        snapshot: Data<&Arc<Snapshot>>,
        /// The pair.
        pair: Path<PairParameter>,
    ) -> Result<Json<PriceItem>, Problem> {
        let (snapshot, pair) = (snapshot.0, pair.0.value()?);
        let view = view(snapshot, pair)?;
        self.price_item(snapshot, pair, view).map(Json).ok_or_else(|| no_price_yet(Some(view)))
    }

    /// Averages of a pair over one or more windows
    ///
    /// A window of span `w` is `(to − w, to]`, where `to` is the pair's newest slot, tick or gap.
    #[oai(path = "/prices/:pair/averages", method = "get", operation_id = "getAverages")]
    async fn averages(
        &self,
        snapshot: Data<&Arc<Snapshot>>,
        /// The pair.
        pair: Path<PairParameter>,
        /// The windows, separated by commas; `10m` if absent. At least one slot long, at most what the
        /// server keeps.
        window: Query<Option<SpansText>>,
    ) -> Result<Json<Averages>, Problem> {
        let (snapshot, pair) = (snapshot.0, pair.0.value()?);
        let view = view(snapshot, pair)?;
        let spans = window.0.map_or_else(|| vec![DEFAULT_WINDOW], |spans| spans.0.0);
        if spans.len() > MAX_WINDOWS {
            return Err(Problem::parameter(
                "window",
                format!("at most {MAX_WINDOWS} windows, not {}", spans.len()),
            ));
        }
        let windows = spans.into_iter().map(|span| self.window(view, span)).collect::<Result<_, _>>()?;
        Ok(Json(Averages {
            pair: PairText(pair),
            as_of: TimeText(view.slot.start()),
            sequence: view.sequence.0,
            windows,
        }))
    }
}

impl PricesApi {
    fn price_item(&self, snapshot: &Snapshot, pair: Pair, view: &PairView) -> Option<PriceItem> {
        let newest = view.tick.as_ref()?;
        let used = newest.tick.evidence.quotes.iter().filter(|judged| judged.verdict == Verdict::Used);
        let change = view.day_ago.map(|then| change_ratio(then.price, newest.tick.price));
        Some(PriceItem {
            pair: PairText(pair),
            price: PriceText(newest.tick.price),
            slot: TimeText(newest.tick.slot.start()),
            sequence: newest.sequence.0,
            epoch: newest.epoch.0,
            origin: origin(snapshot),
            sources: used.map(|judged| judged.source.to_string()).collect(),
            spread: DerivedText(newest.tick.spread.decimal()),
            change_24h: change.map(DerivedText),
            stale: self.0.is_stale(snapshot, view),
            next_slot: TimeText(view.next_slot().start()),
        })
    }

    fn window(&self, view: &PairView, span: Span) -> Result<WindowItem, Problem> {
        if span.duration() > self.0.keep_windows {
            let limit =
                SpanText::of(self.0.keep_windows).map_or_else(String::new, |limit| limit.0.to_string());
            return Err(Problem::parameter(
                "window",
                format!("{span} is longer than the {limit} that are kept"),
            ));
        }
        if span.duration() < view.interval.duration() {
            let detail = format!("{span} is shorter than one slot of {}", view.interval);
            return Err(Problem::parameter("window", detail));
        }
        let (from, to) = (view.slot.start().minus(span.duration()), view.slot);
        let summary = view.window.summarize(from, to);
        let of = summary.as_ref();
        Ok(WindowItem {
            window: SpanText(span),
            from: TimeText(from),
            to: TimeText(to.start()),
            mean: of.map(|summary| DerivedText(summary.mean())),
            twap: of.map(|summary| DerivedText(summary.twap())),
            min: of.map(|summary| PriceText(summary.min)),
            max: of.map(|summary| PriceText(summary.max)),
            open: of.map(|summary| PriceText(summary.first.price)),
            close: of.map(|summary| PriceText(summary.last.price)),
            change: of.map(|summary| DerivedText(summary.change())),
            change_ratio: of.map(|summary| DerivedText(summary.change_ratio())),
            expected: span.millis().div_ceil(view.interval.millis()),
            observed: of.map_or(0, |summary| summary.count),
            coverage: DerivedText(of.map_or_else(no_coverage, |summary| summary.coverage(span.duration()))),
            largest_gap: match of {
                Some(summary) => SpanText::of(summary.largest_gap(from, to.start())),
                None => Some(SpanText(span)),
            },
        })
    }
}

/// Nothing of a window, in as many places as any part of it.
fn no_coverage() -> Decimal {
    Decimal::new(0, DERIVED_DECIMALS)
}

fn interval(view: &PairView) -> SpanText {
    SpanText(view.interval.span())
}

fn origin(snapshot: &Snapshot) -> String {
    snapshot.origin.map_or_else(String::new, |origin| origin.to_string())
}
