//! `/v1/prices/{pair}/at`: the prices at given times.

use std::sync::Arc;

use common::domain::{Pair, Timestamp};
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
};

use super::{State, Tag, as_of::AsOf, gaps, history, view};
use crate::{
    dto::{
        Json, Outcome, PairParameter, PairText, PriceAtItem, PriceText, PricesAt, TimeText, TimesParameter,
        Word,
    },
    problem::Problem,
};
use ledger::store::{Extent, Standing};

/// The handler of prices at given times.
pub struct AtApi(pub(super) Arc<State>);

#[OpenApi(prefix_path = "/v1", tag = "Tag::History")]
impl AtApi {
    /// Get the prices of a pair at one or more times
    ///
    /// For each time, the response has the tick of the pair's newest slot at or before that time. If that slot belongs
    /// to a gap, the response has the gap and the tick before it instead. Nothing is interpolated.
    ///
    /// A time after the pair's newest slot is in the `future`, even if it is in the past by the clock: the log may
    /// still get a slot at or before that time. All other items stay the same until they are past retention.
    #[oai(path = "/prices/:pair/at", method = "get", operation_id = "getPricesAt")]
    async fn prices_at(
        &self,
        /// The pair.
        pair: Path<PairParameter>,
        /// A time. Repeat the parameter for further times, up to 100. Each is answered separately, in the same order.
        time: Query<TimesParameter>,
        /// Use the log as it was at this position. Default: the newest position.
        at_sequence: AsOf,
    ) -> Result<Json<PricesAt>, Problem> {
        let (pair, times) = (pair.0.value()?, time.0.0);
        let (state, snapshot) = (self.0.clone(), at_sequence.snapshot);
        let view = view(&snapshot, pair)?;
        let extent = Extent { from: state.history_from(view), newest: view.slot };
        let is_final = |time: &Timestamp| (extent.from..=extent.newest.start()).contains(time);
        at_sequence.lifetime.close_if(times.iter().all(is_final));
        let workers = state.workers.clone();
        let items = workers.read(move || look_up(&state, pair, extent, &times)).await?;
        Ok(Json::of(PricesAt { pair: PairText(pair), items }))
    }
}

fn look_up(
    state: &State,
    pair: Pair,
    extent: Extent,
    times: &[Timestamp],
) -> Result<Vec<PriceAtItem>, Problem> {
    let found = times.iter().map(|time| Ok(item(*time, state.store.standing(pair, extent, *time)?)));
    found.collect()
}

fn item(time: Timestamp, standing: Standing) -> PriceAtItem {
    let (outcome, tick, gap, before) = match standing {
        Standing::Tick(tick) => (Outcome::Tick, Some(tick), None, None),
        Standing::Gap { gap, before } => (Outcome::Gap, None, Some(gap), before),
        Standing::BeforeHistory => (Outcome::BeforeHistory, None, None, None),
        Standing::Future => (Outcome::Future, None, None, None),
    };
    PriceAtItem {
        time: TimeText(time),
        outcome: Word(outcome),
        price: tick.map(|tick| PriceText(tick.price)).into(),
        slot: tick.map(|tick| TimeText(tick.slot.start())).into(),
        sequence: tick.map(|tick| tick.sequence.0).into(),
        backfilled: tick.and_then(|tick| tick.backfilled.then_some(true)),
        age_millis: tick.map(|tick| time.millis_since(tick.slot.start())).into(),
        gap: gap.map(gaps::item),
        before: before.map(|tick| history::item(tick.into())),
    }
}
