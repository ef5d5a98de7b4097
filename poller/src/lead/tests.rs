//! The keeper of the lease against a lease that expires, is taken, or does not answer, on paused time.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use common::{bus::lease::LeaseError, readiness::Readiness};
use prometheus::Registry;

use tokio::time::sleep;

use super::*;

const SPAN: Duration = Duration::from_secs(5);

/// A lease as a server keeps it: whoever holds it must write again in time.
#[derive(Default)]
struct Server(Mutex<State>);

#[derive(Default)]
struct State {
    holder: Option<(LeaderId, Instant)>,
    revision: u64,
    silent: bool,
    hangs: bool,
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

    async fn answers(&self) -> bool {
        !self.server.state().silent
    }

    async fn claim(&self, held: Option<Hold>) -> Result<Claim, LeaseError> {
        if self.server.state().hangs {
            std::future::pending::<()>().await;
        }
        let mut state = self.server.state();
        if state.silent {
            return Err(LeaseError("no answer".into()));
        }
        let holder = state.holder.filter(|(_, since)| since.elapsed() < SPAN);
        if let Some((holder, _)) = holder
            && (holder != self.id || held.is_none_or(|held| held.revision != state.revision))
        {
            return Ok(Claim::Taken(Some(holder)));
        }
        let expired = holder.is_none();
        state.revision += 1;
        let revision = state.revision;
        state.holder = Some((self.id, Instant::now()));
        let term = held.filter(|_| !expired).map_or(Term(revision), |held| held.term);
        Ok(Claim::Held(Hold { term, revision }))
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

struct Rig {
    leadership: Leadership,
    readiness: Readiness,
    finished: CancellationToken,
}

fn start(server: &Arc<Server>, id: u64) -> Rig {
    let lease = Arc::new(Client { server: server.clone(), id: LeaderId(id) });
    let readiness = Readiness::default();
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let (lead, leadership) = Lead::new(lease, metrics, readiness.check("lead"));
    let finished = CancellationToken::new();
    tokio::spawn(lead.run(finished.clone()));
    Rig { leadership, readiness, finished }
}

impl Rig {
    fn term(&self) -> Option<Term> {
        match self.leadership.now() {
            Standing::Leading { term, .. } => Some(term),
            _ => None,
        }
    }
}

async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_and_goes_on_leading_and_the_second_stands_by() {
    let server = Arc::new(Server::default());
    let one = start(&server, 1);
    pass(1).await;
    let other = start(&server, 2);
    for _second in 0..60 {
        pass(1).await;
        assert_eq!(one.term(), Some(Term(1)));
        assert!(one.leadership.may_write(Term(1)));
        assert_eq!(other.leadership.now(), Standing::Standby);
    }
    assert_eq!(other.readiness.report(), [("lead", Condition::Ready)]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_taken_within_one_ask() {
    let server = Arc::new(Server::default());
    let one = start(&server, 1);
    pass(1).await;
    let other = start(&server, 2);
    pass(7).await;
    one.finished.cancel();
    sleep(SPAN / CLAIMS_PER_SPAN + Duration::from_millis(1)).await;
    assert!(other.term().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_is_followed_within_the_span_and_one_ask() {
    let server = Arc::new(Server::default());
    server.state().holder = Some((LeaderId(9), Instant::now()));
    let standby = start(&server, 1);
    pass(4).await;
    assert_eq!(standby.leadership.now(), Standing::Standby);
    sleep(SPAN / CLAIMS_PER_SPAN + Duration::from_secs(1)).await;
    assert!(standby.term().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_gets_no_answer_is_suspended_before_anybody_else_can_lead() {
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
        assert_eq!(leader.leadership.now(), Standing::Suspended);
        assert!(since.elapsed() < SPAN, "{:?}", since.elapsed());
        assert!(!leader.leadership.may_write(term));
        assert!(matches!(leader.readiness.report()[..], [(_, Condition::Degraded(_))]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspended_leader_goes_on_in_its_term_or_in_a_new_one_or_not_at_all() {
    for (away, taken, same_term) in [(3, false, true), (60, false, false), (60, true, false)] {
        let server = Arc::new(Server::default());
        let leader = start(&server, 1);
        pass(4).await;
        let term = leader.term();
        server.state().silent = true;
        pass(away).await;
        {
            let mut state = server.state();
            state.silent = false;
            if taken {
                state.holder = Some((LeaderId(2), Instant::now()));
            }
        }
        pass(2).await;
        match (taken, same_term) {
            (true, _) => assert_eq!(leader.leadership.now(), Standing::Standby),
            (false, true) => assert_eq!(leader.term(), term, "away for less than the span"),
            (false, false) => assert!(leader.term() > term),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_log_was_away_the_suspended_leader_comes_first() {
    for millis in (0..5_000).step_by(190) {
        let server = Arc::new(Server::default());
        let leader = start(&server, 1);
        sleep(Duration::from_millis(millis)).await;
        let standby = start(&server, 2);
        pass(3).await;
        server.state().silent = true;
        pass(60).await;
        assert_eq!(leader.leadership.now(), Standing::Suspended);
        server.state().silent = false;
        pass(30).await;
        assert!(leader.term().is_some(), "{millis}");
        assert_eq!(standby.leadership.now(), Standing::Standby);
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_log_was_away_the_standby_leads_if_nobody_else_does() {
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
    assert_eq!(leader.leadership.now(), Standing::Standby);
    assert!(server.state().holder.is_none(), "it gave back what it should not have");
    pass(4).await;
    assert_eq!(leader.leadership.now(), Standing::Standby);
    pass(2).await;
    assert!(leader.term().is_some());
}

#[tokio::test(start_paused = true)]
async fn renewals_wake_nobody() {
    let server = Arc::new(Server::default());
    let mut leader = start(&server, 1);
    pass(1).await;
    leader.leadership.standing.mark_unchanged();
    pass(60).await;
    assert!(!leader.leadership.standing.has_changed().unwrap());
}
