//! Takes and keeps the lease, and reports whether this poller leads.
//!
//! A poller stands by until it gets the lease. Then it leads: it polls and publishes. If the lease runs out
//! because the log does not respond, the poller is suspended: it continues to poll, so that no slot is lost,
//! but publishes nothing, because another poller may lead by now. If the log shows that another poller leads,
//! this one stands by again. A poller never exits because another one leads.

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

use crate::metrics::{LeadStateLabel, Metrics};

/// The longest pause between claims, however long the lease's span is, so that a standby takes over quickly.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many times the lease is claimed during its span, at least. With several claims, some may fail without the
/// leader losing the lease, and a standby takes over quickly after the lease has run out.
const CLAIMS_PER_SPAN: u32 = 5;

/// After this many tenths of the lease's span, the holder considers the lease lost. Others can take it only
/// after the whole span.
const SAFE_TENTHS: u32 = 9;

/// How long a standby waits before it claims the lease when the log is reachable again. A suspended leader does
/// not wait, so it gets the lease first. Only that leader can publish the slots that it polled while the log
/// was unreachable.
const SUSPENDED_LEADER_HEAD_START: Duration = Duration::from_secs(5);

/// How long to wait for the lease to be released. If the release fails, the lease runs out on its own.
pub(crate) const RELEASE_TIME: Duration = Duration::from_millis(500);

/// Whether a poller leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadState {
    /// Another poller leads, or it is not known who does. This poller does not poll.
    Standby,
    /// This poller polls and publishes.
    Leading {
        /// The term that began when it got the lease.
        term: Term,
        /// No other poller can take over before this instant.
        until: Instant,
    },
    /// This poller polls, and keeps the results until the log responds.
    Suspended,
}

/// The task that claims and renews the lease.
pub struct LeaseKeeper {
    lease: Arc<dyn Lease>,
    state: watch::Sender<LeadState>,
    leadership: Leadership,
    held: Option<Hold>,
    /// The lease is certainly ours until this instant.
    until: Instant,
    /// Whether the newest claim got no response.
    was_unreachable: bool,
    /// What was last logged while standing by, so that the same is not logged again.
    logged: Option<Logged>,
    metrics: Metrics,
    check: Check,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Logged {
    Unreachable,
    Taken(Option<LeaderId>),
}

/// The leadership as the rest of the poller sees it.
#[derive(Debug, Clone)]
pub struct Leadership {
    state: watch::Receiver<LeadState>,
    fenced: Arc<Notify>,
    id: LeaderId,
    contested: bool,
}

impl LeadState {
    fn label(self) -> LeadStateLabel {
        match self {
            Self::Leading { .. } => LeadStateLabel::Leading,
            Self::Suspended => LeadStateLabel::Suspended,
            Self::Standby => LeadStateLabel::Standby,
        }
    }
}

impl LeaseKeeper {
    /// A keeper that stands by, and the leadership that it will report.
    pub fn new(lease: Arc<dyn Lease>, metrics: Metrics, check: Check) -> (Self, Leadership) {
        let (state, mut leadership) = Leadership::channel(lease.id());
        leadership.contested = lease.is_contested();
        metrics.state(LeadState::Standby.label());
        check.set(Condition::Ready);
        let until = Instant::now();
        (
            Self {
                lease,
                state,
                leadership: leadership.clone(),
                held: None,
                until,
                was_unreachable: false,
                logged: None,
                metrics,
                check,
            },
            leadership,
        )
    }

    /// Claims or renews the lease until everything that was polled is published. Then it releases the lease.
    pub async fn run(mut self, finished: CancellationToken) -> Result<(), TaskError> {
        let leadership = self.leadership.clone();
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = finished.cancelled() => break,
                () = leadership.wait_until_fenced() => {
                    self.step_down().await;
                    // Another poller leads, or this one has handed over. Wait for a whole span, so that the
                    // other poller can get the lease.
                    pause = self.lease.span();
                }
                may_claim = self.wait_to_claim(pause) => {
                    if may_claim {
                        self.claim(&finished).await;
                    }
                    pause = (self.lease.span() / CLAIMS_PER_SPAN).min(LONGEST_PAUSE);
                }
            }
        }
        self.release().await;
        Ok(())
    }

    /// Waits until the lease is to be claimed. Returns false if a standby cannot reach it.
    async fn wait_to_claim(&self, pause: Duration) -> bool {
        let next = Instant::now() + pause;
        match self.leadership.now() {
            LeadState::Leading { .. } => sleep_until(next.min(self.until)).await,
            LeadState::Standby | LeadState::Suspended => sleep_until(next).await,
        }
        if self.was_unreachable && self.leadership.now() == LeadState::Standby {
            if !self.lease.is_reachable().await {
                return false;
            }
            sleep(SUSPENDED_LEADER_HEAD_START).await;
        }
        true
    }

    /// Claims or renews the lease. If the poller is to end meanwhile, this still waits for the response, though not for
    /// long. The server may have stored the claim, and then the lease can only be released with the revision in the
    /// response.
    async fn claim(&mut self, finished: &CancellationToken) {
        // The lease's span is counted from before the request. The server counts from when it stores the claim,
        // which is later. So this poller considers the lease lost before the server does.
        let sent_at = Instant::now();
        let claim = async {
            let claim = self.lease.claim(self.held);
            match self.leadership.now() {
                LeadState::Leading { .. } => timeout_at(self.until, claim).await,
                LeadState::Standby | LeadState::Suspended => Ok(claim.await),
            }
        };
        let claimed = tokio::select! {
            claimed = claim => claimed,
            () = soon_after(finished, RELEASE_TIME) => return,
        };
        self.was_unreachable = !matches!(claimed, Ok(Ok(_)));
        match claimed {
            Ok(Ok(Claim::Held(hold))) => {
                self.held = Some(hold);
                self.until = sent_at + self.lease.span() / 10 * SAFE_TENTHS;
                self.set_state(LeadState::Leading { term: hold.term, until: self.until });
                self.logged = None;
            }
            Ok(Ok(Claim::Taken(by))) => {
                self.held = None;
                self.set_state(LeadState::Standby);
                self.log_taken(by);
            }
            Err(_elapsed) if sent_at >= self.until => {
                self.no_response("this process was paused until its lease had run out")
            }
            Err(_elapsed) => self.no_response("NATS did not respond in time"),
            Ok(Err(error)) => self.no_response(&chain(&error)),
        }
        self.check.set(self.condition());
    }

    fn condition(&self) -> Condition {
        match self.leadership.now() {
            LeadState::Suspended => Condition::Degraded(
                "the lease could not be renewed; polled slots are published once the log responds".into(),
            ),
            LeadState::Standby if self.was_unreachable => {
                Condition::Degraded("standing by, and cannot take over: requests for the lease fail".into())
            }
            LeadState::Standby | LeadState::Leading { .. } => Condition::Ready,
        }
    }

    fn no_response(&mut self, reason: &str) {
        match self.leadership.now() {
            LeadState::Leading { .. } if Instant::now() >= self.until => {
                tracing::warn!(
                    event = "suspended",
                    reason,
                    "the lease ran out before it could be renewed; still polling, but not publishing the results yet"
                );
                self.set_state(LeadState::Suspended);
            }
            LeadState::Standby if self.logged != Some(Logged::Unreachable) => {
                tracing::warn!(
                    event = "lease_unreachable",
                    reason,
                    "could not claim the lease, so this poller cannot lead; retrying"
                );
                self.logged = Some(Logged::Unreachable);
            }
            _ => {}
        }
    }

    fn log_taken(&mut self, by: Option<LeaderId>) {
        // The leader's id may become known a moment later. That is not worth another log line.
        let is_same = |before: Option<LeaderId>| before == by || before.is_none() || by.is_none();
        let known = matches!(self.logged, Some(Logged::Taken(before)) if is_same(before));
        if !known {
            let leader = by.map(|id| id.to_string());
            tracing::info!(event = "standing_by", leader, own = %self.lease.id(), "standing by; another poller leads");
        }
        self.logged = Some(Logged::Taken(by));
    }

    fn set_state(&self, now: LeadState) {
        let before = self.leadership.now();
        let same = match (before, now) {
            (LeadState::Leading { term: before, .. }, LeadState::Leading { term: now, .. }) => before == now,
            (before, now) => before == now,
        };
        // A renewal only changes `until`, so it does not wake up the receivers.
        self.state.send_if_modified(|state| {
            *state = now;
            !same
        });
        if !same {
            self.metrics.state(now.label());
        }
    }

    async fn step_down(&mut self) {
        self.set_state(LeadState::Standby);
        self.logged = Some(Logged::Taken(None));
        self.release().await;
    }

    async fn release(&mut self) {
        if let Some(held) = self.held.take() {
            match timeout(RELEASE_TIME, self.lease.release(held)).await {
                Ok(true) => tracing::info!(event = "lease_released", "released the lease"),
                Ok(false) | Err(_) => {
                    tracing::info!(
                        event = "lease_not_released",
                        "could not release the lease; another poller can lead once the lease has run out"
                    );
                }
            }
        }
    }
}

impl Leadership {
    /// The leadership of a poller that stands by, and the sender that changes it.
    pub(crate) fn channel(id: LeaderId) -> (watch::Sender<LeadState>, Self) {
        let (sender, state) = watch::channel(LeadState::Standby);
        (sender, Self { state, fenced: Arc::new(Notify::new()), id, contested: true })
    }

    /// This poller's id.
    pub fn id(&self) -> LeaderId {
        self.id
    }

    /// The current state.
    pub fn now(&self) -> LeadState {
        *self.state.borrow()
    }

    /// Whether records may be written in this term at the moment.
    pub fn may_write(&self, term: Term) -> bool {
        matches!(self.now(), LeadState::Leading { term: now, until } if now == term && Instant::now() < until)
    }

    /// Waits until `is_awaited` returns true for the state.
    pub async fn until(&mut self, is_awaited: impl FnMut(&LeadState) -> bool) {
        // Fails only if the sender is dropped, which happens when the process ends.
        let _ = self.state.wait_for(is_awaited).await;
    }

    /// Waits until this term ends or is interrupted.
    pub async fn ended(&mut self, term: Term) {
        self.until(|state| !matches!(state, LeadState::Leading { term: now, .. } if *now == term)).await;
    }

    /// Waits until [`fenced`](Self::fenced) or [`hand_over`](Self::hand_over) is called.
    pub(crate) async fn wait_until_fenced(&self) {
        self.fenced.notified().await;
    }

    /// Reports that the log showed another leader, so that this poller stands by.
    pub fn fenced(&self) {
        self.fenced.notify_one();
    }

    /// Gives up the lease so that another poller can lead. Does nothing if there can be no other poller.
    pub fn hand_over(&self) {
        if self.contested {
            self.fenced.notify_one();
        }
    }
}

/// Waits until the process is stopped, and then for `time`.
pub(crate) async fn soon_after(stop: &CancellationToken, time: Duration) {
    stop.cancelled().await;
    sleep(time).await;
}

#[cfg(test)]
mod tests;
