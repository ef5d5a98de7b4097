//! Tests of the lease keeper with a lease that expires, is taken, or does not respond. Tokio's clock is paused.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use common::{bus::lease::LeaseError, readiness::Readiness};

use tokio::time::sleep;

use super::*;

const SPAN: Duration = Duration::from_secs(5);

/// The server's side of a lease, which the holder must renew in time.
#[derive(Default)]
struct Server(Mutex<State>);

#[derive(Default)]
struct State {
    holder: Option<(LeaderId, Instant)>,
    revision: u64,
    silent: bool,
    hangs: bool,
    /// How long the response to a claim takes that has been stored.
    delay: Duration,
}

struct Client {
    server: Arc<Server>,
    id: LeaderId,
}

impl Server {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Lease for Client {
    fn id(&self) -> LeaderId {
        self.id
    }

    fn span(&self) -> Duration {
        SPAN
    }

    async fn is_reachable(&self) -> bool {
        !self.server.state().silent
    }

    async fn claim(&self, held: Option<Hold>) -> Result<Claim, LeaseError> {
        if self.server.state().hangs {
            std::future::pending::<()>().await;
        }
        let (claim, delay) = self.store(held);
        sleep(delay).await;
        claim
    }

    async fn release(&self, held: Hold) -> bool {
        let mut state = self.server.state();
        let is_ours = state.revision == held.revision;
        if is_ours {
            state.holder = None;
        }
        is_ours
    }
}

impl Client {
    /// What the server does with a claim, and how long its response takes.
    fn store(&self, held: Option<Hold>) -> (Result<Claim, LeaseError>, Duration) {
        let mut state = self.server.state();
        let delay = state.delay;
        if state.silent {
            return (Err(LeaseError("no response".into())), delay);
        }
        let holder = state.holder.filter(|(_, since)| since.elapsed() < SPAN);
        if let Some((holder, _)) = holder
            && (holder != self.id || held.is_none_or(|held| held.revision != state.revision))
        {
            return (Ok(Claim::Taken(Some(holder))), delay);
        }
        let expired = holder.is_none();
        state.revision += 1;
        let revision = state.revision;
        state.holder = Some((self.id, Instant::now()));
        let term = held.filter(|_| !expired).map_or(Term(revision), |held| held.term);
        (Ok(Claim::Held(Hold { term, revision })), delay)
    }
}

struct Rig {
    leadership: Leadership,
    readiness: Readiness,
    finished: CancellationToken,
}

fn start(server: &Arc<Server>, id: u64) -> Rig {
    let lease = Arc::new(Client { server: server.clone(), id: LeaderId(id) });
    let readiness = Readiness::default();
    let metrics = Metrics::unregistered();
    let (keeper, leadership) = LeaseKeeper::new(lease, metrics, readiness.check("lead"));
    let finished = CancellationToken::new();
    tokio::spawn(keeper.run(finished.clone()));
    Rig { leadership, readiness, finished }
}

impl Rig {
    fn term(&self) -> Option<Term> {
        match self.leadership.now() {
            LeadState::Leading { term, .. } => Some(term),
            _ => None,
        }
    }
}

async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_poller_keeps_leading_and_the_second_stands_by() {
    let server = Arc::new(Server::default());
    let one = start(&server, 1);
    pass(1).await;
    let other = start(&server, 2);
    for _second in 0..60 {
        pass(1).await;
        assert_eq!(one.term(), Some(Term(1)));
        assert!(one.leadership.may_write(Term(1)));
        assert_eq!(other.leadership.now(), LeadState::Standby);
    }
    assert_eq!(other.readiness.report(), [("lead", Condition::Ready)]);
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_within_one_claim() {
    let server = Arc::new(Server::default());
    let one = start(&server, 1);
    pass(1).await;
    let other = start(&server, 2);
    pass(7).await;
    one.finished.cancel();
    sleep(SPAN / CLAIMS_PER_SPAN + Duration::from_millis(1)).await;
    assert!(other.term().is_some());
}

/// The lease that a poller renews while it ends, or while another one turns out to lead, is released nevertheless.
#[tokio::test(start_paused = true)]
async fn a_lease_is_released_with_the_revision_of_a_renewal_in_progress() {
    for ends in [true, false] {
        let server = Arc::new(Server::default());
        let one = start(&server, 1);
        pass(3).await;
        server.state().delay = RELEASE_TIME / 2;
        let before = server.state().revision;
        while server.state().revision == before {
            sleep(Duration::from_millis(1)).await;
        }
        if ends {
            one.finished.cancel()
        } else {
            one.leadership.fenced()
        }
        sleep(RELEASE_TIME).await;
        assert!(server.state().holder.is_none(), "{ends}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poller_does_not_wait_long_for_a_renewal_when_it_ends() {
    let server = Arc::new(Server::default());
    let one = start(&server, 1);
    pass(3).await;
    server.state().hangs = true;
    pass(2).await;
    one.finished.cancel();
    sleep(RELEASE_TIME + Duration::from_millis(1)).await;
    assert!(server.state().holder.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_replaced_within_the_span_and_one_claim() {
    let server = Arc::new(Server::default());
    server.state().holder = Some((LeaderId(9), Instant::now()));
    let standby = start(&server, 1);
    pass(4).await;
    assert_eq!(standby.leadership.now(), LeadState::Standby);
    sleep(SPAN / CLAIMS_PER_SPAN + Duration::from_secs(1)).await;
    assert!(standby.term().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_response_is_suspended_before_another_can_lead() {
    for hangs in [false, true] {
        let server = Arc::new(Server::default());
        let leader = start(&server, 1);
        pass(20).await;
        let term = leader.term().unwrap();
        {
            let mut state = server.state();
            (state.silent, state.hangs) = (!hangs, hangs);
        }
        let since = server.state().holder.unwrap().1;
        while leader.term().is_some() {
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(leader.leadership.now(), LeadState::Suspended);
        assert!(since.elapsed() < SPAN, "{:?}", since.elapsed());
        assert!(!leader.leadership.may_write(term));
        assert!(matches!(leader.readiness.report()[..], [(_, Condition::Degraded(_))]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspended_leader_continues_its_term_or_a_new_one_or_stands_by() {
    for (outage_seconds, taken, same_term) in [(3, false, true), (60, false, false), (60, true, false)] {
        let server = Arc::new(Server::default());
        let leader = start(&server, 1);
        pass(4).await;
        let term = leader.term();
        server.state().silent = true;
        pass(outage_seconds).await;
        {
            let mut state = server.state();
            state.silent = false;
            if taken {
                state.holder = Some((LeaderId(2), Instant::now()));
            }
        }
        pass(2).await;
        match (taken, same_term) {
            (true, _) => assert_eq!(leader.leadership.now(), LeadState::Standby),
            (false, true) => assert_eq!(leader.term(), term, "unreachable for less than the span"),
            (false, false) => assert!(leader.term() > term),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_suspended_leader_leads_again() {
    for millis in (0..5_000).step_by(190) {
        let server = Arc::new(Server::default());
        let leader = start(&server, 1);
        sleep(Duration::from_millis(millis)).await;
        let standby = start(&server, 2);
        pass(3).await;
        server.state().silent = true;
        pass(60).await;
        assert_eq!(leader.leadership.now(), LeadState::Suspended);
        server.state().silent = false;
        pass(30).await;
        assert!(leader.term().is_some(), "{millis}");
        assert_eq!(standby.leadership.now(), LeadState::Standby);
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_a_standby_leads_if_no_other_poller_does() {
    let server = Arc::new(Server::default());
    server.state().holder = Some((LeaderId(9), Instant::now()));
    let standby = start(&server, 2);
    pass(1).await;
    server.state().silent = true;
    pass(60).await;
    server.state().silent = false;
    pass(8).await;
    assert!(standby.term().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_fenced_leader_stands_by_for_a_whole_span() {
    let server = Arc::new(Server::default());
    let leader = start(&server, 1);
    pass(3).await;
    assert!(leader.term().is_some());
    leader.leadership.fenced();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(leader.leadership.now(), LeadState::Standby);
    assert!(server.state().holder.is_none(), "the lease was released");
    pass(4).await;
    assert_eq!(leader.leadership.now(), LeadState::Standby);
    pass(2).await;
    assert!(leader.term().is_some());
}

#[tokio::test(start_paused = true)]
async fn renewals_do_not_wake_receivers() {
    let server = Arc::new(Server::default());
    let mut leader = start(&server, 1);
    pass(1).await;
    leader.leadership.state.mark_unchanged();
    pass(60).await;
    assert!(!leader.leadership.state.has_changed().unwrap());
}
