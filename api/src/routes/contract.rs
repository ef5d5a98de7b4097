//! The freshness contract: what a client asks of a price, so that it never has to look whether one is good enough.
//!
//! A price that does not meet it is not answered. The answers that are given do not change because of it.

use std::time::Duration;

use common::{
    domain::{Pair, Ratio, Span, Tick, Verdict},
    wire,
};
use poem_openapi::{param::Query, types::ToJSON};

use super::{Lifetime, State, as_of::AsOf, no_price_yet, prices::price_item};
use crate::{
    dto::{RatioParameter, SpanText},
    problem::{Code, Problem},
};
use ledger::snapshot::{NewestTick, PairView, Snapshot};

/// As many sources as a record has quotes at most.
#[expect(clippy::as_conversions, reason = "there is no other conversion in a constant, and it is 200")]
pub(super) const MAX_SOURCES: u64 = wire::MAX_QUOTES as u64;

/// What a price must be.
#[derive(Debug, Clone)]
pub(super) struct Contract {
    max_age: Option<Span>,
    min_sources: Option<u64>,
    max_spread: Option<Ratio>,
    /// Whether the answer is as of a position that was named: nothing about it will change but its age.
    is_pinned: bool,
    /// How long caches may hold the answer.
    lifetime: Lifetime,
}

impl Contract {
    /// The contract of a request, from its parameters.
    pub(super) fn of(
        max_age: Query<Option<SpanText>>,
        min_sources: Query<Option<u64>>,
        max_spread: Query<Option<RatioParameter>>,
        as_of: &AsOf,
    ) -> Result<Self, Problem> {
        if min_sources.0.is_some_and(|least| !(1..=MAX_SOURCES).contains(&least)) {
            let detail = format!("a price is made of 1 to {MAX_SOURCES} sources");
            return Err(Problem::parameter("min_sources", detail));
        }
        Ok(Self {
            max_age: max_age.0.map(|age| age.0),
            min_sources: min_sources.0,
            max_spread: max_spread.0.map(|spread| spread.0),
            is_pinned: as_of.sequence.is_some(),
            lifetime: as_of.lifetime.clone(),
        })
    }

    /// Refuses the newest price of a pair if it does not meet the contract. Where nothing is asked, anything will do,
    /// also no price at all.
    pub(super) fn check(
        &self,
        state: &State,
        snapshot: &Snapshot,
        pair: Pair,
        view: &PairView,
    ) -> Result<(), Problem> {
        if !self.asks() {
            return Ok(());
        }
        let newest = view.tick.as_deref().ok_or_else(|| no_price_yet(Some(pair), Some(view)))?;
        self.check_tick(state, snapshot, pair, view, newest)
    }

    /// Whether anything is asked.
    pub(super) fn asks(&self) -> bool {
        self.max_age.is_some() || self.min_sources.is_some() || self.max_spread.is_some()
    }

    /// Refuses the price of one tick of a pair, if that does not meet the contract.
    pub(super) fn check_tick(
        &self,
        state: &State,
        snapshot: &Snapshot,
        pair: Pair,
        view: &PairView,
        tick: &NewestTick,
    ) -> Result<(), Problem> {
        let age = state.now(snapshot, view.slot).since(tick.tick.slot.start());
        let Some((parameter, detail)) = self.broken(pair, &tick.tick, age) else {
            if let Some(limit) = self.max_age {
                // A cache must not answer what we would not.
                self.lifetime.end_after(limit.duration().saturating_sub(age));
            }
            return Ok(());
        };
        let problem = Problem::new(Code::ContractNotMet, detail).naming(parameter);
        // What was named will not be better later.
        let problem = match self.is_pinned {
            true => problem,
            false => problem.retry_after(seconds_to_next_slot(state, snapshot, view)),
        };
        Err(match price_item(state, snapshot, pair, view).and_then(|item| item.to_json()) {
            Some(newest) => problem.with_newest(newest),
            None => problem,
        })
    }

    /// The first parameter that is not met, and why.
    fn broken(&self, pair: Pair, tick: &Tick, age: Duration) -> Option<(&'static str, String)> {
        if let Some(limit) = self.max_age.filter(|limit| age > limit.duration()) {
            let slot = tick.slot.start();
            return Some((
                "max_age",
                format!("the price of {pair} is that of {slot}, longer ago than {limit}"),
            ));
        }
        let used = tick.evidence.quotes.iter().filter(|judged| judged.verdict == Verdict::Used).count();
        if let Some(least) =
            self.min_sources.filter(|least| u64::try_from(used).is_ok_and(|used| used < *least))
        {
            let detail = format!("the price of {pair} has {used} of the {least} sources that are asked for");
            return Some(("min_sources", detail));
        }
        let limit = self.max_spread.filter(|limit| tick.spread.decimal() > limit.decimal())?;
        let spread = tick.spread;
        let detail =
            format!("the sources of the price of {pair} are {spread} apart, and not {limit} or less");
        Some(("max_spread", detail))
    }
}

/// How long it is until there may be another price: whole seconds, rounded up.
fn seconds_to_next_slot(state: &State, snapshot: &Snapshot, view: &PairView) -> u64 {
    let now = state.now(snapshot, view.slot);
    // By the clock, and not the slot after the newest one: that may be overdue.
    let wait = view.interval.after(now).start().since(now);
    (wait + Duration::from_millis(999)).as_secs()
}
