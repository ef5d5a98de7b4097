//! `/v1/convert`: the value of an amount of one asset in another.

use std::{collections::BTreeSet, sync::Arc};

use common::domain::{Asset, Body};
use poem_openapi::{OpenApi, param::Query};

use super::{
    State, Tag,
    as_of::AsOf,
    contract::{Contract, MinSources},
    no_price_yet,
    price_item::origin,
    view,
};
use crate::{
    dto::{
        AmountParameter, AmountText, AssetText, Conversion, FromAssetText, Json, LegItem, PairText,
        PriceText, RateText, RatioParameter, SpanText, TimeText, ToAssetText,
    },
    problem::{Code, Problem},
};
use ledger::{
    rate::{self, Amount, Fraction, Leg, Step},
    snapshot::{NewestTick, PairView, Snapshot},
};

/// The handler of conversions.
pub struct ConvertApi(pub(super) Arc<State>);

#[OpenApi(prefix_path = "/v1", tag = "Tag::Prices")]
impl ConvertApi {
    /// Convert an amount of one asset to another
    ///
    /// The rate is computed from the price of the pair of the two assets, in either direction. If that pair does not
    /// exist or has no price yet, the rate is computed from two pairs that share an asset: `ETH-USD` and `BTC-USD` give
    /// ETH in BTC. If several combinations of two pairs are possible, the first one in the order of their names is
    /// used. The two prices belong to the same slot: the newest slot in which both pairs have a tick. If the pairs have
    /// no common slot within one hour before the older of their newest ticks, the response is 503 `no_price_yet`.
    ///
    /// `max_age`, `min_sources` and `max_spread` apply to each price that is used. If a price does not meet all of
    /// them, the response is 503 `contract_not_met`, with the newest price of that price's pair as `newest`.
    ///
    /// `rate` and `result` are each computed exactly and rounded once, half-even. They have eight decimal places, or
    /// more if they are needed for twelve significant digits. So `rate` times `amount` may differ from `result` in the
    /// last digits; `result` is the correct value.
    #[oai(path = "/convert", method = "get", operation_id = "convert")]
    #[expect(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn convert(
        &self,
        /// The asset to convert from.
        from: Query<FromAssetText>,
        /// The asset to convert to. It must differ from `from`.
        to: Query<ToAssetText>,
        /// The amount to convert: above zero and below 10¹⁵, with at most 18 decimal places and 28 digits in all.
        /// Default: 1.
        amount: Query<Option<AmountParameter>>,
        /// The maximum age of the prices, counted from their slot. Default: any age.
        max_age: Query<Option<SpanText>>,
        /// The minimum number of sources of each price. Default: any number.
        min_sources: Query<Option<MinSources>>,
        /// The maximum spread between the sources of each price, such as `0.005` or `0.5%`. Default: any spread.
        max_spread: Query<Option<RatioParameter>>,
        /// Use the log as it was at this position. Default: the newest position.
        at_sequence: AsOf,
    ) -> Result<Json<Conversion>, Problem> {
        let contract = Contract::of(max_age, min_sources, max_spread, &at_sequence);
        let AsOf { snapshot, lifetime, .. } = at_sequence;
        let (from, to) = (from.0.0, to.0.0);
        let amount = amount.0.map_or(Amount::ONE, |amount| amount.0);
        let way = way(&snapshot, from, to)?;
        let legs = match rate::newest_legs(&snapshot, &way) {
            Some(legs) => legs,
            None => self.legs(snapshot.clone(), way).await?,
        };
        if !contract.is_empty() {
            self.check(contract, snapshot.clone(), legs.clone()).await?;
        }
        // Caches must not return the conversion as fresh once its slot, which may be an earlier one, is stale.
        for leg in &legs {
            let (pair, view) = (leg.step.pair, view(&snapshot, leg.step.pair)?);
            if let Some(time) = self.0.freshness.steady_for(&snapshot, pair, view, leg.slot) {
                lifetime.end_after(time);
            }
        }
        conversion(&self.0, &snapshot, [from, to], amount, &legs).map(Json::of)
    }
}

impl ConvertApi {
    /// Refuses prices that do not meet the contract.
    async fn check(
        &self,
        contract: Contract,
        snapshot: Arc<Snapshot>,
        legs: Vec<Leg>,
    ) -> Result<(), Problem> {
        let state = self.0.clone();
        let check = move || {
            legs.iter().try_for_each(|leg| {
                let pair = leg.step.pair;
                let view = view(&snapshot, pair)?;
                let tick = tick(&state, view, leg)?.ok_or_else(|| no_price_yet(Some(pair), Some(view)))?;
                contract.check_tick(&state, &snapshot, pair, view, &tick)
            })
        };
        self.0.workers.read(check).await
    }

    /// Finds the newest slot in which all pairs of a path have a tick.
    async fn legs(&self, snapshot: Arc<Snapshot>, way: Vec<Step>) -> Result<Vec<Leg>, Problem> {
        let state = self.0.clone();
        let find = move || {
            rate::legs_in_shared_slot(&state.store, &snapshot, &way)?
                .ok_or_else(|| not_together(&snapshot, &way))
        };
        self.0.workers.read(find).await
    }
}

/// The tick of a leg. It is usually the newest tick of its pair, which is in memory.
fn tick(state: &State, view: &PairView, leg: &Leg) -> Result<Option<Arc<NewestTick>>, Problem> {
    if let Some(newest) = view.tick.as_ref().filter(|newest| newest.sequence == leg.sequence) {
        return Ok(Some(newest.clone()));
    }
    let record = state.store.record(leg.sequence)?;
    Ok(record.and_then(|record| match record.body {
        Body::Tick(tick) => Some(Arc::new(NewestTick { sequence: leg.sequence, epoch: record.epoch, tick })),
        _ => None,
    }))
}

/// Finds the pairs to convert with: the first path whose pairs all have prices.
pub(super) fn way(snapshot: &Snapshot, from: Asset, to: Asset) -> Result<Vec<Step>, Problem> {
    if from == to {
        let detail = format!("from and to are both {from}; use two different assets");
        return Err(Problem::parameter("to", detail));
    }
    if snapshot.pairs.is_empty() {
        return Err(no_price_yet(None, None));
    }
    let mut ways = rate::paths(snapshot.pairs.keys(), from, to).peekable();
    if ways.peek().is_none() {
        return Err(no_rate(snapshot, from, to));
    }
    let view = |step: &Step| snapshot.pairs.get(&step.pair);
    let priced = |step: &Step| view(step).is_some_and(|view| view.tick.is_some());
    let unpriced = ways.peek().and_then(|way| way.iter().find(|step| !priced(step)));
    let unpriced = no_price_yet(unpriced.map(|step| step.pair), unpriced.and_then(view));
    ways.find(|way| way.iter().all(priced)).ok_or(unpriced)
}

fn no_rate(snapshot: &Snapshot, from: Asset, to: Asset) -> Problem {
    let known: BTreeSet<Asset> = snapshot.pairs.keys().flat_map(|pair| pair.assets()).collect();
    let names: Vec<String> = known.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    let unknown = [("from", from), ("to", to)].into_iter().find(|(_, asset)| !known.contains(asset));
    match unknown {
        Some((parameter, asset)) => {
            Problem::new(Code::NoRate, format!("the log has no pair with {asset}; its assets are {names}"))
                .naming(parameter)
        }
        None => {
            let detail = format!(
                "the log has neither a pair of {from} and {to} nor two pairs that connect them; its assets are {names}"
            );
            Problem::new(Code::NoRate, detail)
        }
    }
}

/// The problem for pairs that have prices, but not in the same slot.
fn not_together(snapshot: &Snapshot, way: &[Step]) -> Problem {
    let names: Vec<String> = way.iter().map(|step| step.pair.to_string()).collect();
    let seconds =
        way.iter().filter_map(|step| snapshot.pairs.get(&step.pair)).map(|view| view.interval.duration());
    let detail = format!(
        "{} have no prices in the same slot within the last hour; request each price separately",
        names.join(" and ")
    );
    Problem::new(Code::NoPriceYet, detail).retry_after(seconds.max().unwrap_or_default().as_secs())
}

fn conversion(
    state: &State,
    snapshot: &Snapshot,
    [from, to]: [Asset; 2],
    amount: Amount,
    legs: &[Leg],
) -> Result<Conversion, Problem> {
    let Some(first) = legs.first() else { return Err(no_price_yet(None, None)) };
    let is_stale = |leg: &Leg| {
        let view = snapshot.pairs.get(&leg.step.pair);
        view.is_none_or(|view| state.freshness.is_stale(snapshot, leg.step.pair, view, leg.slot))
    };
    let sequence = legs.iter().map(|leg| leg.sequence).max().unwrap_or_default();
    let rate = Fraction::of(legs);
    Ok(Conversion {
        from: AssetText(from),
        to: AssetText(to),
        amount: AmountText(amount),
        rate: RateText(rate.rounded()),
        result: RateText(rate.amount(amount).rounded()),
        slot: TimeText(first.slot.start()),
        sequence: sequence.0,
        legs: legs.iter().map(item).collect(),
        origin: origin(snapshot),
        stale: legs.iter().any(is_stale),
    })
}

fn item(leg: &Leg) -> LegItem {
    LegItem {
        pair: PairText(leg.step.pair),
        price: PriceText(leg.price),
        slot: TimeText(leg.slot.start()),
        sequence: leg.sequence.0,
        inverted: leg.step.inverted,
    }
}
