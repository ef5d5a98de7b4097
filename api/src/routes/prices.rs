//! The newest prices.

use std::sync::Arc;

use common::domain::{Pair, Verdict};
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::Json,
};

use super::{State, Tag, as_of::AsOf, contract::Contract, no_price_yet, view};
use crate::{
    dto::{
        DerivedText, PairItem, PairParameter, PairText, Pairs, PairsParameter, PriceItem, PriceText, Prices,
        RatioParameter, SpanText, TimeText,
    },
    problem::Problem,
};
use ledger::{
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

    /// The newest price of each pair, or of some
    ///
    /// With `max_age`, `min_sources` or `max_spread`, all that are listed must meet it. If one does not, the answer
    /// is 503 `contract_not_met`, with that price as `newest`.
    #[oai(path = "/prices", method = "get", operation_id = "listPrices")]
    async fn prices(
        &self,
        /// The pairs, separated by commas, which are answered in this order; all that have a price, if absent.
        pairs: Query<Option<PairsParameter>>,
        /// How long ago the price's slot may be; any time, if absent.
        max_age: Query<Option<SpanText>>,
        /// How many sources the price must be made of; any number, if absent.
        min_sources: Query<Option<u64>>,
        /// How far apart these may be, such as `0.005` or `0.5%`; any distance, if absent.
        max_spread: Query<Option<RatioParameter>>,
        /// The position in the log to answer as of; the newest, if absent.
        at_sequence: AsOf,
    ) -> Result<Json<Prices>, Problem> {
        let (state, snapshot) = (&self.0, &at_sequence.snapshot);
        let contract = Contract::of(max_age, min_sources, max_spread, &at_sequence)?;
        let asked = pairs.0.map(|pairs| pairs.0.0);
        let views: Vec<(Pair, &PairView)> = match &asked {
            Some(pairs) => {
                let named = |pair: &Pair| {
                    let view = view(snapshot, *pair).map_err(|problem| problem.naming("pairs"))?;
                    if view.tick.is_none() {
                        Err(no_price_yet(Some(*pair), Some(view)))
                    } else {
                        Ok((*pair, view))
                    }
                };
                pairs.iter().map(named).collect::<Result<_, _>>()?
            }
            None => {
                let all = snapshot.pairs.iter().map(|(pair, view)| (*pair, view));
                all.filter(|(_, view)| view.tick.is_some()).collect()
            }
        };
        views.iter().try_for_each(|(pair, view)| contract.check(state, snapshot, *pair, view))?;
        let item = |(pair, view): (Pair, &PairView)| price_item(state, snapshot, pair, view);
        let items: Vec<PriceItem> = views.into_iter().filter_map(item).collect();
        if items.is_empty() {
            return Err(no_price_yet(None, snapshot.pairs.values().next()));
        }
        Ok(Json(Prices { items }))
    }

    /// The newest price of a pair
    ///
    /// With `max_age`, `min_sources` or `max_spread`, it is answered only if it meets all of them. If it does not,
    /// the answer is 503 `contract_not_met`, with the price as `newest`. Without them, a price that is too old to be
    /// taken for the price now says so: `stale`.
    #[oai(path = "/prices/:pair", method = "get", operation_id = "getPrice")]
    async fn price(
        &self,
        /// The pair.
        pair: Path<PairParameter>,
        /// How long ago the price's slot may be; any time, if absent.
        max_age: Query<Option<SpanText>>,
        /// How many sources the price must be made of; any number, if absent.
        min_sources: Query<Option<u64>>,
        /// How far apart these may be, such as `0.005` or `0.5%`; any distance, if absent.
        max_spread: Query<Option<RatioParameter>>,
        /// The position in the log to answer as of; the newest, if absent.
        at_sequence: AsOf,
    ) -> Result<Json<PriceItem>, Problem> {
        let contract = Contract::of(max_age, min_sources, max_spread, &at_sequence)?;
        let (state, snapshot, pair) = (&self.0, &at_sequence.snapshot, pair.0.value()?);
        let view = view(snapshot, pair)?;
        contract.check(state, snapshot, pair, view)?;
        price_item(state, snapshot, pair, view).map(Json).ok_or_else(|| no_price_yet(Some(pair), Some(view)))
    }
}

/// The newest price of a pair, where it has one.
pub(super) fn price_item(
    state: &State,
    snapshot: &Snapshot,
    pair: Pair,
    view: &PairView,
) -> Option<PriceItem> {
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
        stale: state.is_stale(snapshot, view),
        next_slot: TimeText(view.next_slot().start()),
    })
}

fn interval(view: &PairView) -> SpanText {
    SpanText(view.interval.span())
}

fn origin(snapshot: &Snapshot) -> String {
    snapshot.origin.map_or_else(String::new, |origin| origin.to_string())
}
