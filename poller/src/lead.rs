//! Who leads: taking the lease, keeping it, and saying how we stand.
//!
//! A poller stands by until the lease is its own. Then it leads: it polls and publishes. When the lease runs
//! out because the log does not answer, it is suspended: it goes on polling, so that nothing is missed, and
//! publishes nothing, because somebody else may lead by now. What the log's fence refuses sends it back to
//! standing by: it never exits because there is another leader.

use std::{sync::Arc, time::Duration};

use common::{
    bus::lease::{Claim, Hold, Lease, Term},
    domain::LeaderId,
    readiness::{Check, Condition},
    service::TaskError,
    telemetry::chain,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Metrics, StandingLabel};

/// However long the lease is, it is asked for this often: a standby should not be late.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The lease is asked for this many times in its span: some tries may fail, and a standby is not late.
const CLAIMS_PER_SPAN: u32 = 5;

/// The lease counts as lost for its holder before it does for others, after this many tenths of its span.
const SAFE_TENTHS: u32 = 9;

/// After the log was away, a standby leaves the lease free for so long: a leader that was suspended asks far
/// more often, has polled all the while, and nobody else can give that to the log.
const SUSPENDED_FIRST: Duration = Duration::from_secs(5);

/// Giving the lease back is a courtesy; a log that does not answer is not waited for.
pub(crate) const RELEASE_TIME: Duration = Duration::from_millis(500);

/// How a poller stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Somebody else leads, or nobody is known to: nothing is polled.
    Standby,
    /// Polls and publishes.
    Leading {
        /// Since when.
        term: Term,
        /// Until when nobody else can have taken over.
        until: Instant,
    },
    /// Polls, and keeps what it polled until the log answers.
    Suspended,
}

/// The task that keeps the lease.
pub struct Lead {
    lease: Arc<dyn Lease>,
    standing: watch::Sender<Standing>,
    leadership: Leadership,
    held: Option<Hold>,
    /// Until when the lease is ours for certain.
    until: Instant,
    /// Whether it did not answer when it was asked for last.
    was_away: bool,
    /// Whether it was said that the lease does not answer, or who else has it.
    told: Option<Told>,
    metrics: Metrics,
    check: Check,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Silent,
    Taken(Option<LeaderId>),
}

/// What the rest of the poller sees of the leadership.
#[derive(Debug, Clone)]
pub struct Leadership {
    standing: watch::Receiver<Standing>,
    fenced: Arc<Notify>,
    id: LeaderId,
    contested: bool,
}

impl Standing {
    fn label(self) -> StandingLabel {
        match self {
            Self::Leading { .. } => StandingLabel::Leading,
            Self::Suspended => StandingLabel::Suspended,
            Self::Standby => StandingLabel::Standby,
        }
    }
}

impl Lead {
    /// A poller that stands by, and what others see of it.
    pub fn new(lease: Arc<dyn Lease>, metrics: Metrics, check: Check) -> (Self, Leadership) {
        let (standing, mut leadership) = Leadership::channel(lease.id());
        leadership.contested = lease.is_contested();
        metrics.standing(Standing::Standby.label());
        check.set(Condition::Ready);
        let until = Instant::now();
        (
            Self {
                lease,
                standing,
                leadership: leadership.clone(),
                held: None,
                until,
                was_away: false,
                told: None,
                metrics,
                check,
            },
            leadership,
        )
    }

    /// Keeps the lease, or keeps asking for it, until what was polled is published; then gives it back.
    pub async fn run(mut self, finished: CancellationToken) -> Result<(), TaskError> {
        let leadership = self.leadership.clone();
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = finished.cancelled() => break,
                () = leadership.told_fenced() => {
                    self.step_down().await;
                    // Somebody else leads, or should: not even a lease that is free would make that wrong.
                    pause = self.lease.span();
                }
                () = self.claim_after(pause) => {
                    pause = (self.lease.span() / CLAIMS_PER_SPAN).min(LONGEST_PAUSE);
                }
            }
        }
        self.release().await;
        Ok(())
    }

    async fn claim_after(&mut self, pause: Duration) {
        let next = Instant::now() + pause;
        match self.leadership.now() {
            Standing::Leading { .. } => sleep_until(next.min(self.until)).await,
            Standing::Standby | Standing::Suspended => sleep_until(next).await,
        }
        if self.was_away && self.leadership.now() == Standing::Standby {
            if !self.lease.answers().await {
                return;
            }
            sleep(SUSPENDED_FIRST).await;
        }
        // From before the request: the server counts from when it stores it, which is later.
        let asked = Instant::now();
        let claim = self.lease.claim(self.held);
        let claimed = match self.leadership.now() {
            Standing::Leading { .. } => timeout_at(self.until, claim).await,
            Standing::Standby | Standing::Suspended => Ok(claim.await),
        };
        self.was_away = !matches!(claimed, Ok(Ok(_)));
        match claimed {
            Ok(Ok(Claim::Held(hold))) => {
                self.held = Some(hold);
                self.until = asked + self.lease.span() / 10 * SAFE_TENTHS;
                self.stand(Standing::Leading { term: hold.term, until: self.until });
                self.told = None;
            }
            Ok(Ok(Claim::Taken(by))) => {
                self.held = None;
                self.stand(Standing::Standby);
                self.tell_taken(by);
            }
            Err(_elapsed) if asked >= self.until => {
                self.unanswered("this process was held up past its lease")
            }
            Err(_elapsed) => self.unanswered("no answer in time"),
            Ok(Err(error)) => self.unanswered(&chain(&error)),
        }
        self.check.set(self.condition());
    }

    fn condition(&self) -> Condition {
        match self.leadership.now() {
            Standing::Suspended => {
                Condition::Degraded("the lease was lost or does not answer; polled slots wait for it".into())
            }
            Standing::Standby if self.was_away => {
                Condition::Degraded("standing by, and the lease does not answer".into())
            }
            Standing::Standby | Standing::Leading { .. } => Condition::Ready,
        }
    }

    fn unanswered(&mut self, reason: &str) {
        match self.leadership.now() {
            Standing::Leading { .. } if Instant::now() >= self.until => {
                tracing::warn!(
                    reason,
                    "suspended: the lease ran out before it was renewed; polling goes on, publishing waits"
                );
                self.stand(Standing::Suspended);
            }
            Standing::Standby if self.told != Some(Told::Silent) => {
                tracing::warn!(reason, "the lease does not answer; trying on");
                self.told = Some(Told::Silent);
            }
            _ => {}
        }
    }

    fn tell_taken(&mut self, by: Option<LeaderId>) {
        // Who it is may be known only a moment later; that is no news.
        let known = matches!(self.told, Some(Told::Taken(before)) if before == by || before.is_none() || by.is_none());
        if !known {
            let leader = by.map(|id| id.to_string());
            tracing::info!(leader, own = %self.lease.id(), "standing by: another poller leads");
        }
        self.told = Some(Told::Taken(by));
    }

    fn stand(&self, now: Standing) {
        let before = self.leadership.now();
        let same = match (before, now) {
            (Standing::Leading { term: before, .. }, Standing::Leading { term: now, .. }) => before == now,
            (before, now) => before == now,
        };
        // Renewals are no news to those who watch.
        self.standing.send_if_modified(|standing| {
            *standing = now;
            !same
        });
        if !same {
            self.metrics.standing(now.label());
        }
    }

    async fn step_down(&mut self) {
        self.stand(Standing::Standby);
        self.told = Some(Told::Taken(None));
        self.release().await;
    }

    async fn release(&mut self) {
        if let Some(held) = self.held.take() {
            match timeout(RELEASE_TIME, self.lease.release(held)).await {
                Ok(true) => tracing::info!("gave the lease back"),
                Ok(false) | Err(_) => tracing::info!("did not give the lease back; it runs out by itself"),
            }
        }
    }
}

impl Leadership {
    /// A poller that stands by, and the means to change that.
    pub(crate) fn channel(id: LeaderId) -> (watch::Sender<Standing>, Self) {
        let (sender, standing) = watch::channel(Standing::Standby);
        (sender, Self { standing, fenced: Arc::new(Notify::new()), id, contested: true })
    }

    /// Who we are.
    pub fn id(&self) -> LeaderId {
        self.id
    }

    /// How we stand.
    pub fn now(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Whether records may be written in this term, right now.
    pub fn may_write(&self, term: Term) -> bool {
        matches!(self.now(), Standing::Leading { term: now, until } if now == term && Instant::now() < until)
    }

    /// Waits until it stands otherwise.
    pub async fn until(&mut self, otherwise: impl FnMut(&Standing) -> bool) {
        // The sender goes only when the process ends, and then there is nothing to wait for.
        let _ = self.standing.wait_for(otherwise).await;
    }

    /// Waits until this term is over, or interrupted.
    pub async fn ended(&mut self, term: Term) {
        self.until(|standing| !matches!(standing, Standing::Leading { term: now, .. } if *now == term)).await;
    }

    /// Waits until the log has shown that somebody else leads, or somebody else should.
    pub(crate) async fn told_fenced(&self) {
        self.fenced.notified().await;
    }

    /// The log has shown that somebody else leads.
    pub fn fenced(&self) {
        self.fenced.notify_one();
    }

    /// Somebody else should lead, if there is somebody.
    pub fn hand_over(&self) {
        if self.contested {
            self.fenced.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
