//! The newest price of a pair, as several routes return it.

use common::domain::{Origin, Pair, Verdict};

use super::State;
use crate::dto::{DerivedText, PairText, PriceItem, PriceText, SpanText, TimeText, Word};
use ledger::{
    snapshot::{PairView, Snapshot},
    summary::change_ratio,
};

/// The newest price of a pair, or `None` if the pair has no price yet.
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
        change_24h: change.map(DerivedText).into(),
        stale: state.is_stale(snapshot, pair, view),
        backfilled: newest.tick.backfilled.then_some(true),
        next_slot: TimeText(view.next_slot().start()),
    })
}

pub(super) fn interval(view: &PairView) -> SpanText {
    SpanText(view.interval.span())
}

/// The origin of a log that has records.
pub(super) fn origin(snapshot: &Snapshot) -> Word<Origin> {
    // The default is never used, because a log that has a record has an origin.
    Word(snapshot.origin.unwrap_or(Origin::Live))
}
