//! `/v1/prices/{pair}`, `/v1/prices` and `/v1/pairs`: the newest prices, and the pairs in the log.

use std::sync::Arc;

use common::domain::Pair;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
};

use super::{
    State, Tag,
    as_of::AsOf,
    contract::{Contract, MinSources},
    no_price_yet,
    price_item::{interval, origin, price_item},
    view,
};
use crate::{
    dto::{
        Json, PairItem, PairParameter, PairText, Pairs, PairsParameter, PriceItem, Prices, RatioParameter,
        SpanText, TimeText,
    },
    problem::Problem,
};
use ledger::snapshot::PairView;

/// The handler of pairs and newest prices.
pub struct PricesApi(pub(super) Arc<State>);

#[OpenApi(prefix_path = "/v1", tag = "Tag::Prices")]
impl PricesApi {
    /// Get the newest price of a pair
    ///
    /// With `max_age`, `min_sources` or `max_spread`, the price is returned only if it meets all of them. Otherwise the
    /// response is 503 `contract_not_met`, with the price as `newest`. Without these parameters, the price is always
    /// returned, with `stale: true` if it is too old to count as the current price.
    #[oai(path = "/prices/:pair", method = "get", operation_id = "getPrice")]
    async fn price(
        &self,
        /// The pair.
        pair: Path<PairParameter>,
        /// The maximum age of the price, counted from its slot. Default: any age.
        max_age: Query<Option<SpanText>>,
        /// The minimum number of sources of the price. Default: any number.
        min_sources: Query<Option<MinSources>>,
        /// The maximum spread between the sources of the price, such as `0.005` or `0.5%`. Default: any spread.
        max_spread: Query<Option<RatioParameter>>,
        /// Use the log as it was at this position. Default: the newest position.
        at_sequence: AsOf,
    ) -> Result<Json<PriceItem>, Problem> {
        let contract = Contract::of(max_age, min_sources, max_spread, &at_sequence);
        let (state, snapshot, pair) = (&self.0, &at_sequence.snapshot, pair.0.value()?);
        let view = view(snapshot, pair)?;
        contract.check(state, snapshot, pair, view)?;
        price_item(state, snapshot, pair, view)
            .map(Json::of)
            .ok_or_else(|| no_price_yet(Some(pair), Some(view)))
    }

    /// Get the newest prices of all pairs, or of selected pairs
    ///
    /// `max_age`, `min_sources` and `max_spread` apply to every listed price. If one price does not meet them, the
    /// response is 503 `contract_not_met`, with that price as `newest`.
    #[oai(path = "/prices", method = "get", operation_id = "listPrices")]
    async fn prices(
        &self,
        /// The pairs to return, separated by commas, in this order. Default: all pairs that have a price.
        pairs: Query<Option<PairsParameter>>,
        /// The maximum age of each price, counted from its slot. Default: any age.
        max_age: Query<Option<SpanText>>,
        /// The minimum number of sources of each price. Default: any number.
        min_sources: Query<Option<MinSources>>,
        /// The maximum spread between the sources of each price, such as `0.005` or `0.5%`. Default: any spread.
        max_spread: Query<Option<RatioParameter>>,
        /// Use the log as it was at this position. Default: the newest position.
        at_sequence: AsOf,
    ) -> Result<Json<Prices>, Problem> {
        let (state, snapshot) = (&self.0, &at_sequence.snapshot);
        let contract = Contract::of(max_age, min_sources, max_spread, &at_sequence);
        let requested = pairs.0.map(|pairs| pairs.0.0);
        let views: Vec<(Pair, &PairView)> = match &requested {
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
        Ok(Json::of(Prices { items }))
    }

    /// List the pairs in the log
    ///
    /// Each pair comes with its newest slot, whether or not that slot has a price.
    #[oai(path = "/pairs", method = "get", operation_id = "listPairs")]
    async fn pairs(
        &self,
        /// Use the log as it was at this position. Default: the newest position.
        at_sequence: AsOf,
    ) -> Result<Json<Pairs>, Problem> {
        let snapshot = &at_sequence.snapshot;
        let item = |(pair, view): (&Pair, &PairView)| PairItem {
            pair: PairText(*pair),
            slot: TimeText(view.slot.start()),
            sequence: view.sequence.0,
            interval: interval(view),
            origin: origin(snapshot),
            stale: self.0.is_stale(snapshot, *pair, view),
        };
        Ok(Json::of(Pairs { items: snapshot.pairs.iter().map(item).collect() }))
    }
}
