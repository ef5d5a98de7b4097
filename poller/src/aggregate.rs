//! Turns quotes into a tick or a gap: a pure function of quotes, policy and slot.
//!
//! 1. Quotes of shadow sources are not used.
//! 2. Failed, stale and frozen quotes, and those from the future, are dropped. A quote is frozen if nothing of
//!    it has changed for `frozen_after` and the median of its live peers has moved away from it. A quote that
//!    stands still because its market does is not contradicted by its peers.
//! 3. Quotes further than `max_deviation` from the median of the remaining quotes are outliers.
//! 4. While the quotes that remain are still further apart than `max_deviation`, the one farthest from their
//!    median becomes an outlier too. This ends if the lowest and the highest quote are equally far from the median,
//!    or if less than a majority of the quotes that step 3 compared, or fewer than `min_sources`, would remain.
//! 5. At least `min_sources` quotes must remain, and their spread must be within `max_deviation`.
//! 6. The price is the median of the remaining quotes. If their number is even, it is the exact midpoint of
//!    the two in the middle.
//!
//! Quotes are not compared with earlier prices. So the price follows a real crash on all venues at once, and a
//! wrong price cannot cause correct ones after it to be rejected. The result contains all input, including the
//! policy, so that anyone can recompute it.

pub mod recompute;

use common::domain::{
    AgeRule, Body, Evidence, Gap, GapCause, Interval, Judged, Observation, Policy, Price, Quote, Ratio, Slot,
    Tick, Verdict,
};

/// Turns the quotes of a slot into a tick, or into a gap if there is no agreement.
pub fn aggregate(quotes: &[Quote], policy: &Policy, slot: Slot, interval: Interval) -> Body {
    let first_verdicts: Vec<Option<Verdict>> =
        quotes.iter().map(|quote| reject(quote, quotes, policy, slot)).collect();
    let candidates = prices(quotes, &first_verdicts);
    let needed = usize::try_from(policy.min_sources.max(1)).unwrap_or(usize::MAX);

    let Some(center) = median(&candidates) else {
        return gap(quotes, first_verdicts, policy, slot, interval, GapCause::TooFewSources);
    };
    let near = |price: Price| policy.max_deviation.admits(price, center, center);
    let mut verdicts = first_verdicts;
    mark_outliers(quotes, &mut verdicts, |price| !near(price));
    // If less than a majority remained, the outliers could be a larger group that agrees on another price.
    let least = needed.max(candidates.len() / 2 + 1);
    while let Some(farthest) = farthest_out(&prices(quotes, &verdicts), policy, least) {
        mark_outliers(quotes, &mut verdicts, |price| price == farthest);
    }
    let used = prices(quotes, &verdicts);

    let agreed = median(&used).filter(|_| used.len() >= needed).zip(used.first().zip(used.last()));
    match agreed {
        Some((price, (low, high))) if policy.max_deviation.admits(*low, *high, price) => Body::Tick(Tick {
            slot,
            interval,
            price,
            spread: Ratio::distance(*low, *high, price),
            backfilled: false,
            evidence: evidence(quotes, verdicts, Verdict::Used, policy),
        }),
        _ => {
            let enough = candidates.len() >= needed;
            let cause = if enough { GapCause::Disagreement } else { GapCause::TooFewSources };
            gap(quotes, verdicts, policy, slot, interval, cause)
        }
    }
}

/// The verdict on a quote before prices are compared. None if the quote is a candidate for the price.
fn reject(quote: &Quote, quotes: &[Quote], policy: &Policy, slot: Slot) -> Option<Verdict> {
    let observation = match &quote.result {
        Err(failure) => return Some(Verdict::Failed(*failure)),
        Ok(_) if quote.shadow => return Some(Verdict::Shadow),
        Ok(observation) => observation,
    };
    if let Some(verdict) = mistimed(observation, policy, slot) {
        return Some(verdict);
    }
    (unchanged_too_long(observation, policy) && peers_moved_away(quote, quotes, policy, slot))
        .then_some(Verdict::Frozen)
}

/// Whether the live peers of a quote contradict its price: those that have changed recently enough.
fn peers_moved_away(quote: &Quote, quotes: &[Quote], policy: &Policy, slot: Slot) -> bool {
    let Ok(Observation { price, .. }) = quote.result else { return false };
    let peers = quotes.iter().filter(|peer| !peer.shadow && peer.source != quote.source);
    let live = peers
        .filter_map(|peer| peer.result.as_ref().ok())
        .filter(|peer| mistimed(peer, policy, slot).is_none() && !unchanged_too_long(peer, policy));
    let mut prices: Vec<Price> = live.map(|peer| peer.price).collect();
    prices.sort_unstable();
    median(&prices).is_some_and(|median| !policy.movement().admits(price, median, median))
}

fn mark_outliers(quotes: &[Quote], verdicts: &mut [Option<Verdict>], is_outlier: impl Fn(Price) -> bool) {
    for (quote, verdict) in quotes.iter().zip(verdicts) {
        if verdict.is_none() && quote.result.is_ok_and(|observation| is_outlier(observation.price)) {
            *verdict = Some(Verdict::Outlier);
        }
    }
}

/// The price farthest from the median, if the sorted prices are too far apart. None if the lowest and the
/// highest price are equally far from the median, or if fewer than `least` prices would remain.
fn farthest_out(sorted: &[Price], policy: &Policy, least: usize) -> Option<Price> {
    let (low, high, middle) = (*sorted.first()?, *sorted.last()?, median(sorted)?);
    let (below, above) = (middle.units().abs_diff(low.units()), high.units().abs_diff(middle.units()));
    if policy.max_deviation.admits(low, high, middle) || below == above {
        return None;
    }
    let farthest = if below > above { low } else { high };
    let left = sorted.iter().filter(|price| **price != farthest).count();
    (left >= least).then_some(farthest)
}

fn mistimed(observation: &Observation, policy: &Policy, slot: Slot) -> Option<Verdict> {
    let source_time = observation.source_time?;
    let measured_at = match policy.aged_at {
        AgeRule::Arrival => observation.observed_at,
        AgeRule::Slot => slot.start(),
    };
    let max_age = observation.max_age.unwrap_or(policy.max_quote_age);
    if measured_at.since(source_time) > max_age.duration() {
        Some(Verdict::Stale)
    } else if source_time.since(measured_at) > policy.max_clock_skew.duration() {
        Some(Verdict::Future)
    } else {
        None
    }
}

fn unchanged_too_long(observation: &Observation, policy: &Policy) -> bool {
    observation.observed_at.since(observation.unchanged_since) > policy.frozen_after.duration()
}

/// The prices of the quotes that have no verdict yet, sorted.
fn prices(quotes: &[Quote], verdicts: &[Option<Verdict>]) -> Vec<Price> {
    let left = quotes.iter().zip(verdicts).filter(|(_, verdict)| verdict.is_none());
    let mut prices: Vec<Price> = left
        .filter_map(|(quote, _)| quote.result.as_ref().ok())
        .map(|observation| observation.price)
        .collect();
    prices.sort_unstable();
    prices
}

/// The median of sorted prices. If their number is even, it is the exact midpoint of the two in the middle.
fn median(sorted: &[Price]) -> Option<Price> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some(if sorted.len() % 2 == 1 { upper } else { lower.midpoint(upper) })
}

fn gap(
    quotes: &[Quote],
    verdicts: Vec<Option<Verdict>>,
    policy: &Policy,
    slot: Slot,
    interval: Interval,
    cause: GapCause,
) -> Body {
    let evidence = Some(evidence(quotes, verdicts, Verdict::Unused, policy));
    Body::Gap(Gap { from: slot, slot, interval, cause, backfilled: false, evidence })
}

fn evidence(
    quotes: &[Quote],
    verdicts: Vec<Option<Verdict>>,
    otherwise: Verdict,
    policy: &Policy,
) -> Evidence {
    let judged = quotes.iter().zip(verdicts).map(|(quote, verdict)| Judged {
        source: quote.source,
        observation: quote.result.ok(),
        verdict: verdict.unwrap_or(otherwise),
    });
    Evidence { policy: *policy, quotes: judged.collect() }
}

#[cfg(test)]
mod tests;
