//! The newest prices.

use std::sync::Arc;

use common::domain::{Pair, Verdict};
use poem_openapi::{OpenApi, param::Path, payload::Json};

use super::{State, Tag, as_of::AsOf, no_price_yet, view};
use crate::{
    dto::{
        DerivedText, PairItem, PairParameter, PairText, Pairs, PriceItem, PriceText, Prices, SpanText,
        TimeText,
    },
    problem::Problem,
    snapshot::{PairView, Snapshot},
    summary::change_ratio,
};

/// The newest prices.
pub struct PricesApi(pub(super) Arc<State>);

#[OpenApi(prefix_path = "/v1", tag = "Tag::Prices")]
impl PricesApi {
    /// The pairs of the log
    ///
    /// Each with its newest slot, whether or not that slot has a price.
    #[oai(path = "/pairs", method = "get", operation_id = "listPairs")]
    async fn pairs(
        &self,
        /// The position in the log to answer as of; the newest, if absent.
        at_sequence: AsOf,
    ) -> Result<Json<Pairs>, Problem> {
        let snapshot = &at_sequence.snapshot;
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
    ///
    /// A price that is too old to be taken for the price now is answered all the same, with `stale: true`.
    #[oai(path = "/prices", method = "get", operation_id = "listPrices")]
    async fn prices(
        &self,
        /// The position in the log to answer as of; the newest, if absent.
        at_sequence: AsOf,
    ) -> Result<Json<Prices>, Problem> {
        let snapshot = &at_sequence.snapshot;
        let items: Vec<PriceItem> =
            snapshot.pairs.iter().filter_map(|(pair, view)| self.price_item(snapshot, *pair, view)).collect();
        if items.is_empty() {
            return Err(no_price_yet(snapshot.pairs.values().next()));
        }
        Ok(Json(Prices { items }))
    }

    /// The newest price of a pair
    ///
    /// A price that is too old to be taken for the price now is answered all the same, with `stale: true`.
    #[oai(path = "/prices/:pair", method = "get", operation_id = "getPrice")]
    async fn price(
        &self,
        /// The pair.
        pair: Path<PairParameter>,
        /// The position in the log to answer as of; the newest, if absent.
        at_sequence: AsOf,
    ) -> Result<Json<PriceItem>, Problem> {
        let (snapshot, pair) = (&at_sequence.snapshot, pair.0.value()?);
        let view = view(snapshot, pair)?;
        self.price_item(snapshot, pair, view).map(Json).ok_or_else(|| no_price_yet(Some(view)))
    }
}

impl PricesApi {
    fn price_item(&self, snapshot: &Snapshot, pair: Pair, view: &PairView) -> Option<PriceItem> {
        let newest = view.tick.as_ref()?;
        let used = newest.tick.evidence.quotes.iter().filter(|judged| judged.verdict == Verdict::Used);
        let change = view.day_ago.and_then(|then| change_ratio(then.price, newest.tick.price));
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
}

fn interval(view: &PairView) -> SpanText {
    SpanText(view.interval.span())
}

fn origin(snapshot: &Snapshot) -> String {
    snapshot.origin.map_or_else(String::new, |origin| origin.to_string())
}
