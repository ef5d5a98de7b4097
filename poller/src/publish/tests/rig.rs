//! A publisher with a log that fails as scripted.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use common::readiness::Readiness;
use common::{
    bus::{AppendError, Newest, Source},
    domain::{
        AgeRule, Evidence, Interval, Lead, LeaderId, Policy, PriceRule, Ratio, Record, Sequence, Span, Tick,
        Timestamp,
    },
};
use tokio::sync::watch;

use crate::publish::*;

/// What happens to the next append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Stored and acknowledged.
    Stored,
    /// Stored, but the acknowledgement is lost.
    AckLost,
    /// Neither stored nor acknowledged.
    Lost,
    /// Another poller's record of a later epoch is stored before this append.
    Overtaken,
    /// Another poller's lead record of the same epoch is stored before this append.
    SameEpoch,
    /// A message that is not a record is stored before this append.
    Disturbed,
    /// The log loses its two newest records before this append.
    Rewound,
}

/// A log in memory that checks expected sequences like JetStream, and fails as scripted.
#[derive(Default)]
pub(super) struct UnreliableLog {
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) records: Vec<Option<Record>>,
    pub(super) fates: Vec<Fate>,
    /// Why it is uncertain which record is the newest, if it is.
    pub(super) doubt: Option<&'static str>,
    /// Whether acknowledged records are known to be lost. Reset by the next append.
    pub(super) lost: bool,
}

impl UnreliableLog {
    pub(super) fn with(fates: &[Fate]) -> Arc<Self> {
        let state = State { fates: fates.iter().rev().copied().collect(), ..State::default() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    pub(super) fn records(&self) -> Vec<Record> {
        self.state().records.iter().flatten().cloned().collect()
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The position of the newest message under a pair's subject. Messages that are not records are under every subject.
    fn last(&self, pair: Pair) -> Sequence {
        let is_of_pair = |record: &Option<Record>| record.as_ref().is_none_or(|record| record.pair == pair);
        let position = self.records.iter().rposition(is_of_pair).map_or(0, |index| index + 1);
        Sequence(u64::try_from(position).unwrap_or(u64::MAX))
    }
}

pub(super) fn lost() -> AppendError {
    AppendError::Unconfirmed(Source::from("no response"))
}

#[async_trait]
impl LogWriter for UnreliableLog {
    async fn newest(&self, pair: Pair) -> Result<Newest, ReadError> {
        let state = self.state();
        if let Some(reason) = state.doubt {
            return Err(ReadError::InDoubt(reason.to_owned()));
        }
        let record = state.records.iter().flatten().rfind(|record| record.pair == pair).cloned();
        let newest = Newest::new(state.last(pair), record);
        Ok(Newest { lost: state.lost, ..newest })
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
            Fate::Rewound => {
                let left = state.records.len().saturating_sub(2);
                state.records.truncate(left);
                state.lost = true;
            }
            Fate::Overtaken => {
                let theirs = Record { epoch: record.epoch.next(), ..record.clone() };
                state.records.push(Some(theirs));
            }
            Fate::SameEpoch => {
                let lead = Lead {
                    covered: record.covers_up_to(),
                    backfilled: false,
                    leader: Some(LeaderId(u64::MAX)),
                };
                state.records.push(Some(Record { body: Body::Lead(lead), ..record.clone() }));
            }
            Fate::Stored | Fate::AckLost => {}
        }
        if state.last(record.pair) != expected {
            return Err(AppendError::WrongLastSequence);
        }
        state.records.push(Some(record.clone()));
        state.lost = false;
        if fate == Fate::AckLost { Err(lost()) } else { Ok(state.last(record.pair)) }
    }
}

pub(super) fn interval() -> Interval {
    "10s".parse().unwrap()
}

pub(super) fn slot(index: i64) -> Slot {
    interval().slot(Timestamp::from_unix_millis(index * 10_000).unwrap()).unwrap()
}

pub(super) fn pair() -> Pair {
    "BTC-USD".parse().unwrap()
}

/// A tick of each pair in a slot.
pub(super) fn ticks(pairs: &[Pair], index: i64) -> PolledSlot {
    let policy = Policy {
        rules: Policy::RULES,
        price: PriceRule::Mid,
        min_sources: 1,
        max_deviation: "2%".parse().unwrap(),
        max_quote_age: Span::from_seconds(30),
        max_clock_skew: Span::from_seconds(5),
        frozen_after: Span::from_seconds(600),
        aged_at: AgeRule::Arrival,
    };
    let price = "97012.30".parse().unwrap();
    let spread = Ratio::distance(price, price, price);
    let evidence = Evidence { policy, quotes: Vec::new() };
    let body = Body::Tick(Tick {
        slot: slot(index),
        interval: interval(),
        price,
        spread,
        backfilled: false,
        evidence,
    });
    let bodies = pairs.iter().map(|pair| (*pair, body.clone())).collect();
    PolledSlot { slot: slot(index), bodies, trace: None }
}

/// A running publisher and its queue.
pub(super) struct Rig {
    pub(super) state: watch::Sender<LeadState>,
    pub(super) slots: mpsc::Sender<PolledSlot>,
    pub(super) stop: CancellationToken,
    pub(super) task: tokio::task::JoinHandle<Result<(), TaskError>>,
    pub(super) leadership: Leadership,
    pub(super) readiness: Readiness,
    pairs: Vec<Pair>,
}

impl Rig {
    /// A publisher of one pair that stands by.
    pub(super) fn start(log: &Arc<UnreliableLog>, origin: Origin) -> Self {
        Self::of(log, origin, &[pair()])
    }

    /// A publisher of these pairs that stands by.
    pub(super) fn of(log: &Arc<UnreliableLog>, origin: Origin, pairs: &[Pair]) -> Self {
        Self::with_past(log.clone(), origin, pairs, None)
    }

    /// A publisher that may publish the past of pairs first.
    pub(super) fn with_past(
        log: Arc<dyn LogWriter>,
        origin: Origin,
        pairs: &[Pair],
        backfill: Option<Backfill>,
    ) -> Self {
        let (state, leadership) = Leadership::channel(LeaderId(rand_id()));
        let (slots, receiver) = queue();
        let (stop, readiness) = (CancellationToken::new(), Readiness::default());
        let publisher = Publisher {
            writer: log,
            pairs: pairs.to_vec(),
            backfill,
            interval: interval(),
            origin,
            leadership: leadership.clone(),
            takeovers: watch::channel(None).0,
            check: readiness.check("publish"),
            metrics: Metrics::unregistered(),
            stop: stop.clone(),
        };
        let task = tokio::spawn(publisher.run(receiver));
        Self { state, slots, stop, task, leadership, readiness, pairs: pairs.to_vec() }
    }

    pub(super) fn leads(&self, term: u64) {
        let until = tokio::time::Instant::now() + Duration::from_secs(1_000_000);
        self.state.send_replace(LeadState::Leading { term: Term(term), until });
    }

    pub(super) async fn polls(&self, slots: &[i64]) {
        for index in slots {
            self.slots.send(ticks(&self.pairs, *index)).await.unwrap();
        }
    }

    /// Waits until nothing more happens. The clock is paused, so this takes no time.
    pub(super) async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }

    pub(super) async fn end(self) -> Result<(), TaskError> {
        drop(self.slots);
        self.task.await.unwrap()
    }
}

/// A different id for every process of a test.
pub(super) fn rand_id() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Publishes the slots in one process that leads all the time.
pub(super) async fn publish(
    log: &Arc<UnreliableLog>,
    origin: Origin,
    slots: &[i64],
) -> Result<(), TaskError> {
    let rig = Rig::start(log, origin);
    rig.leads(0);
    rig.polls(slots).await;
    rig.end().await
}

/// A word per record: `L1` is a lead of epoch 1, `T3` the tick of slot 3, `G4-6:missed` a gap from slot 4 to
/// 6.
pub(super) fn words(log: &UnreliableLog) -> String {
    words_of(log, pair())
}

/// The records of a pair in that form.
pub(super) fn words_of(log: &UnreliableLog, pair: Pair) -> String {
    let index = |slot: Slot| slot.start().unix_millis() / 10_000;
    let word = |record: Record| match record.body {
        Body::Lead(_) => format!("L{}", record.epoch),
        Body::Tick(tick) => format!("T{}", index(tick.slot)),
        Body::Gap(gap) => format!("G{}-{}:{}", index(gap.from), index(gap.slot), gap.cause),
    };
    log.records().into_iter().filter(|record| record.pair == pair).map(word).collect::<Vec<_>>().join(" ")
}
