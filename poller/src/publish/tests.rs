//! The chain against a log that loses acknowledgements, is away, or is written by somebody else.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use common::{
    bus::Source,
    domain::{Evidence, Policy, Ratio, Span, Tick},
};
use prometheus::Registry;

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

/// Publishes the slots through a new publisher, as a process would between start and stop.
async fn publish(log: &Arc<UnreliableLog>, origin: Origin, slots: &[i64]) -> Result<(), TaskError> {
    let publisher = Publisher {
        writer: log.clone(),
        pairs: vec![pair()],
        interval: interval(),
        origin,
        metrics: Metrics::new(&Registry::new()).unwrap(),
    };
    let (sender, receiver) = queue();
    for index in slots {
        sender.send(tick(*index)).await.unwrap();
    }
    drop(sender);
    publisher.run(receiver, CancellationToken::new()).await
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
async fn a_second_writer_stops_us() {
    let log = UnreliableLog::with(&[Fate::Stored, Fate::Stored, Fate::Overtaken]);
    let ended = publish(&log, Origin::Live, &[7, 8, 9]).await.unwrap_err();
    assert!(matches!(ended.downcast_ref(), Some(PublishError::Fenced { .. })), "{ended}");
    assert_eq!(words(&log), "L1 T7 T8");
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
    let publisher = Publisher {
        writer: log.clone(),
        pairs: vec![pair()],
        interval: interval(),
        origin: Origin::Live,
        metrics: Metrics::new(&Registry::new()).unwrap(),
    };
    let stop = CancellationToken::new();
    stop.cancel();
    let (_sender, receiver) = queue();
    publisher.run(receiver, stop).await.unwrap();
    assert_eq!(words(&log), "");
}
