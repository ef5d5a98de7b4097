//! What an amount of one asset is worth in another.

use std::{collections::BTreeSet, sync::Arc};

use common::domain::{Asset, Body};
use poem_openapi::{OpenApi, param::Query, payload::Json};

use super::{State, Tag, as_of::AsOf, contract::Contract, no_price_yet, view};
use crate::{
    dto::{
        AmountText, AssetText, Conversion, FromAssetText, LegItem, PairText, PriceText, RateText,
        RatioParameter, SpanText, TimeText, ToAssetText,
    },
    problem::{Code, Problem},
};
use ledger::{
    rate::{self, Amount, Fraction, Leg, Step},
    snapshot::{NewestTick, PairView, Snapshot},
};

/// Conversions.
pub struct ConvertApi(pub(super) Arc<State>);

#[OpenApi(prefix_path = "/v1", tag = "Tag::Prices")]
impl ConvertApi {
    /// What an amount of one asset is worth in another
    ///
    /// The rate is that of the pair of the two assets, either way round, or is made of two pairs that share an
    /// asset: of `ETH-USD` and `BTC-USD` for ETH in BTC. The fewest pairs are taken, and of several ways the first
    /// by the pairs' names. Both prices are of the same slot, the newest that both pairs have a tick for. If there
    /// is none within an hour before the older of their newest ticks, the answer is 503 `no_price_yet`.
    ///
    /// `max_age`, `min_sources` and `max_spread` ask something of both prices; if one does not meet it, the answer is
    /// 503 `contract_not_met`, with the newest price of its pair as `newest`.
    ///
    /// `rate` and `result` are each rounded once from the exact quotient, half-even, to eight decimal places, or to
    /// as many more as it takes to have twelve digits from the first that is not zero. `rate` times `amount` may so
    /// differ from `result` in its last digits; `result` is the one that is right.
    #[oai(path = "/convert", method = "get", operation_id = "convert")]
    #[expect(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn convert(
        &self,
        /// The asset that there is an amount of.
        from: Query<FromAssetText>,
        /// The asset that it is converted to; another one.
        to: Query<ToAssetText>,
        /// How much there is: above zero and below 10¹⁵, at most 18 decimal places and 28 digits in all; 1 if
        /// absent.
        amount: Query<Option<AmountText>>,
        /// How old the prices may be, such as `30s`.
        max_age: Query<Option<SpanText>>,
        /// How many sources must have made each price.
        min_sources: Query<Option<u64>>,
        /// How far the sources of each price may be apart, such as `0.5%`.
        max_spread: Query<Option<RatioParameter>>,
        /// The position in the log to answer as of; the newest, if absent.
        at_sequence: AsOf,
    ) -> Result<Json<Conversion>, Problem> {
        let contract = Contract::of(max_age, min_sources, max_spread, &at_sequence)?;
        let (from, to, snapshot) = (from.0.0, to.0.0, at_sequence.snapshot);
        let amount = amount.0.map_or(Amount::ONE, |amount| amount.0);
        let way = way(&snapshot, from, to)?;
        let legs = match rate::together(&snapshot, &way) {
            Some(legs) => legs,
            None => self.legs(snapshot.clone(), way).await?,
        };
        if contract.asks() {
            self.check(contract, snapshot.clone(), legs.clone()).await?;
        }
        conversion(&self.0, &snapshot, [from, to], amount, &legs).map(Json)
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
        self.0.readers.read(check).await
    }

    /// Looks for the newest slot that the pairs of a way share.
    async fn legs(&self, snapshot: Arc<Snapshot>, way: Vec<Step>) -> Result<Vec<Leg>, Problem> {
        let state = self.0.clone();
        let find =
            move || rate::legs(&state.store, &snapshot, &way)?.ok_or_else(|| not_together(&snapshot, &way));
        self.0.readers.read(find).await
    }
}

/// The tick of a leg, which is mostly the newest of its pair.
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

/// The first way whose pairs have prices.
fn way(snapshot: &Snapshot, from: Asset, to: Asset) -> Result<Vec<Step>, Problem> {
    if from == to {
        let detail = format!("{from} in {from} is no question of prices; name another asset");
        return Err(Problem::parameter("to", detail));
    }
    if snapshot.pairs.is_empty() {
        return Err(no_price_yet(None, None));
    }
    let mut ways = rate::ways(snapshot.pairs.keys(), from, to).peekable();
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
            Problem::new(Code::NoRate, format!("the log has no pair with {asset}; it has {names}"))
                .naming(parameter)
        }
        None => {
            let detail = format!(
                "no pair of the log, and no two that share an asset, lead from {from} to {to}; it has {names}"
            );
            Problem::new(Code::NoRate, detail)
        }
    }
}

/// Prices are there, but none of the same slot.
fn not_together(snapshot: &Snapshot, way: &[Step]) -> Problem {
    let names: Vec<String> = way.iter().map(|step| step.pair.to_string()).collect();
    let seconds =
        way.iter().filter_map(|step| snapshot.pairs.get(&step.pair)).map(|view| view.interval.duration());
    let detail = format!(
        "{} have no prices of the same slot in the last hour; ask for each by itself",
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
    let views = legs.iter().filter_map(|leg| snapshot.pairs.get(&leg.step.pair));
    let newest = views.map(|view| view.slot).max();
    let (Some(first), Some(newest)) = (legs.first(), newest) else { return Err(no_price_yet(None, None)) };
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
        origin: snapshot.origin.map_or_else(String::new, |origin| origin.to_string()),
        stale: state.is_past(snapshot, first.slot, newest),
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
