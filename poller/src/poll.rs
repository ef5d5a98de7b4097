//! The slot loop: wake on the wall-clock grid, ask everybody at once, hand on what came of it.
//!
//! It never bursts: after a pause it goes on with the slot that is due now. The slots it slept through
//! become a gap when the next record is published.

mod health;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{
    clock::Clock,
    domain::{Body, Failure, Interval, Observation, Pair, Price, Quote, Slot, SourceName, Timestamp},
    readiness::Check,
    service::TaskError,
};
use futures::future::join_all;
use health::Health;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    aggregate::aggregate,
    config::{Member, Role, Settings},
    metrics::Metrics,
    publish::PolledSlot,
    source::{Answers, Sample, Source},
};

/// Sources get this long at most, however long the interval is: the price should not wait for the slowest.
const MAX_POLL_TIME: Duration = Duration::from_secs(4);

/// Where there are fallbacks, the primaries get this part of the time, one half, and leave them the rest.
const FALLBACK_RESERVE: u32 = 2;

/// Sleeping goes in steps of this, so that a clock that jumps is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// The slot loop and what it remembers between slots.
pub struct Poll {
    settings: Settings,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    health: Health,
    /// Each source's newest price of each pair, and since when it has been the same.
    unchanged: BTreeMap<(SourceName, Pair), (Price, Timestamp)>,
}

/// What one source said, and when it was here.
struct Asked {
    source: Arc<dyn Source>,
    shadow: bool,
    answers: Answers,
    at: Timestamp,
}

impl Poll {
    /// A slot loop for checked settings.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, metrics: Metrics, check: Check) -> Self {
        for member in &settings.members {
            metrics.expect_source(member.source.name());
        }
        Self { settings, clock, metrics, health: Health::new(check), unchanged: BTreeMap::new() }
    }

    /// Polls every slot until told to stop.
    pub async fn run(
        mut self,
        queue: mpsc::Sender<PolledSlot>,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        let mut newest = self.settings.interval.slot_at(self.clock.now());
        let mut dropping = false;
        while let Some(slot) = stop.run_until_cancelled(self.slot_after(newest)).await {
            newest = slot;
            let Some(polled) = stop.run_until_cancelled(self.poll(slot)).await else { break };
            let Some(bodies) = polled else { continue };
            let dropped = queue.try_send(PolledSlot { slot, bodies }).is_err();
            if dropped {
                self.metrics.dropped.inc();
            }
            match (std::mem::replace(&mut dropping, dropped), dropped) {
                (false, true) => {
                    tracing::warn!(%slot, "the queue to the log is full; a gap covers what is dropped")
                }
                (true, false) => tracing::info!(%slot, "the queue to the log has room again"),
                _ => {}
            }
        }
        Ok(())
    }

    /// Sleeps until the clock has reached the slot after `newest`. Answers the slot it has reached: after a
    /// pause that may be a later one, and where the clock was set back it is still a newer one.
    async fn slot_after(&self, newest: Slot) -> Slot {
        let due = self.settings.interval.after(newest.start()).start();
        loop {
            let now = self.clock.now();
            if now >= due {
                return self.settings.interval.slot_at(now);
            }
            tokio::time::sleep(due.since(now).min(LONGEST_SLEEP)).await;
        }
    }

    /// Asks everybody about a slot. Nothing where the slot's time is over already, as after a pause.
    async fn poll(&mut self, slot: Slot) -> Option<Vec<(Pair, Body)>> {
        let allowed = poll_time(self.settings.interval);
        let left = allowed.checked_sub(self.clock.now().since(slot.start()))?;
        let (start, has_fallbacks) = (Instant::now(), self.has_fallbacks());
        let first_deadline = start + if has_fallbacks { left / FALLBACK_RESERVE } else { left };

        let mut asked = self.ask(slot, first_deadline, |role| role != Role::Fallback).await;
        let mut bodies = self.agree(&asked, slot);
        if has_fallbacks && bodies.iter().any(|(_, body)| matches!(body, Body::Gap(_))) {
            asked.extend(self.ask(slot, start + left, |role| role == Role::Fallback).await);
            bodies = self.agree(&asked, slot);
        }
        self.health.observe(&bodies, &self.metrics);
        Some(bodies)
    }

    fn has_fallbacks(&self) -> bool {
        self.settings.members.iter().any(|member| member.role == Role::Fallback)
    }

    async fn ask(&self, slot: Slot, deadline: Instant, takes_part: impl Fn(Role) -> bool) -> Vec<Asked> {
        let members = self.settings.members.iter().filter(|member| takes_part(member.role));
        let asked = members.map(async |Member { source, role }| {
            let answers = source.ask(slot, deadline).await;
            Asked { source: source.clone(), shadow: *role == Role::Shadow, answers, at: self.clock.now() }
        });
        join_all(asked).await
    }

    fn agree(&mut self, asked: &[Asked], slot: Slot) -> Vec<(Pair, Body)> {
        let pairs = self.settings.pairs.clone();
        let agreed = pairs.into_iter().map(|pair| {
            let serving = asked.iter().filter(|asked| asked.source.serves(pair));
            let quotes: Vec<Quote> = serving.map(|asked| self.quote(asked, pair)).collect();
            (pair, aggregate(&quotes, &self.settings.policy, slot, self.settings.interval))
        });
        agreed.collect()
    }

    fn quote(&mut self, asked: &Asked, pair: Pair) -> Quote {
        let source = asked.source.name();
        let answer = asked.answers.get(&pair).copied().unwrap_or(Err(Failure::Missing));
        let answer = answer.map(|Sample { price, time }| {
            let seen = self.unchanged.entry((source, pair)).or_insert((price, asked.at));
            if seen.0 != price {
                *seen = (price, asked.at);
            }
            Observation { price, observed_at: asked.at, source_time: time, unchanged_since: seen.1 }
        });
        Quote { source, shadow: asked.shadow, answer }
    }
}

/// How long after a slot's instant its sources may answer.
fn poll_time(interval: Interval) -> Duration {
    (interval.duration() / 2).min(MAX_POLL_TIME)
}

#[cfg(test)]
mod tests;
