//! The freshness contract: what a client requires of a price, so that the client need not check the price itself.
//!
//! A price that does not meet the contract is refused. The contract does not change the content of successful
//! responses.

use std::time::Duration;

use common::{
    domain::{Pair, Ratio, Span, Tick, Verdict},
    wire,
};
use poem_openapi::param::Query;
use serde_json::value::to_raw_value;

use super::{Lifetime, State, as_of::AsOf, no_price_yet, price_item::price_item};
use crate::{
    dto::{RatioParameter, SpanText, WholeNumber},
    problem::{Code, Problem},
};
use ledger::snapshot::{NewestTick, PairView, Snapshot};

/// The maximum number of sources of a price, which is the maximum number of quotes in a record.
#[expect(clippy::as_conversions, reason = "constants have no other conversion, and the value is 200")]
const MAX_SOURCES: u64 = wire::MAX_QUOTES as u64;

/// The minimum number of sources of a price, as a parameter.
pub(super) type MinSources = WholeNumber<1, MAX_SOURCES>;

/// What a client requires of a price.
#[derive(Debug, Clone)]
pub(super) struct Contract {
    max_age: Option<Span>,
    min_sources: Option<u64>,
    max_spread: Option<Ratio>,
    /// Whether the request has `at_sequence`. If so, repeating the request finds the same price, which has only become
    /// older.
    is_pinned: bool,
    /// How long caches may keep the response.
    lifetime: Lifetime,
}

impl Contract {
    /// The contract of a request, from its parameters.
    pub(super) fn of(
        max_age: Query<Option<SpanText>>,
        min_sources: Query<Option<MinSources>>,
        max_spread: Query<Option<RatioParameter>>,
        as_of: &AsOf,
    ) -> Self {
        Self {
            max_age: max_age.0.map(|age| age.0),
            min_sources: min_sources.0.map(WholeNumber::get),
            max_spread: max_spread.0.map(|spread| spread.0),
            is_pinned: as_of.sequence.is_some(),
            lifetime: as_of.lifetime.clone(),
        }
    }

    /// Refuses the newest price of a pair if it does not meet the contract. An empty contract accepts everything, even a
    /// pair without a price.
    pub(super) fn check(
        &self,
        state: &State,
        snapshot: &Snapshot,
        pair: Pair,
        view: &PairView,
    ) -> Result<(), Problem> {
        if self.is_empty() {
            return Ok(());
        }
        let newest = view.tick.as_deref().ok_or_else(|| no_price_yet(Some(pair), Some(view)))?;
        self.check_tick(state, snapshot, pair, view, newest)
    }

    /// Whether the client requires nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.parameter().is_none()
    }

    /// The name of the first parameter that requires something.
    pub(super) fn parameter(&self) -> Option<&'static str> {
        let given = [
            ("max_age", self.max_age.is_some()),
            ("min_sources", self.min_sources.is_some()),
            ("max_spread", self.max_spread.is_some()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(name, _)| name)
    }

    /// Refuses a tick of a pair if it does not meet the contract.
    pub(super) fn check_tick(
        &self,
        state: &State,
        snapshot: &Snapshot,
        pair: Pair,
        view: &PairView,
        tick: &NewestTick,
    ) -> Result<(), Problem> {
        let age = state.freshness.age(snapshot, pair, view, tick.tick.slot);
        let Some((parameter, detail)) = self.broken(pair, &tick.tick, age) else {
            if let Some(limit) = self.max_age {
                // A cache must not return a price that has become too old in the meantime.
                self.lifetime.end_after(limit.duration().saturating_sub(age.unwrap_or_default()));
            }
            return Ok(());
        };
        let problem = Problem::new(Code::ContractNotMet, detail).naming(parameter);
        // With `at_sequence`, the price never changes, so retrying does not help.
        let problem = match self.is_pinned {
            true => problem,
            false => problem.retry_after(seconds_to_next_slot(state, snapshot, pair, view)),
        };
        let newest = price_item(state, snapshot, pair, view);
        Err(match newest.and_then(|item| to_raw_value(&item).ok()) {
            Some(newest) => problem.with_newest(newest),
            None => problem,
        })
    }

    /// The first requirement that the tick does not meet: the name of its parameter, and the reason.
    fn broken(&self, pair: Pair, tick: &Tick, age: Option<Duration>) -> Option<(&'static str, String)> {
        let is_too_old = |limit: &Span| age.is_none_or(|age| age > limit.duration());
        if let Some(limit) = self.max_age.filter(is_too_old) {
            let slot = tick.slot.start();
            let detail = match age {
                Some(_) => format!("the price of {pair} is from {slot}, which is more than {limit} ago"),
                None => format!(
                    "the price of {pair} is from {slot}, which is ahead of this pod's clock, so its age is unknown"
                ),
            };
            return Some(("max_age", detail));
        }
        let used = tick.evidence.quotes.iter().filter(|judged| judged.verdict == Verdict::Used).count();
        if let Some(least) =
            self.min_sources.filter(|least| u64::try_from(used).is_ok_and(|used| used < *least))
        {
            let detail = format!("the price of {pair} has {used} sources, but at least {least} are required");
            return Some(("min_sources", detail));
        }
        let limit = self.max_spread.filter(|limit| tick.spread.decimal() > limit.decimal())?;
        let spread = tick.spread;
        let detail = format!("the spread of the price of {pair} is {spread}, but at most {limit} is allowed");
        Some(("max_spread", detail))
    }
}

/// The whole seconds until the next slot, rounded up.
fn seconds_to_next_slot(state: &State, snapshot: &Snapshot, pair: Pair, view: &PairView) -> u64 {
    let now = state.freshness.now(snapshot, pair, view);
    // The wait is counted from now and not from the newest slot, because the slot after the newest one may be overdue.
    let wait = view.interval.after(now).start().since(now);
    (wait + Duration::from_millis(999)).as_secs()
}
