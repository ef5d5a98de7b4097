//! Rates: what one asset is worth in another. A rate is computed from the price of one pair, or of two that share an
//! asset.
//!
//! Which pairs and which slot are used depends only on the log. A rate is an exact fraction, and so is an amount that
//! was multiplied by a rate. Both are rounded once, when they are formatted.

mod fraction;

use std::time::Duration;

use common::domain::{Asset, Pair, Price, Sequence, Slot};

pub use fraction::{Amount, AmountError, Fraction, Rounded, RoundedError};

use crate::{
    snapshot::{PairView, Snapshot},
    store::{Order, Store, StoreError},
};

/// How far back to look for a slot in which both pairs have a tick, counted from the older of their newest ticks. The
/// pairs of a log are polled together, so the first slot nearly always has both. At worst, an hour of the shortest
/// interval is read, which is 36,000 ticks of each pair and takes a few milliseconds. This is a constant and not a
/// setting, because all pods must return the same results.
pub const REACH: Duration = Duration::from_secs(3_600);

/// One pair on the path from one asset to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// The pair.
    pub pair: Pair,
    /// Whether the step goes from the pair's quote asset to its base asset. If so, the rate is divided by the
    /// pair's price.
    pub inverted: bool,
}

/// A step and the price that is used for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// The step.
    pub step: Step,
    /// The price.
    pub price: Price,
    /// The slot of the price, which is the same for all legs of a rate.
    pub slot: Slot,
    /// The sequence of the price's tick.
    pub sequence: Sequence,
}

/// The paths from one asset to another, preferred ones first: those of one pair before those of two, and then in the
/// order of the pairs' names. `pairs` must be sorted by name.
pub fn paths<'a>(
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

/// Every step from an asset, with the asset that it leads to.
fn steps<'a>(pairs: impl Iterator<Item = &'a Pair>, from: Asset) -> impl Iterator<Item = (Step, Asset)> {
    pairs.filter_map(move |pair| match pair.assets() {
        [base, quote] if base == from => Some((Step { pair: *pair, inverted: false }, quote)),
        [base, quote] if quote == from => Some((Step { pair: *pair, inverted: true }, base)),
        _ => None,
    })
}

/// The newest prices along a path, if all of them have the same slot. Reads nothing from the store.
pub fn newest_legs(snapshot: &Snapshot, path: &[Step]) -> Option<Vec<Leg>> {
    let legs = newest_of(snapshot, path)?;
    legs.iter().zip(legs.iter().skip(1)).all(|(one, next)| one.slot == next.slot).then_some(legs)
}

/// The prices along a path at the newest slot in which all of its pairs have a tick. `None` if there is no such slot
/// within [`REACH`]. May read from disk.
pub fn legs_in_shared_slot(
    store: &Store,
    snapshot: &Snapshot,
    path: &[Step],
) -> Result<Option<Vec<Leg>>, StoreError> {
    match newest_of(snapshot, path).as_deref() {
        Some([one, other]) => common(store, *one, *other),
        newest => Ok(newest.map(<[Leg]>::to_vec)),
    }
}

fn newest_of(snapshot: &Snapshot, path: &[Step]) -> Option<Vec<Leg>> {
    path.iter().map(|step| newest(*step, snapshot.pairs.get(&step.pair)?)).collect()
}

fn newest(step: Step, view: &PairView) -> Option<Leg> {
    let newest = view.tick.as_ref()?;
    Some(Leg { step, price: newest.tick.price, slot: newest.tick.slot, sequence: newest.sequence })
}

/// The ticks of two pairs in the newest slot in which both have a tick. The search goes back from the given ticks,
/// which are the newest ones.
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
