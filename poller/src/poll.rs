//! The slot loop: wake on the wall-clock grid, ask everybody at once, hand on what came of it.
//!
//! It never bursts: after a pause it goes on with the slot that is due now. The slots it slept through
//! become a gap when the next record is published. A clock that is suddenly far ahead is doubted, and what it
//! says is not published, until the sources' times bear it out. A standby polls nothing; when it takes over, it begins
//! with the slot of that moment.

mod doubt;
mod health;
mod memory;

use std::{sync::Arc, time::Duration};

use common::{
    clock::Clock,
    domain::{Body, Failure, Observation, Origin, Pair, Quote, Record, Slot, Timestamp},
    readiness::Check,
    service::TaskError,
};
use doubt::{Doubt, LEAST_LEAP};
use futures::future::join_all;
use health::Health;
use memory::Memory;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    aggregate::aggregate,
    config::{Member, Role, Settings},
    lead::{Leadership, Standing},
    metrics::Metrics,
    publish::{PolledSlot, Takeover, soon_after},
    source::{
        Answers, Sample,
        patience::{FALLBACK_RESERVE, poll_time},
    },
};

/// A slot that is being polled when the process is told to stop has this long to become a tick.
pub(crate) const LAST_POLL_TIME: Duration = Duration::from_millis(1_500);

/// A log that does not answer is not waited for: without a memory a frozen source is only found later.
const RECALL_TIME: Duration = Duration::from_millis(500);

/// A poller whose clock is wrong gives the lease to whoever wants it so often: each term begins with a record.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(60);

/// The slot loop and what it remembers between slots.
pub struct Poll {
    settings: Settings,
    clock: Arc<dyn Clock>,
    leadership: Leadership,
    takeovers: watch::Receiver<Option<Arc<Takeover>>>,
    metrics: Metrics,
    health: Health,
    memory: Memory,
    doubt: Doubt,
    /// When the lease was last given away because the clock is wrong.
    handed_over: Option<Instant>,
}

/// What one source said, and when it was here.
struct Asked {
    member: Member,
    answers: Answers,
    at: Timestamp,
}

impl Poll {
    /// A slot loop for checked settings. What was seen before it led is in the takeovers.
    pub fn new(
        settings: Settings,
        clock: Arc<dyn Clock>,
        leadership: Leadership,
        takeovers: watch::Receiver<Option<Arc<Takeover>>>,
        metrics: Metrics,
        check: Check,
    ) -> Self {
        for member in &settings.members {
            metrics.expect_source(member.source.name());
        }
        Self {
            settings,
            clock,
            takeovers,
            leadership,
            metrics,
            health: Health::new(check),
            memory: Memory::default(),
            doubt: Doubt::default(),
            handed_over: None,
        }
    }

    /// Polls every slot while it leads, until told to stop.
    pub async fn run(
        mut self,
        queue: mpsc::Sender<PolledSlot>,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        while !stop.is_cancelled() {
            if stop.run_until_cancelled(self.takes_over()).await.is_some() {
                self.lead(&queue, &stop).await;
            }
        }
        Ok(())
    }

    /// Waits until there is something to poll for.
    async fn takes_over(&mut self) {
        if self.leadership.now() == Standing::Standby {
            self.health.stand_by(&self.metrics);
            self.leadership.until(|standing| *standing != Standing::Standby).await;
        }
        let found = tokio::time::timeout(RECALL_TIME, self.found()).await.unwrap_or_default();
        self.memory = Memory::of(&found, self.settings.pairs.len());
        if let Some(covered) = self.memory.covered() {
            self.clock.skip_to(covered);
            self.doubt.begin(covered);
        }
    }

    /// The newest records as the publisher found them in this term, before it added its own.
    async fn found(&mut self) -> Vec<Record> {
        let Standing::Leading { term, .. } = self.leadership.now() else { return Vec::new() };
        let of_term =
            |takeover: &Option<Arc<Takeover>>| takeover.as_ref().is_some_and(|found| found.term == term);
        match self.takeovers.wait_for(of_term).await.as_deref() {
            Ok(Some(takeover)) => takeover.newest.clone(),
            _ => Vec::new(),
        }
    }

    /// Polls every slot until it stands by, or is told to stop.
    async fn lead(&mut self, queue: &mpsc::Sender<PolledSlot>, stop: &CancellationToken) {
        let interval = self.settings.interval;
        // The slot that has begun already may still be had. If another leader has it, it is dropped. Of a log
        // that covers something, this clock needs not be believed to know where it ends.
        let begun = interval.before(interval.slot_at(self.clock.now()));
        let mut newest = self.memory.covered().map_or(begun, |covered| interval.slot_at(covered));
        let (mut dropping, mut doubted) = (false, None);
        let mut leadership = self.leadership.clone();
        loop {
            let slot = tokio::select! {
                slot = self.slot_after(newest, doubted) => slot,
                () = leadership.until(|standing| *standing == Standing::Standby) => return,
                () = stop.cancelled() => return,
            };
            self.look_at_clock();
            let polled = tokio::select! {
                polled = self.poll(slot) => polled,
                () = soon_after(stop, LAST_POLL_TIME) => return,
            };
            doubted = self.doubt.ahead().map(|ahead| {
                self.health.clock_is_ahead(ahead);
                slot
            });
            if doubted.is_some() {
                self.hand_over();
                continue;
            }
            newest = slot;
            let Some(bodies) = polled else { continue };
            if self.settings.origin == Origin::Replay
                && stop.run_until_cancelled(queue.reserve()).await.is_none()
            {
                // A recording has time to wait, but not for ever.
                return;
            }
            let dropped = queue.try_send(PolledSlot { slot, bodies }).is_err();
            self.metrics.queued(queue.max_capacity() - queue.capacity());
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
    }

    /// Sleeps until the clock has reached the slot after `newest`, and is past a slot that was `doubted`. Answers
    /// the slot it has reached: after a pause that may be a later one, and where the clock was set back it is
    /// still a newer one.
    async fn slot_after(&mut self, newest: Slot, doubted: Option<Slot>) -> Slot {
        let interval = self.settings.interval;
        let due = interval.after(newest.start()).start();
        loop {
            let now = self.clock.now();
            let reached = interval.slot_at(now);
            if now >= due && doubted != Some(reached) {
                return reached;
            }
            if due.since(now) > interval.duration() {
                self.health.clock_is_behind(due);
            }
            if due.since(now) > LEAST_LEAP.max(interval.duration()) {
                self.hand_over();
            }
            let next = if now < due { due } else { interval.after(now).start() };
            self.clock.wait(next).await;
        }
    }

    /// Asks everybody about a slot. Nothing where the slot's time is over already, as after a pause.
    async fn poll(&mut self, slot: Slot) -> Option<Vec<(Pair, Body)>> {
        let allowed = poll_time(self.settings.interval);
        let left = allowed.checked_sub(self.clock.now().since(slot.start()))?;
        let (start, has_fallbacks) = (Instant::now(), self.has_fallbacks());
        let first_deadline = start + if has_fallbacks { left / FALLBACK_RESERVE } else { left };

        let mut asked = self.ask(slot, first_deadline, |member| member.role != Role::Fallback).await;
        self.hear_of_time(&asked);
        if self.doubt.ahead().is_some() {
            return None;
        }
        let mut bodies: Vec<(Pair, Body)> = self
            .settings
            .pairs
            .clone()
            .into_iter()
            .map(|pair| (pair, self.agree(&asked, pair, slot)))
            .collect();
        let open: Vec<Pair> = bodies.iter().filter(|(_, body)| is_gap(body)).map(|(pair, _)| *pair).collect();
        if has_fallbacks && !open.is_empty() {
            let can_help = |member: &Member| {
                member.role == Role::Fallback && open.iter().any(|pair| member.source.serves(*pair))
            };
            asked.extend(self.ask(slot, start + left, can_help).await);
            // A pair that the primaries agreed on stays as it is.
            for (pair, body) in bodies.iter_mut().filter(|(_, body)| is_gap(body)) {
                *body = self.agree(&asked, *pair, slot);
            }
        }
        self.health.observe(&bodies, &self.metrics);
        Some(bodies)
    }

    fn look_at_clock(&mut self) {
        // The time of a recording passes as fast as it likes.
        if self.settings.origin != Origin::Replay {
            self.doubt.look(self.clock.now());
        }
    }

    fn hear_of_time(&mut self, asked: &[Asked]) {
        let samples = asked.iter().flat_map(|asked| {
            asked.answers.values().flatten().map(|sample| sample.time.map(|time| asked.at.since(time)))
        });
        self.doubt.hear(self.clock.now(), &samples.collect::<Vec<_>>());
    }

    /// Somebody whose clock is right may want to lead. If there is nobody, the lease comes back.
    fn hand_over(&mut self) {
        if self.handed_over.is_none_or(|before| before.elapsed() >= HAND_OVER_PAUSE) {
            self.handed_over = Some(Instant::now());
            self.leadership.hand_over();
        }
    }

    fn has_fallbacks(&self) -> bool {
        self.settings.members.iter().any(|member| member.role == Role::Fallback)
    }

    async fn ask(&self, slot: Slot, deadline: Instant, takes_part: impl Fn(&Member) -> bool) -> Vec<Asked> {
        let members = self.settings.members.iter().filter(|member| takes_part(member));
        let asked = members.map(async |member| {
            let answers = member.source.ask(slot, deadline).await;
            Asked { member: member.clone(), answers, at: self.clock.now() }
        });
        join_all(asked).await
    }

    fn agree(&mut self, asked: &[Asked], pair: Pair, slot: Slot) -> Body {
        let serving = asked.iter().filter(|asked| asked.member.source.serves(pair));
        let quotes: Vec<Quote> = serving.map(|asked| self.quote(asked, pair)).collect();
        aggregate(&quotes, &self.settings.policy, slot, self.settings.interval)
    }

    fn quote(&mut self, asked: &Asked, pair: Pair) -> Quote {
        let (source, max_age) = (asked.member.source.name(), asked.member.max_age);
        let answer = asked.answers.get(&pair).copied().unwrap_or(Err(Failure::Missing));
        let answer = answer.map(|Sample { price, time }| {
            let unchanged_since = self.memory.see(source, pair, price, asked.at);
            Observation { price, observed_at: asked.at, source_time: time, unchanged_since, max_age }
        });
        Quote { source, shadow: asked.member.role == Role::Shadow, answer }
    }
}

fn is_gap(body: &Body) -> bool {
    matches!(body, Body::Gap(_))
}

#[cfg(test)]
mod tests;
