//! The slot loop on a clock that is set by hand, with sources that do as they are told.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use common::{
    bus::{AppendError, LogWriter, Newest, ReadError, lease::Term},
    domain::{
        Epoch, Evidence, Gap, GapCause, Judged, LeaderId, Origin, Policy, Record, Sequence, SourceName, Span,
        Verdict,
    },
    readiness::{Condition, Readiness},
};
use prometheus::Registry;
use tokio::sync::watch;

use super::*;
use crate::publish::queue;

const START: i64 = 1_000_000_000_000;

/// A wall clock that follows tokio's paused time, and can jump.
#[derive(Debug)]
struct FollowingClock {
    began: Instant,
    offset_millis: Mutex<i64>,
}

impl FollowingClock {
    fn new() -> Arc<Self> {
        // The time of the slot that has begun is over: the next one is the first.
        Arc::new(Self { began: Instant::now(), offset_millis: Mutex::new(5_000) })
    }

    fn jump(&self, millis: i64) {
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

/// A source that answers after a while, with the price of the moment.
struct Scripted {
    name: &'static str,
    takes: Duration,
    price: Arc<Mutex<&'static str>>,
}

#[async_trait]
impl Source for Scripted {
    fn name(&self) -> SourceName {
        self.name.parse().unwrap()
    }

    fn origin(&self) -> Origin {
        Origin::Live
    }

    async fn ask(&self, _slot: Slot, deadline: Instant) -> Answers {
        let price = *self.price.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match tokio::time::timeout_at(deadline, tokio::time::sleep(self.takes)).await {
            Ok(()) => Ok(Sample { price: price.parse().unwrap(), time: None }),
            Err(_) => Err(Failure::Timeout),
        };
        [(pair(), answer)].into()
    }
}

/// A log that has this newest record.
struct Known(Option<Record>);

#[async_trait]
impl LogWriter for Known {
    async fn newest(&self, _pair: Pair) -> Result<Newest, ReadError> {
        Ok(Newest { sequence: Sequence(1), record: self.0.clone() })
    }

    async fn origin(&self) -> Result<Option<Origin>, ReadError> {
        Ok(None)
    }

    async fn append(&self, _record: &Record, _expected: Sequence) -> Result<Sequence, AppendError> {
        Err(AppendError::WrongLastSequence)
    }
}

fn pair() -> Pair {
    "BTC-USD".parse().unwrap()
}

struct Rig {
    clock: Arc<FollowingClock>,
    slots: mpsc::Receiver<PolledSlot>,
    prices: Vec<Arc<Mutex<&'static str>>>,
    readiness: Readiness,
    standing: watch::Sender<Standing>,
    stop: CancellationToken,
}

fn policy(min_sources: u32) -> Policy {
    Policy {
        min_sources,
        max_deviation: "2%".parse().unwrap(),
        max_quote_age: Span::from_seconds(30),
        max_clock_skew: Span::from_seconds(5),
        frozen_after: Span::from_seconds(60),
    }
}

fn degraded(readiness: &Readiness) -> bool {
    matches!(readiness.report().first(), Some((_, Condition::Degraded(_))))
}

fn leading() -> Standing {
    Standing::Leading { term: Term(1), until: Instant::now() + Duration::from_secs(1_000_000) }
}

/// A slot loop at 10 s that leads, with sources that take so long and have such roles.
fn rig(sources: &[(&'static str, u64, Role)], min_sources: u32) -> Rig {
    rig_after(None, leading(), sources, min_sources)
}

/// The same after a newest record, and standing so.
fn rig_after(
    newest: Option<Record>,
    stands: Standing,
    sources: &[(&'static str, u64, Role)],
    min_sources: u32,
) -> Rig {
    let clock = FollowingClock::new();
    let mut prices = Vec::new();
    let members = sources.iter().map(|(name, millis, role)| {
        let price = Arc::new(Mutex::new("100.0"));
        prices.push(price.clone());
        Member {
            source: Arc::new(Scripted { name, takes: Duration::from_millis(*millis), price }),
            role: *role,
        }
    });
    let settings = Settings {
        interval: "10s".parse().unwrap(),
        pairs: vec![pair()],
        members: members.collect(),
        policy: policy(min_sources),
        origin: Origin::Live,
        clock: None,
    };
    let readiness = Readiness::default();
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let (standing, leadership) = Leadership::channel(LeaderId(1));
    standing.send_replace(stands);
    let log = Arc::new(Known(newest));
    let poll = Poll::new(settings, clock.clone(), log, leadership, metrics, readiness.check("sources"));
    let (queue, slots) = queue();
    let stop = CancellationToken::new();
    tokio::spawn(poll.run(queue, stop.clone()));
    Rig { clock, slots, prices, readiness, standing, stop }
}

impl Rig {
    /// The next polled slot, in seconds since the start, and its body.
    async fn next(&mut self) -> (i64, Body) {
        let mut polled = self.slots.recv().await.unwrap();
        ((polled.slot.start().unix_millis() - START) / 1_000, polled.bodies.pop().unwrap().1)
    }

    fn set(&self, source: usize, price: &'static str) {
        *self.prices[source].lock().unwrap_or_else(PoisonError::into_inner) = price;
    }
}

fn verdicts(body: &Body) -> Vec<Verdict> {
    let evidence = match body {
        Body::Tick(tick) => &tick.evidence,
        Body::Gap(gap) => gap.evidence.as_ref().unwrap(),
        Body::Lead(_) => panic!("the slot loop makes no leads"),
    };
    evidence.quotes.iter().map(|judged| judged.verdict).collect()
}

const PRIMARY: Role = Role::Primary;

#[tokio::test(start_paused = true)]
async fn every_slot_is_polled_once_at_its_instant() {
    let mut rig = rig(&[("a", 100, PRIMARY), ("b", 200, PRIMARY)], 2);
    for expected in [10, 20, 30, 40] {
        let (second, body) = rig.next().await;
        assert_eq!(second, expected);
        assert!(matches!(body, Body::Tick(_)));
        // The slowest source decides when the slot is done, not the deadline.
        assert_eq!(rig.clock.now().unix_millis() - START, expected * 1_000 + 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_a_timeout_and_delays_nothing_else() {
    let mut rig = rig(&[("a", 100, PRIMARY), ("b", 100, PRIMARY), ("hangs", 60_000, PRIMARY)], 2);
    for expected in [10, 20] {
        let (second, body) = rig.next().await;
        assert_eq!(second, expected);
        assert_eq!(verdicts(&body), [Verdict::Used, Verdict::Used, Verdict::Failed(Failure::Timeout)]);
        assert_eq!(rig.clock.now().unix_millis() - START, expected * 1_000 + 4_000);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_it_goes_on_with_the_slot_that_is_due() {
    let mut rig = rig(&[("a", 100, PRIMARY)], 1);
    assert_eq!(rig.next().await.0, 10);
    rig.clock.jump(45_000);
    let (second, _) = rig.next().await;
    assert!([50, 60].contains(&second), "{second}");
    assert_eq!(rig.next().await.0, second + 10);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_polls_no_slot_again() {
    let mut rig = rig(&[("a", 100, PRIMARY)], 1);
    assert_eq!(rig.next().await.0, 10);
    assert_eq!(rig.next().await.0, 20);
    rig.clock.jump(-3_600_000);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(degraded(&rig.readiness), "an hour without a slot is not kept quiet");
    assert_eq!(rig.next().await.0, 30);
    assert!(!degraded(&rig.readiness));
}

#[tokio::test(start_paused = true)]
async fn a_standby_asks_nobody_and_takes_over_with_the_slot_that_has_begun() {
    let mut rig = rig_after(None, Standing::Standby, &[("a", 100, PRIMARY)], 1);
    tokio::time::sleep(Duration::from_secs(17)).await;
    assert!(rig.slots.try_recv().is_err());
    assert_eq!(rig.readiness.report(), [("sources", Condition::Ready)]);
    // Two seconds into slot 20: there is time enough left for it.
    rig.standing.send_replace(leading());
    assert_eq!(rig.next().await.0, 20);
    assert_eq!(rig.next().await.0, 30);
    rig.standing.send_replace(Standing::Suspended);
    assert_eq!(rig.next().await.0, 40, "a suspended poller goes on");
    rig.standing.send_replace(Standing::Standby);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(rig.slots.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_remembers_what_was_frozen() {
    let long_ago = Timestamp::from_unix_millis(START - 3_600_000).unwrap();
    let observation = Observation {
        price: "100.0".parse().unwrap(),
        observed_at: long_ago,
        source_time: None,
        unchanged_since: long_ago,
    };
    let judged =
        Judged { source: "stuck".parse().unwrap(), observation: Some(observation), verdict: Verdict::Unused };
    let interval: Interval = "10s".parse().unwrap();
    let slot = interval.slot_at(long_ago);
    let evidence = Some(Evidence { policy: policy(1), quotes: vec![judged] });
    let gap = Gap { from: slot, slot, interval, cause: GapCause::TooFewSources, evidence };
    let newest = Record { pair: pair(), epoch: Epoch(1), origin: Origin::Live, body: Body::Gap(gap) };
    let mut rig = rig_after(Some(newest), leading(), &[("moves", 100, PRIMARY), ("stuck", 100, PRIMARY)], 1);
    assert_eq!(verdicts(&rig.next().await.1), [Verdict::Used, Verdict::Frozen]);
}

#[tokio::test(start_paused = true)]
async fn fallbacks_are_asked_only_when_the_primaries_cannot_agree() {
    let mut rig = rig(&[("a", 100, PRIMARY), ("b", 100, PRIMARY), ("spare", 100, Role::Fallback)], 2);
    assert_eq!(verdicts(&rig.next().await.1).len(), 2);
    rig.set(1, "200.0");
    let (_, body) = rig.next().await;
    assert_eq!(verdicts(&body), [Verdict::Used, Verdict::Outlier, Verdict::Used]);
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_hangs_leaves_the_fallbacks_their_time() {
    let mut rig = rig(&[("a", 100, PRIMARY), ("hangs", 60_000, PRIMARY), ("spare", 500, Role::Fallback)], 2);
    let (_, body) = rig.next().await;
    assert_eq!(verdicts(&body), [Verdict::Used, Verdict::Failed(Failure::Timeout), Verdict::Used]);
    assert!(matches!(body, Body::Tick(_)));
}

#[tokio::test(start_paused = true)]
async fn shadows_are_asked_and_never_used() {
    let mut rig = rig(&[("a", 100, PRIMARY), ("watched", 100, Role::Shadow)], 1);
    rig.set(1, "100.5");
    assert_eq!(verdicts(&rig.next().await.1), [Verdict::Used, Verdict::Shadow]);
}

#[tokio::test(start_paused = true)]
async fn a_price_that_stands_still_while_its_peer_moves_is_frozen() {
    let mut rig = rig(&[("moves", 100, PRIMARY), ("stuck", 100, PRIMARY)], 1);
    for round in 0..9 {
        rig.set(0, if round % 2 == 0 { "100.1" } else { "100.2" });
        let (second, body) = rig.next().await;
        let expected = if second > 70 { Verdict::Frozen } else { Verdict::Used };
        assert_eq!(verdicts(&body)[1], expected, "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_tells_when_no_price_is_agreed() {
    let mut rig = rig(&[("a", 100, PRIMARY), ("b", 100, PRIMARY)], 2);
    rig.set(1, "200.0");
    let (_, body) = rig.next().await;
    assert!(matches!(body, Body::Gap(gap) if gap.cause == GapCause::Disagreement));
    assert!(degraded(&rig.readiness));
    rig.set(1, "100.0");
    let _ = rig.next().await;
    assert!(!degraded(&rig.readiness));
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_the_queue() {
    let mut rig = rig(&[("a", 60_000, PRIMARY)], 1);
    rig.stop.cancel();
    assert!(rig.slots.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_being_polled_when_told_to_stop_becomes_a_tick() {
    let mut rig = rig(&[("a", 1_000, PRIMARY)], 1);
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    rig.stop.cancel();
    assert_eq!(rig.next().await.0, 10);
    assert!(rig.slots.recv().await.is_none());
}
