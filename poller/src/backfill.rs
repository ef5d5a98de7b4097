//! The past of pairs that the log has no live record of: turns the closes of sources' candles into ticks and gaps, with
//! the ordinary rules.
//!
//! Everything but [`Backfill::ask`] is pure. Slots are minutes, or those of the feed if its interval is longer. A source's
//! quote is the newest close at or before the slot, and its age is measured at the slot. Slots before the first price and
//! after the last one are left out, so a past without a price has no records.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{
    clock::Clock,
    domain::{
        AgeRule, Basis, Body, Failure, Interval, Observation, Pair, Policy, Price, Quote, Reported, Slot,
        SourceName, Span, Timestamp, Words,
    },
};
use futures::future::join_all;
use tokio::time::Instant;

use crate::{
    aggregate::aggregate,
    config::{Member, Role, Settings},
    source::{CandleRange, Pasts, meaning},
};

/// How long the sources may take for their candles. Live slots are polled in the meantime, and published afterwards.
const ASK_TIME: Duration = Duration::from_secs(8);

/// What the past is made of.
pub(crate) struct Backfill {
    members: Vec<Member>,
    policies: BTreeMap<Pair, Policy>,
    feed: Interval,
    span: Span,
    clock: Arc<dyn Clock>,
}

/// The slots to fill of a pair: those after `after`, up to and including `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) after: Timestamp,
    pub(crate) last: Slot,
}

/// What one source has of the past, and when its responses had arrived.
struct Heard {
    member: Member,
    pasts: Pasts,
    at: Timestamp,
}

/// The ticks and gaps of each pair, oldest first.
pub(crate) type Past = BTreeMap<Pair, Vec<Body>>;

impl Backfill {
    /// The past according to the settings. None if it is switched off, or if the prices are recordings.
    pub(crate) fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Option<Self> {
        let Settings { interval, members, backfill, .. } = settings;
        let of_past = |(pair, policy): (&Pair, &Policy)| (*pair, policy_of_past(*policy));
        let policies = settings.pairs.iter().map(of_past).collect();
        Some(Self { members: members.clone(), policies, feed: *interval, span: (*backfill)?, clock })
    }

    /// The interval between slots of the past.
    pub(crate) fn interval(&self) -> Interval {
        self.feed.max(MINUTELY)
    }

    /// The slots to fill now of a pair whose log reaches to `covered`. None if there are none.
    pub(crate) fn wanted(&self, covered: Option<Timestamp>) -> Option<Wanted> {
        wanted(self.clock.now(), self.feed, self.span, covered)
    }

    /// Asks the sources for these slots, and computes the ticks and gaps of each pair. Fallback sources are only asked if
    /// the others do not agree on every price.
    pub(crate) async fn ask(&self, wanted: &BTreeMap<Pair, Wanted>) -> Past {
        let mut heard = self.ask_members(wanted, |role| role != Role::Fallback).await;
        let primaries = heard.len();
        let all = |heard: &[Heard]| -> Past {
            wanted.iter().map(|(pair, wanted)| (*pair, self.all(*pair, wanted, heard))).collect()
        };
        let mut past = all(&heard);
        if past.values().flatten().any(is_gap) {
            heard.extend(self.ask_members(wanted, |role| role == Role::Fallback).await);
        }
        if heard.len() > primaries {
            // Slots on which the primaries agreed keep their price.
            let with_fallbacks = all(&heard).into_values().flatten();
            let slots = past.values_mut().flatten().zip(with_fallbacks);
            slots.filter(|(body, _)| is_gap(body)).for_each(|(body, other)| *body = other);
        }
        past.into_iter().filter_map(|(pair, bodies)| Some((pair, between_prices(bodies)?))).collect()
    }

    async fn ask_members(
        &self,
        wanted: &BTreeMap<Pair, Wanted>,
        takes_part: impl Fn(Role) -> bool,
    ) -> Vec<Heard> {
        let earliest = wanted.values().map(|wanted| wanted.after).min();
        let latest = wanted.values().map(|wanted| wanted.last.start()).max();
        let Some((from, to)) = earliest.zip(latest) else { return Vec::new() };
        let (range, slot) = (CandleRange::ending_in(from, to), self.feed.slot_at(self.clock.now()));
        let deadline = Instant::now() + ASK_TIME;
        let pairs: Vec<Pair> = wanted.keys().copied().collect();
        let asked = self.members.iter().filter(|member| takes_part(member.role)).map(async |member| {
            let pasts = member.source.past(&pairs, range, slot, deadline).await;
            let closes: usize = pasts.values().map(|past| past.closes.len()).sum();
            let failure =
                pasts.values().map(|past| past.otherwise).find(|failure| *failure != Failure::Missing);
            tracing::info!(
                event = "past_received", source = %member.source.name(), closes,
                failure = failure.map(Words::as_str), meaning = failure.map(meaning),
                "asked a source for the closes of its past candles"
            );
            Heard { member: member.clone(), pasts, at: self.clock.now() }
        });
        join_all(asked).await
    }

    /// The results of all wanted slots of a pair.
    fn all(&self, pair: Pair, wanted: &Wanted, heard: &[Heard]) -> Vec<Body> {
        let after = |slot: Timestamp| self.interval().after(slot);
        let slots = std::iter::successors(Some(after(wanted.after)), |slot| Some(after(slot.start())));
        let slots = slots.take_while(|slot| *slot <= wanted.last);
        slots.filter_map(|slot| self.agree(pair, slot, heard)).collect()
    }

    fn agree(&self, pair: Pair, slot: Slot, heard: &[Heard]) -> Option<Body> {
        let policy = self.policies.get(&pair)?;
        let serving = heard.iter().filter(|heard| heard.member.serves(pair));
        let quotes: Vec<Quote> = serving
            .filter_map(|Heard { member, pasts, at }| {
                let past = pasts.get(&pair)?;
                let newest = past.closes.range(..=slot.start()).next_back();
                let close = newest.map(|(end, price)| (*end, *price)).ok_or(past.otherwise);
                let is_shadow = member.role == Role::Shadow;
                Some(quote(member.source.name(), is_shadow, close, *at))
            })
            .collect();
        let mut body = aggregate(&quotes, policy, slot, self.interval());
        match &mut body {
            Body::Tick(tick) => tick.backfilled = true,
            Body::Gap(gap) => gap.backfilled = true,
            Body::Lead(_) => {}
        }
        Some(body)
    }
}

/// The results from the first price to the last. None if there is no price.
fn between_prices(mut bodies: Vec<Body>) -> Option<Vec<Body>> {
    let end = bodies.iter().rposition(|body| !is_gap(body))?;
    bodies.truncate(end.saturating_add(1));
    Some(bodies.into_iter().skip_while(is_gap).collect())
}

fn is_gap(body: &Body) -> bool {
    matches!(body, Body::Gap(_))
}

/// One slot a minute.
const MINUTELY: Interval = Interval::MINUTE;

/// The slots of a span before the current slot of the feed, with both ends, so that the first live slot finds a price a
/// span ago. The current slot will be polled, so it is not backfilled.
fn wanted(now: Timestamp, feed: Interval, span: Span, covered: Option<Timestamp>) -> Option<Wanted> {
    let interval = feed.max(MINUTELY);
    let last = interval.slot_at(feed.slot_at(now).start().previous());
    let oldest = last.start().minus(span.duration()).minus(interval.duration());
    let after = covered.map_or(oldest, |covered| covered.max(oldest));
    (after < last.start()).then_some(Wanted { after, last })
}

/// The rules for a price of the past. A response about the past arrives much later than the slot.
fn policy_of_past(policy: Policy) -> Policy {
    Policy { aged_at: AgeRule::Slot, ..policy }
}

/// A quote from the close of a candle that ended at some instant, or from the reason why there is none.
fn quote(
    source: SourceName,
    shadow: bool,
    close: Result<(Timestamp, Price), Failure>,
    at: Timestamp,
) -> Quote {
    let result = close.map(|(end, price)| Observation {
        price,
        basis: Basis::CandleClose,
        reported: Reported::default(),
        observed_at: at,
        source_time: Some(end),
        unchanged_since: at,
        max_age: None,
    });
    Quote { source, shadow, result }
}

#[cfg(test)]
mod tests;
