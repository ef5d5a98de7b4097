//! A slot loop with a controllable clock, scripted sources, and a log whose server has a clock.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use common::{
    bus::{AppendError, Newest, ReadError, lease::Term},
    domain::{AgeRule, LeaderId, Origin, Policy, PriceRule, Record, Sequence, SourceName, Span, Verdict},
    readiness::{Condition, Readiness},
};
use tokio::sync::watch;

use crate::publish::queue;
use crate::{
    poll::*,
    source::{Sample, Source},
};

pub(super) const START: i64 = 1_000_000_000_000;

/// The clock starts in the middle of a slot, when it is too late to poll that slot. So the next slot is the
/// first one that is polled.
const FIRST_OFFSET_MILLIS: i64 = 5_000;

/// A wall clock that follows tokio's paused clock and can jump.
#[derive(Debug)]
pub(super) struct FollowingClock {
    began: Instant,
    offset_millis: Mutex<i64>,
}

impl FollowingClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), offset_millis: Mutex::new(FIRST_OFFSET_MILLIS) })
    }

    /// The time without any jumps.
    fn correct(&self) -> Timestamp {
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).unwrap();
        Timestamp::from_unix_millis(START + elapsed + FIRST_OFFSET_MILLIS).unwrap()
    }

    pub(super) fn jump(&self, millis: i64) {
        *self.offset_millis.lock().unwrap_or_else(PoisonError::into_inner) += millis;
    }
}

impl Clock for FollowingClock {
    fn now(&self) -> Timestamp {
        let offset = *self.offset_millis.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).unwrap();
        Timestamp::from_unix_millis(START + elapsed + offset).unwrap()
    }
}

/// A source that responds after a fixed time with a price that the test sets.
pub(super) struct Scripted {
    name: &'static str,
    takes: Duration,
    price: Arc<Mutex<&'static str>>,
    clock: Arc<FollowingClock>,
}

#[async_trait]
impl Source for Scripted {
    fn name(&self) -> SourceName {
        self.name.parse().unwrap()
    }

    fn origin(&self) -> Origin {
        Origin::Live
    }

    fn clock(&self) -> Option<(Timestamp, Instant)> {
        self.name.starts_with("dated").then(|| (self.clock.correct(), Instant::now()))
    }

    async fn ask(&self, _slot: Slot, deadline: Instant) -> Answers {
        let price = *self.price.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match tokio::time::timeout_at(deadline, tokio::time::sleep(self.takes)).await {
            Ok(()) => {
                let time = self.name.starts_with("timed").then(|| self.clock.correct());
                Ok(Sample::traded(price.parse().unwrap(), time))
            }
            Err(_) => Err(Failure::Timeout),
        };
        [(pair(), answer)].into()
    }
}

/// A log whose server has the correct clock. Nothing else is asked of it.
pub(super) struct ServerClock(Option<Arc<FollowingClock>>);

#[async_trait]
impl LogWriter for ServerClock {
    async fn server_time(&self) -> Option<Timestamp> {
        self.0.as_ref().map(|clock| clock.correct())
    }

    async fn newest(&self, _pair: Pair) -> Result<Newest, ReadError> {
        unreachable!("the slot loop does not read the log")
    }

    async fn origin(&self) -> Result<Option<Origin>, ReadError> {
        unreachable!("the slot loop does not read the log")
    }

    async fn append(&self, _record: &Record, _expected: Sequence) -> Result<Sequence, AppendError> {
        unreachable!("the slot loop does not write to the log")
    }
}

pub(super) fn pair() -> Pair {
    "BTC-USD".parse().unwrap()
}

pub(super) struct Rig {
    pub(super) clock: Arc<FollowingClock>,
    pub(super) slots: mpsc::Receiver<PolledSlot>,
    pub(super) prices: Vec<Arc<Mutex<&'static str>>>,
    pub(super) readiness: Readiness,
    pub(super) state: watch::Sender<LeadState>,
    pub(super) leadership: Leadership,
    pub(super) stop: CancellationToken,
}

pub(in crate::poll) fn policy(min_sources: u32) -> Policy {
    Policy {
        rules: Policy::RULES,
        price: PriceRule::Mid,
        min_sources,
        max_deviation: "2%".parse().unwrap(),
        max_quote_age: Span::from_seconds(30),
        max_clock_skew: Span::from_seconds(5),
        frozen_after: Span::from_seconds(60),
        aged_at: AgeRule::Arrival,
    }
}

pub(super) fn degraded(readiness: &Readiness) -> bool {
    matches!(readiness.report().first(), Some((_, Condition::Degraded(_))))
}

pub(super) fn leading() -> LeadState {
    LeadState::Leading { term: Term(1), until: Instant::now() + Duration::from_secs(1_000_000) }
}

/// A slot loop that leads, with an interval of 10 s. Sources are given by name, response time in milliseconds
/// and role. Those whose name starts with `timed` send timestamps with their prices, and those whose name starts with
/// `dated` send the time of their response. A source `log` is the server of the log instead, which has a clock.
pub(super) fn rig(sources: &[(&'static str, u64, Role)], min_sources: u32) -> Rig {
    rig_after(None, leading(), sources, min_sources)
}

/// Like [`rig`], but with a newest record in the log and with a given state of the leadership.
pub(super) fn rig_after(
    newest: Option<Record>,
    initial: LeadState,
    sources: &[(&'static str, u64, Role)],
    min_sources: u32,
) -> Rig {
    let clock = FollowingClock::new();
    let mut prices = Vec::new();
    let has_clock = sources.iter().any(|(name, ..)| *name == "log");
    let log = Arc::new(ServerClock(has_clock.then(|| clock.clone())));
    let members = sources.iter().filter(|(name, ..)| *name != "log").map(|(name, millis, role)| {
        let price = Arc::new(Mutex::new("100.0"));
        prices.push(price.clone());
        Member {
            source: Arc::new(Scripted {
                name,
                takes: Duration::from_millis(*millis),
                price,
                clock: clock.clone(),
            }),
            role: *role,
            pairs: vec![pair()],
            max_age: None,
        }
    });
    let settings = Settings {
        interval: "10s".parse().unwrap(),
        pairs: [(pair(), policy(min_sources))].into(),
        members: members.collect(),
        backfill: None,
        origin: Origin::Live,
        clock: None,
    };
    let readiness = Readiness::default();
    let metrics = Metrics::unregistered();
    let (state, leadership) = Leadership::channel(LeaderId(1));
    state.send_replace(initial);
    let newest = newest.into_iter().collect();
    let (_, takeovers) = watch::channel(Some(Arc::new(Takeover { term: Term(1), newest })));
    let poll = Poll::new(
        settings,
        clock.clone(),
        leadership.clone(),
        takeovers,
        log,
        metrics,
        readiness.check("sources"),
    );
    let (queue, slots) = queue();
    let stop = CancellationToken::new();
    tokio::spawn(poll.run(queue, stop.clone()));
    Rig { clock, slots, prices, readiness, state, leadership, stop }
}

impl Rig {
    /// The next polled slot in seconds since the start, and its body.
    pub(super) async fn next(&mut self) -> (i64, Body) {
        let mut polled = self.slots.recv().await.unwrap();
        ((polled.slot.start().unix_millis() - START) / 1_000, polled.bodies.pop().unwrap().1)
    }

    pub(super) fn set(&self, source: usize, price: &'static str) {
        *self.prices[source].lock().unwrap_or_else(PoisonError::into_inner) = price;
    }
}

pub(super) fn verdicts(body: &Body) -> Vec<Verdict> {
    let evidence = match body {
        Body::Tick(tick) => &tick.evidence,
        Body::Gap(gap) => gap.evidence.as_ref().unwrap(),
        Body::Lead(_) => panic!("the slot loop makes no leads"),
    };
    evidence.quotes.iter().map(|judged| judged.verdict).collect()
}
