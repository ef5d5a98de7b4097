//! The chain against a log that loses acknowledgements, is away, or is written by somebody else.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use common::{
    bus::{AppendError, Newest, Source},
    domain::{Evidence, Interval, Lead, LeaderId, Policy, Ratio, Record, Sequence, Span, Tick, Timestamp},
};
use prometheus::Registry;
use tokio::sync::watch;

use super::*;

/// What becomes of the next append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Stored and acknowledged.
    Stored,
    /// Stored, but the acknowledgement is lost.
    AckLost,
    /// Neither stored nor acknowledged.
    Lost,
    /// Somebody else's record of a later epoch comes first.
    Overtaken,
    /// Another poller's lead of the same epoch comes first.
    SameEpoch,
    /// A message that is no record comes first.
    Disturbed,
}

/// A log in memory that keeps the fence as JetStream does, and fails as it is told.
#[derive(Default)]
struct UnreliableLog {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: Vec<Option<Record>>,
    fates: Vec<Fate>,
}

impl UnreliableLog {
    fn with(fates: &[Fate]) -> Arc<Self> {
        let state = State { fates: fates.iter().rev().copied().collect(), ..State::default() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn records(&self) -> Vec<Record> {
        self.state().records.iter().flatten().cloned().collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn last(&self) -> Sequence {
        Sequence(u64::try_from(self.records.len()).unwrap_or(u64::MAX))
    }
}

fn lost() -> AppendError {
    AppendError::Unconfirmed(Source::from("no answer"))
}

#[async_trait]
impl LogWriter for UnreliableLog {
    async fn newest(&self, _pair: Pair) -> Result<Newest, ReadError> {
        let state = self.state();
        Ok(Newest { sequence: state.last(), record: state.records.iter().flatten().next_back().cloned() })
    }

    async fn origin(&self) -> Result<Option<Origin>, ReadError> {
        Ok(self.records().last().map(|record| record.origin))
    }

    async fn append(&self, record: &Record, expected: Sequence) -> Result<Sequence, AppendError> {
        let mut state = self.state();
        let fate = state.fates.pop().unwrap_or(Fate::Stored);
        match fate {
            Fate::Lost => return Err(lost()),
            Fate::Disturbed => state.records.push(None),
            Fate::Overtaken => {
                let theirs = Record { epoch: record.epoch.next(), ..record.clone() };
                state.records.push(Some(theirs));
            }
            Fate::SameEpoch => {
                let lead = Lead { covered: record.covers_up_to(), leader: Some(LeaderId(u64::MAX)) };
                state.records.push(Some(Record { body: Body::Lead(lead), ..record.clone() }));
            }
            Fate::Stored | Fate::AckLost => {}
        }
        if state.last() != expected {
            return Err(AppendError::WrongLastSequence);
        }
        state.records.push(Some(record.clone()));
        if fate == Fate::AckLost { Err(lost()) } else { Ok(state.last()) }
    }
}

fn interval() -> Interval {
    "10s".parse().unwrap()
}

fn slot(index: i64) -> Slot {
    interval().slot(Timestamp::from_unix_millis(index * 10_000).unwrap()).unwrap()
}

fn pair() -> Pair {
    "BTC-USD".parse().unwrap()
}

fn tick(index: i64) -> PolledSlot {
    let policy = Policy {
        min_sources: 1,
        max_deviation: "2%".parse().unwrap(),
        max_quote_age: Span::from_seconds(30),
        max_clock_skew: Span::from_seconds(5),
        frozen_after: Span::from_seconds(600),
    };
    let price = "97012.30".parse().unwrap();
    let spread = Ratio::distance(price, price, price);
    let evidence = Evidence { policy, quotes: Vec::new() };
    let body = Body::Tick(Tick { slot: slot(index), interval: interval(), price, spread, evidence });
    PolledSlot { slot: slot(index), bodies: vec![(pair(), body)] }
}

/// A publisher, its queue, and how it stands.
struct Rig {
    standing: watch::Sender<Standing>,
    slots: mpsc::Sender<PolledSlot>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), TaskError>>,
    leadership: Leadership,
}

impl Rig {
    /// A process that stands by.
    fn start(log: &Arc<UnreliableLog>, origin: Origin) -> Self {
        let (standing, leadership) = Leadership::channel(LeaderId(rand_id()));
        let (slots, receiver) = queue();
        let stop = CancellationToken::new();
        let publisher = Publisher {
            writer: log.clone(),
            pairs: vec![pair()],
            interval: interval(),
            origin,
            leadership: leadership.clone(),
            metrics: Metrics::new(&Registry::new()).unwrap(),
            stop: stop.clone(),
        };
        let task = tokio::spawn(publisher.run(receiver));
        Self { standing, slots, stop, task, leadership }
    }

    fn leads(&self, term: u64) {
        let until = tokio::time::Instant::now() + Duration::from_secs(1_000_000);
        self.standing.send_replace(Standing::Leading { term: Term(term), until });
    }

    async fn polls(&self, slots: &[i64]) {
        for index in slots {
            self.slots.send(tick(*index)).await.unwrap();
        }
    }

    /// Lets everything happen that can happen by itself. Time is paused: this takes none.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }

    async fn end(self) -> Result<(), TaskError> {
        drop(self.slots);
        self.task.await.unwrap()
    }
}

/// Every process of a test has another id.
fn rand_id() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Publishes the slots in one process that leads from start to stop.
async fn publish(log: &Arc<UnreliableLog>, origin: Origin, slots: &[i64]) -> Result<(), TaskError> {
    let rig = Rig::start(log, origin);
    rig.leads(0);
    rig.polls(slots).await;
    rig.end().await
}

/// Each record in a word: `L` lead, `T3` tick of slot 3, `G4-6` gap from 4 to 6.
fn words(log: &UnreliableLog) -> String {
    let index = |slot: Slot| slot.start().unix_millis() / 10_000;
    let word = |record: Record| match record.body {
        Body::Lead(_) => format!("L{}", record.epoch),
        Body::Tick(tick) => format!("T{}", index(tick.slot)),
        Body::Gap(gap) => format!("G{}-{}:{}", index(gap.from), index(gap.slot), gap.cause),
    };
    log.records().into_iter().map(word).collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_new_pair_begins_with_a_lead_and_no_gap() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7, 8]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8");
}

#[tokio::test(start_paused = true)]
async fn slots_that_pass_are_covered_by_a_gap_with_its_cause() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7, 10]).await.unwrap();
    publish(&log, Origin::Live, &[15, 16, 18]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 G8-9:missed T10 L2 G11-14:no_leader T15 T16 G17-17:missed T18");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_after_its_lead_leaves_no_hole() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7]).await.unwrap();
    publish(&log, Origin::Live, &[]).await.unwrap();
    publish(&log, Origin::Live, &[9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 L2 L3 G8-8:no_leader T9");
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_repeats_nothing() {
    let log = UnreliableLog::with(&[Fate::AckLost, Fate::AckLost, Fate::Stored, Fate::AckLost]);
    publish(&log, Origin::Live, &[7, 8, 9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 T9");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_away_gets_everything_later_in_order() {
    let log = UnreliableLog::with(&[Fate::Lost; 50]);
    publish(&log, Origin::Live, &[7, 8, 9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 T9");
}

#[tokio::test(start_paused = true)]
async fn a_second_writer_sends_us_back_to_standing_by() {
    let log = UnreliableLog::with(&[Fate::Stored, Fate::Stored, Fate::Overtaken]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    rig.polls(&[7, 8, 9]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L1 T7 T8");
    // The one that keeps the lease is told, and says how we stand now; what was polled is another's.
    rig.standing.send_replace(Standing::Standby);
    rig.settle().await;
    rig.leads(5);
    rig.polls(&[11]).await;
    rig.end().await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 L5 G9-10:no_leader T11");
}

#[tokio::test(start_paused = true)]
async fn a_second_writer_is_told_to_the_keeper_of_the_lease() {
    let log = UnreliableLog::with(&[Fate::Stored, Fate::Overtaken]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    rig.polls(&[7]).await;
    let told = tokio::time::timeout(Duration::from_secs(60), rig.leadership.told_fenced()).await;
    assert!(told.is_ok());
    rig.standing.send_replace(Standing::Standby);
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_pollers_that_pick_one_epoch_do_not_take_each_others_lead_for_their_own() {
    let log = UnreliableLog::with(&[Fate::SameEpoch]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    rig.polls(&[7]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L1", "the other's, and nothing of ours");
    rig.standing.send_replace(Standing::Standby);
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_suspended_poller_keeps_what_it_polled_and_writes_nothing() {
    let log = UnreliableLog::with(&[]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(3);
    rig.polls(&[7]).await;
    rig.settle().await;
    rig.standing.send_replace(Standing::Suspended);
    rig.polls(&[8, 9]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7");
    rig.leads(3);
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7 T8 T9", "the same term goes on as if nothing had been");
    rig.standing.send_replace(Standing::Suspended);
    rig.polls(&[10, 13]).await;
    rig.settle().await;
    rig.leads(20);
    rig.end().await.unwrap();
    assert_eq!(words(&log), "L3 T7 T8 T9 L20 T10 G11-12:missed T13", "nobody else has led meanwhile");
}

#[tokio::test(start_paused = true)]
async fn what_was_polled_while_another_led_is_not_written() {
    let log = UnreliableLog::with(&[]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(3);
    rig.polls(&[7]).await;
    rig.settle().await;
    rig.standing.send_replace(Standing::Suspended);
    rig.polls(&[8, 9]).await;
    rig.settle().await;
    publish(&log, Origin::Live, &[8, 9, 10]).await.unwrap();
    rig.standing.send_replace(Standing::Standby);
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7 L4 T8 T9 T10");
    rig.leads(30);
    rig.polls(&[12]).await;
    rig.end().await.unwrap();
    assert_eq!(words(&log), "L3 T7 L4 T8 T9 T10 L30 G11-11:no_leader T12");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_has_run_out_unnoticed_stops_the_pen() {
    let log = UnreliableLog::with(&[]);
    let rig = Rig::start(&log, Origin::Live);
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    rig.standing.send_replace(Standing::Leading { term: Term(3), until });
    rig.polls(&[7]).await;
    rig.settle().await;
    // Nobody has said so, as after a pause of the whole process.
    rig.polls(&[8]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7");
    rig.leads(3);
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7 T8");
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_no_record_is_stepped_over() {
    let log = UnreliableLog::with(&[Fate::Stored, Fate::Disturbed, Fate::Stored, Fate::Disturbed]);
    publish(&log, Origin::Live, &[7, 8, 9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 T9");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_repeats_no_slot() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7, 8, 6, 7, 8, 9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 T9");
}

#[tokio::test(start_paused = true)]
async fn invented_prices_do_not_follow_real_ones() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7]).await.unwrap();
    let ended = publish(&log, Origin::Simulated, &[8]).await.unwrap_err();
    assert!(matches!(ended.downcast_ref(), Some(PublishError::Origin { .. })), "{ended}");
    assert_eq!(words(&log), "L1 T7");
}

#[tokio::test(start_paused = true)]
async fn stopping_does_not_wait_for_a_log_that_is_away() {
    let log = UnreliableLog::with(&[Fate::Lost; 10_000]);
    for standing in [None, Some(Standing::Suspended)] {
        let rig = Rig::start(&log, Origin::Live);
        rig.leads(0);
        if let Some(standing) = standing {
            rig.standing.send_replace(standing);
        }
        rig.stop.cancel();
        rig.end().await.unwrap();
    }
    assert_eq!(words(&log), "");
}
