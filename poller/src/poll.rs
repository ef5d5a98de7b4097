//! The slot loop: wakes up at the start of each slot, asks all sources at once, and queues the result for
//! publishing.
//!
//! If the process was paused, the loop continues with the slot that is due now, rather than catching up. A gap
//! is recorded for the slots in between when the next record is published. If the clock jumps far ahead,
//! nothing is published until several other clocks agree with it. A standby does not poll. When it
//! takes over, it starts with the current slot.

mod clock_check;
mod health;
mod memory;

use std::{sync::Arc, time::Duration};

use clock_check::{ClockCheck, MIN_JUMP};
use common::{
    bus::LogWriter,
    clock::Clock,
    domain::{Body, Failure, Observation, Origin, Pair, Policy, Quote, Record, Slot, Timestamp},
    readiness::Check,
    service::TaskError,
    telemetry::TraceContext,
};
use futures::future::join_all;
use health::Health;
use memory::Memory;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{
    Instrument,
    field::{Empty, display},
};

use crate::{
    aggregate::aggregate,
    config::{Member, Role, Settings},
    lead::{LeadState, Leadership, soon_after},
    metrics::Metrics,
    publish::{PolledSlot, Takeover},
    source::{
        Answers,
        patience::{FALLBACK_RESERVE, poll_time},
    },
};

/// When the process is stopped, a poll that is in progress gets this long to finish.
pub(crate) const LAST_POLL_TIME: Duration = Duration::from_millis(1_500);

/// How long a new leader waits for the newest records of the log. Without these records, it takes longer to
/// detect frozen sources.
const TAKEOVER_TIME: Duration = Duration::from_millis(500);

/// The shortest time between two attempts to let another poller lead because this one's clock is wrong. Each
/// attempt starts a new term, and each term starts with a lead record per pair. So this limits how many lead
/// records are written.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(60);

/// How long to wait for the time of the log's server.
const SERVER_TIME_PATIENCE: Duration = Duration::from_millis(500);

/// The failures for which nothing was sent to the source.
const NOT_ASKED: [Failure; 3] = [Failure::BackingOff, Failure::Unlisted, Failure::Halted];

/// The slot loop.
pub struct Poll {
    settings: Settings,
    clock: Arc<dyn Clock>,
    leadership: Leadership,
    takeovers: watch::Receiver<Option<Arc<Takeover>>>,
    log: Arc<dyn LogWriter>,
    metrics: Metrics,
    health: Health,
    memory: Memory,
    clock_check: ClockCheck,
    /// When this poller last gave up the lease because its clock is wrong.
    handed_over: Option<Instant>,
}

/// What a source returned, and when it arrived.
struct Asked {
    member: Member,
    answers: Answers,
    at: Timestamp,
    /// What the source's clock showed in this slot, and when.
    clock: Option<(Timestamp, Instant)>,
}

impl Asked {
    /// The newest time that the source gave in this slot, by its clock or with a price.
    fn newest_time(&self) -> Option<Timestamp> {
        let of_clock = self.clock.map(|(shown, arrived)| shown.plus(arrived.elapsed()));
        let samples = self.answers.values().flatten();
        let of_prices = samples.flat_map(|sample| [sample.trade_time, sample.book_time]).flatten();
        of_prices.chain(of_clock).max()
    }
}

impl Poll {
    /// A slot loop for validated settings. `takeovers` reports the newest records in the log at the start of
    /// each term.
    pub fn new(
        settings: Settings,
        clock: Arc<dyn Clock>,
        leadership: Leadership,
        takeovers: watch::Receiver<Option<Arc<Takeover>>>,
        log: Arc<dyn LogWriter>,
        metrics: Metrics,
        check: Check,
    ) -> Self {
        for member in &settings.members {
            metrics.sources.expect_source(member.source.name());
        }
        for (pair, policy) in &settings.pairs {
            metrics.sources.expect_pair(*pair, policy.min_sources, settings.primaries(*pair));
        }
        Self {
            settings,
            clock,
            takeovers,
            log,
            leadership,
            metrics,
            health: Health::new(check),
            memory: Memory::default(),
            clock_check: ClockCheck::default(),
            handed_over: None,
        }
    }

    /// Polls every slot while this poller leads, until it is stopped.
    pub async fn run(
        mut self,
        queue: mpsc::Sender<PolledSlot>,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        while !stop.is_cancelled() {
            if stop.run_until_cancelled(self.wait_for_leadership()).await.is_some() {
                self.poll_slots(&queue, &stop).await;
            }
        }
        Ok(())
    }

    /// Waits until this poller leads, and initializes the memory.
    async fn wait_for_leadership(&mut self) {
        if self.leadership.now() == LeadState::Standby {
            self.health.stand_by(&self.metrics);
            self.metrics.clock_ahead.set(0.0);
            self.leadership.until(|state| *state != LeadState::Standby).await;
        }
        let newest = timeout(TAKEOVER_TIME, self.newest_records()).await.unwrap_or_default();
        self.memory = Memory::of(&newest, self.settings.pairs.len());
        if let Some(covered) = self.memory.covered() {
            self.clock.skip_to(covered);
        }
        if let Some(newest) = self.memory.newest_before(self.clock.now()) {
            self.clock_check.start_at(newest);
        }
    }

    /// The newest records that the publisher found in the log at the start of this term.
    async fn newest_records(&mut self) -> Vec<Record> {
        let LeadState::Leading { term, .. } = self.leadership.now() else { return Vec::new() };
        let of_term = |takeover: &Option<Arc<Takeover>>| {
            takeover.as_ref().is_some_and(|takeover| takeover.term == term)
        };
        match self.takeovers.wait_for(of_term).await.as_deref() {
            Ok(Some(takeover)) => takeover.newest.clone(),
            _ => Vec::new(),
        }
    }

    /// Polls every slot until this poller stands by or is stopped.
    async fn poll_slots(&mut self, queue: &mpsc::Sender<PolledSlot>, stop: &CancellationToken) {
        let interval = self.settings.interval;
        // Start with the current slot. If another leader has already published that slot, the publisher drops
        // this poller's result. If the log has records of every pair, start after the newest slot that it has
        // for all pairs instead, because that does not depend on this machine's clock.
        let before_current = interval.before(interval.slot_at(self.clock.now()));
        let mut newest = self.memory.covered().map_or(before_current, |covered| interval.slot_at(covered));
        let (mut dropping, mut untrusted) = (false, None);
        let mut leadership = self.leadership.clone();
        loop {
            let slot = tokio::select! {
                slot = self.slot_after(newest, untrusted) => slot,
                () = leadership.until(|state| *state == LeadState::Standby) => return,
                () = stop.cancelled() => return,
            };
            self.check_clock();
            let span = tracing::info_span!("slot", tickwell.slot = %slot);
            let polled = tokio::select! {
                polled = self.poll(slot).instrument(span.clone()) => polled,
                () = soon_after(stop, LAST_POLL_TIME) => return,
            };
            let ahead = self.clock_check.ahead();
            self.metrics.clock_ahead.set(ahead.unwrap_or_default().as_secs_f64());
            untrusted = ahead.map(|_| slot);
            if untrusted.is_some() {
                // If it was too late to ask the witnesses in this slot, they are asked in the next one.
                if let Some(ahead) = self.clock_check.contradicted() {
                    self.health.clock_is_ahead(ahead);
                    self.hand_over();
                }
                continue;
            }
            newest = slot;
            let Some(bodies) = polled else { continue };
            if self.settings.origin == Origin::Replay
                && stop.run_until_cancelled(queue.reserve()).await.is_none()
            {
                // A replay waits for room in the queue instead of dropping slots, until the process is stopped.
                return;
            }
            let trace = TraceContext::of(&span);
            let dropped = queue.try_send(PolledSlot { slot, bodies, trace }).is_err();
            self.metrics.queued(queue.max_capacity() - queue.capacity());
            if dropped {
                self.metrics.dropped.inc();
            }
            match (std::mem::replace(&mut dropping, dropped), dropped) {
                (false, true) => {
                    tracing::warn!(
                        event = "queue_full", %slot,
                        "the publish queue is full; new slots are dropped, and a gap will be recorded for them"
                    )
                }
                (true, false) => {
                    tracing::info!(
                        event = "queue_has_room", %slot,
                        "the publish queue has room again; slots are no longer dropped"
                    )
                }
                _ => {}
            }
        }
    }

    /// Sleeps until the clock has reached a slot that is newer than `newest` and is not `untrusted`, and returns
    /// that slot. Slots are skipped if the process was paused. The returned slot is newer than `newest` even if
    /// the clock was set back.
    async fn slot_after(&mut self, newest: Slot, untrusted: Option<Slot>) -> Slot {
        let interval = self.settings.interval;
        let due = interval.after(newest.start()).start();
        loop {
            let now = self.clock.now();
            let reached = interval.slot_at(now);
            if now >= due && untrusted != Some(reached) {
                return reached;
            }
            if due.since(now) > interval.duration() {
                self.health.clock_is_behind(due);
            }
            if due.since(now) > MIN_JUMP.max(interval.duration()) {
                self.hand_over();
            }
            let next = if now < due { due } else { interval.after(now).start() };
            self.clock.wait(next).await;
        }
    }

    /// Asks all sources for a slot's prices. Returns None if it is too late to poll the slot, for example
    /// because the process was paused, or if the clock is not trusted.
    async fn poll(&mut self, slot: Slot) -> Option<Vec<(Pair, Body)>> {
        let allowed = poll_time(self.settings.interval);
        let left = allowed.checked_sub(self.clock.now().since(slot.start()))?;
        let (start, has_fallbacks) = (Instant::now(), self.has_fallbacks());
        let first_deadline = start + if has_fallbacks { left / FALLBACK_RESERVE } else { left };

        let mut asked = self.ask(slot, first_deadline, |member| member.role != Role::Fallback).await;
        self.compare_clock(&asked).await;
        if self.clock_check.ahead().is_some() {
            return None;
        }
        let mut bodies: Vec<(Pair, Body)> = self
            .settings
            .pairs
            .clone()
            .into_iter()
            .map(|(pair, policy)| (pair, self.agree(&asked, pair, &policy, slot)))
            .collect();
        let open: Vec<Pair> = bodies.iter().filter(|(_, body)| is_gap(body)).map(|(pair, _)| *pair).collect();
        if has_fallbacks && !open.is_empty() {
            let can_help = |member: &Member| {
                member.role == Role::Fallback && open.iter().any(|pair| member.serves(*pair))
            };
            asked.extend(self.ask(slot, start + left, can_help).await);
            // Pairs on which the primaries agreed keep their price.
            for (pair, body) in bodies.iter_mut().filter(|(_, body)| is_gap(body)) {
                if let Some(policy) = self.settings.pairs.get(pair).copied() {
                    *body = self.agree(&asked, *pair, &policy, slot);
                }
            }
        }
        bodies.iter().for_each(|(pair, body)| self.metrics.sources.observe(*pair, body));
        self.health.observe(&bodies, &self.metrics);
        Some(bodies)
    }

    fn check_clock(&mut self) {
        // The clock of a replay may run at any speed, so it cannot be compared with the monotonic clock.
        if self.settings.origin != Origin::Replay {
            self.clock_check.observe(self.clock.now());
        }
    }

    /// Compares the clock with those of the sources and of the log's server, if it is not trusted.
    async fn compare_clock(&mut self, asked: &[Asked]) {
        if self.settings.origin == Origin::Replay || !self.clock_check.needs_witnesses() {
            return;
        }
        let server_time = timeout(SERVER_TIME_PATIENCE, self.log.server_time()).await.unwrap_or_default();
        let now = self.clock.now();
        let sources = asked.iter().filter(|asked| asked.member.source.origin() == Origin::Live);
        let mut behind: Vec<_> =
            sources.map(|asked| asked.newest_time().map(|time| asked.at.since(time))).collect();
        behind.extend(server_time.map(|time| Some(now.since(time))));
        self.clock_check.compare(now, &behind);
    }

    /// Gives up the lease, because another poller's clock may be right. If there is no other poller, this one gets
    /// the lease again.
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
            let sent = Instant::now();
            let answers = member.source.ask(slot, deadline).await;
            let was_asked =
                |answer: &Result<_, _>| !answer.as_ref().is_err_and(|failure| NOT_ASKED.contains(failure));
            if answers.values().any(was_asked) {
                self.metrics.sources.asked(member.source.name(), sent.elapsed());
            }
            let clock = member.source.clock().filter(|(_, arrived)| *arrived >= sent);
            Asked { member: member.clone(), answers, at: self.clock.now(), clock }
        });
        join_all(asked).await
    }

    fn agree(&mut self, asked: &[Asked], pair: Pair, policy: &Policy, slot: Slot) -> Body {
        let span = tracing::info_span!("aggregate", tickwell.pair = %pair, tickwell.price = Empty, tickwell.gap = Empty);
        let _entered = span.enter();
        let serving = asked.iter().filter(|asked| asked.member.serves(pair));
        let quotes: Vec<Quote> = serving.map(|asked| self.quote(asked, pair, policy)).collect();
        let body = aggregate(&quotes, policy, slot, self.settings.interval);
        match &body {
            Body::Tick(tick) => span.record("tickwell.price", display(tick.price)),
            Body::Gap(gap) => span.record("tickwell.gap", display(gap.cause)),
            Body::Lead(_) => &span,
        };
        body
    }

    fn quote(&mut self, asked: &Asked, pair: Pair, policy: &Policy) -> Quote {
        let (source, max_age) = (asked.member.source.name(), asked.member.max_age);
        let result = asked.answers.get(&pair).copied().unwrap_or(Err(Failure::Missing));
        let result = result.and_then(|sample| {
            let reported = sample.reported;
            let (price, basis) = reported.price(policy).ok_or(Failure::Invalid)?;
            let source_time = sample.time(basis);
            let unchanged_since = self.memory.record(source, pair, (reported, source_time), asked.at);
            Ok(Observation {
                price,
                basis,
                reported,
                observed_at: asked.at,
                source_time,
                unchanged_since,
                max_age,
            })
        });
        Quote { source, shadow: asked.member.role == Role::Shadow, result }
    }
}

fn is_gap(body: &Body) -> bool {
    matches!(body, Body::Gap(_))
}

#[cfg(test)]
mod tests;
