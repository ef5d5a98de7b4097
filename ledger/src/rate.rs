//! Rates: what one asset is worth in another, by the agreed price of one pair, or of two that share an asset.
//!
//! Which pairs, and of which slot, is a matter of the log alone. A rate is an exact fraction of prices; it is
//! rounded once, when it is told, and so is what it is multiplied with.

mod fraction;

use std::time::Duration;

use common::domain::{Asset, Pair, Price, Sequence, Slot};

pub use fraction::{Amount, AmountError, Fraction, Rounded, RoundedError};

use crate::{
    snapshot::{PairView, Snapshot},
    store::{Order, Store, StoreError},
};

/// How far two pairs may be apart: so far back from the older of their newest ticks a slot is looked for that
/// both have a tick for. Pairs of one log are polled together, so it is nearly always the first; an hour of the
/// shortest intervals is 36,000 ticks each, some milliseconds. Part of the contract and not a setting: two pods
/// must answer alike.
pub const REACH: Duration = Duration::from_secs(3_600);

/// A pair on the way from one asset to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// The pair.
    pub pair: Pair,
    /// Whether the way goes from its quote to its base, so that its price divides.
    pub inverted: bool,
}

/// A step with the price that it is taken at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// The step.
    pub step: Step,
    /// The price.
    pub price: Price,
    /// The slot it stands for, the same for all legs of a rate.
    pub slot: Slot,
    /// Its tick's position in the log.
    pub sequence: Sequence,
}

/// The ways from one asset to another, the preferred one first: of one pair, then of two, and by the names of the
/// pairs. `pairs` are in the order of their names.
pub fn ways<'a>(
    pairs: impl Iterator<Item = &'a Pair> + Clone,
    from: Asset,
    to: Asset,
) -> impl Iterator<Item = Vec<Step>> {
    let single = steps(pairs.clone(), from).filter(move |(_, end)| *end == to).map(|(step, _)| vec![step]);
    let double = steps(pairs.clone(), from).filter(move |(_, middle)| *middle != to).flat_map(
        move |(first, middle)| {
            let second = steps(pairs.clone(), middle).filter(move |(_, end)| *end == to);
            second.map(move |(second, _)| vec![first, second])
        },
    );
    single.chain(double)
}

/// Every step away from an asset, and where it leads.
fn steps<'a>(pairs: impl Iterator<Item = &'a Pair>, from: Asset) -> impl Iterator<Item = (Step, Asset)> {
    pairs.filter_map(move |pair| match pair.assets() {
        [base, quote] if base == from => Some((Step { pair: *pair, inverted: false }, quote)),
        [base, quote] if quote == from => Some((Step { pair: *pair, inverted: true }, base)),
        _ => None,
    })
}

/// The newest prices along a way, where all are of the same slot. Nothing is read for it.
pub fn together(snapshot: &Snapshot, way: &[Step]) -> Option<Vec<Leg>> {
    let legs = newest_of(snapshot, way)?;
    legs.iter().zip(legs.iter().skip(1)).all(|(one, next)| one.slot == next.slot).then_some(legs)
}

/// The prices along a way at the newest slot that all its pairs have a tick for; nothing where there is none
/// within [`REACH`]. May wait for the disk.
pub fn legs(store: &Store, snapshot: &Snapshot, way: &[Step]) -> Result<Option<Vec<Leg>>, StoreError> {
    match newest_of(snapshot, way).as_deref() {
        Some([one, other]) => common(store, *one, *other),
        newest => Ok(newest.map(<[Leg]>::to_vec)),
    }
}

fn newest_of(snapshot: &Snapshot, way: &[Step]) -> Option<Vec<Leg>> {
    way.iter().map(|step| newest(*step, snapshot.pairs.get(&step.pair)?)).collect()
}

fn newest(step: Step, view: &PairView) -> Option<Leg> {
    let newest = view.tick.as_ref()?;
    Some(Leg { step, price: newest.tick.price, slot: newest.tick.slot, sequence: newest.sequence })
}

/// The newest ticks of the same slot, at or before those given.
fn common(store: &Store, one: Leg, other: Leg) -> Result<Option<Vec<Leg>>, StoreError> {
    let end = one.slot.min(other.slot).start();
    let [mut ones, mut others] = [one, other].map(|leg| {
        let ticks = store.ticks(leg.step.pair, end.minus(REACH), end.next(), Order::Descending);
        ticks.map(move |tick| {
            tick.map(|tick| Leg {
                step: leg.step,
                price: tick.price,
                slot: tick.slot,
                sequence: tick.sequence,
            })
        })
    });
    let (mut one, mut other) = (ones.next().transpose()?, others.next().transpose()?);
    while let (Some(left), Some(right)) = (one, other) {
        if left.slot == right.slot {
            return Ok(Some(vec![left, right]));
        }
        if left.slot > right.slot {
            one = ones.next().transpose()?;
        } else {
            other = others.next().transpose()?;
        }
    }
    Ok(None)
}
