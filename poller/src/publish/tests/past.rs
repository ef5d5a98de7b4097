//! The past of a pair is published before its first live slot, whatever happens to the log and to the leader.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use common::{
    bus::{AppendError, LogWriter, Newest},
    clock::ManualClock,
    domain::{Failure, Policy, Price, Sequence, Span, Timestamp},
};
use proptest::prelude::*;
use tokio::time::Instant;

use super::{
    super::*,
    rig::{Fate, Rig, UnreliableLog, interval, lost, pair, slot, ticks},
};
use crate::{
    config::{Member, Role},
    source::{Answers, CandleRange, Pasts, Source},
};

/// The clock of these tests shows the 20th second of minute 1,000,000, so the current slot is `NOW`.
const MINUTES: i64 = 1_000_000;
const NOW: i64 = MINUTES * 6 + 2;

fn minute(number: i64) -> Timestamp {
    Timestamp::from_unix_millis(number * 60_000).unwrap()
}

/// A source that has a close for every minute but those in `without`. The price is the number of the minute.
struct Closes {
    without: Vec<i64>,
}

#[async_trait]
impl Source for Closes {
    fn name(&self) -> common::domain::SourceName {
        "closes".parse().unwrap()
    }

    fn origin(&self) -> Origin {
        Origin::Live
    }

    async fn past(&self, pairs: &[Pair], range: CandleRange, _slot: Slot, _deadline: Instant) -> Pasts {
        let number = |instant: Timestamp| instant.unix_millis() / 60_000;
        let ends =
            (number(range.first) + 1..=number(range.last) + 1).filter(|end| !self.without.contains(end));
        let closes: BTreeMap<Timestamp, Price> =
            ends.map(|end| (minute(end), end.to_string().parse().unwrap())).collect();
        let past = crate::source::Past { closes, otherwise: Failure::Missing };
        pairs.iter().map(|pair| (*pair, past.clone())).collect()
    }

    async fn ask(&self, _slot: Slot, _deadline: Instant) -> Answers {
        Answers::new()
    }
}

fn backfill(span: &str, pairs: &[Pair], without: &[i64]) -> Backfill {
    let policy = match ticks(&[pair()], 0).bodies.remove(0).1 {
        Body::Tick(tick) => Policy { ..tick.evidence.policy },
        _ => unreachable!(),
    };
    let source = Arc::new(Closes { without: without.to_vec() });
    let member = Member { source, role: Role::Primary, pairs: pairs.to_vec(), max_age: None };
    let settings = Settings {
        interval: interval(),
        pairs: pairs.iter().map(|pair| (*pair, policy)).collect(),
        members: vec![member],
        backfill: Some(span.parse::<Span>().unwrap()),
        origin: Origin::Live,
        clock: None,
    };
    Backfill::new(&settings, Arc::new(ManualClock::new(slot(NOW).start()))).unwrap()
}

/// A log that takes a while for each append, and does not respond after some appends.
struct Slow {
    log: Arc<UnreliableLog>,
    pause: Duration,
    left: AtomicUsize,
}

#[async_trait]
impl LogWriter for Slow {
    async fn newest(&self, pair: Pair) -> Result<Newest, ReadError> {
        self.log.newest(pair).await
    }

    async fn origin(&self) -> Result<Option<Origin>, ReadError> {
        self.log.origin().await
    }

    async fn append(&self, record: &Record, expected: Sequence) -> Result<Sequence, AppendError> {
        tokio::time::sleep(self.pause).await;
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => self.log.append(record, expected).await,
            Err(_) => Err(lost()),
        }
    }
}

fn slow(log: &Arc<UnreliableLog>, millis: u64, left: usize) -> Arc<Slow> {
    Arc::new(Slow { log: log.clone(), pause: Duration::from_millis(millis), left: AtomicUsize::new(left) })
}

/// The records of a pair in words: `L1` a lead, `T7` a tick of a slot of the feed, `~T6` a backfilled tick. Runs of
/// backfilled ticks with no slot missing are shortened to `~T6..12`.
fn words(log: &UnreliableLog, pair: Pair) -> String {
    let index = |slot: Slot| slot.start().unix_millis() / 10_000 - MINUTES * 6;
    let mut words: Vec<String> = Vec::new();
    let mut run: Option<(i64, i64)> = None;
    let ended = |run: &mut Option<(i64, i64)>, words: &mut Vec<String>| {
        words.extend(run.take().map(|(from, to)| format!("~T{from}..{to}")));
    };
    for record in log.records().into_iter().filter(|record| record.pair == pair) {
        let mark = if record.is_backfilled() { "~" } else { "" };
        let word = match &record.body {
            Body::Tick(tick) if tick.backfilled => {
                let at = index(tick.slot);
                match &mut run {
                    Some((_, to)) if *to + 6 == at => *to = at,
                    run => {
                        ended(run, &mut words);
                        *run = Some((at, at));
                    }
                }
                continue;
            }
            Body::Lead(_) => format!("{mark}L{}", record.epoch),
            Body::Tick(tick) => format!("T{}", index(tick.slot)),
            Body::Gap(gap) => format!("{mark}G{}-{}:{}", index(gap.from), index(gap.slot), gap.cause),
        };
        ended(&mut run, &mut words);
        words.push(word);
    }
    ended(&mut run, &mut words);
    words.join(" ")
}

/// Checks that the ticks and gaps of a pair cover every slot once, in order, that no epoch goes back, and that nothing is
/// backfilled after the first live slot.
fn audit(log: &UnreliableLog, pair: Pair) {
    let (mut covered, mut epoch, mut is_live) = (None, None, false);
    for record in log.records().into_iter().filter(|record| record.pair == pair) {
        assert!(Some(record.epoch) >= epoch);
        epoch = Some(record.epoch);
        let (from, to, interval) = match &record.body {
            Body::Tick(tick) => (tick.slot, tick.slot, tick.interval),
            Body::Gap(gap) => (gap.from, gap.slot, gap.interval),
            Body::Lead(lead) => {
                assert_eq!(lead.covered, covered);
                assert_eq!(lead.backfilled, covered.is_some() && !is_live);
                continue;
            }
        };
        assert!(
            covered.is_none_or(|covered| interval.after(covered) == from),
            "{record:?} after {covered:?}"
        );
        assert!(!(is_live && record.is_backfilled()), "{record:?} is after a live slot");
        is_live |= !record.is_backfilled();
        covered = Some(to.start());
    }
}

async fn polls(rig: &Rig, slots: &[i64]) {
    rig.polls(&slots.iter().map(|number| MINUTES * 6 + number).collect::<Vec<_>>()).await;
}

#[tokio::test(start_paused = true)]
async fn the_past_of_a_new_pair_comes_before_its_first_live_slot() {
    let log = UnreliableLog::with(&[]);
    let rig = Rig::with_past(log.clone(), Origin::Live, &[pair()], Some(backfill("1h", &[pair()], &[])));
    rig.leads(0);
    polls(&rig, &[2, 3]).await;
    rig.end().await.unwrap();
    // The newest finished minute ends with slot 0, and the feed's slots continue with slot 1.
    assert_eq!(words(&log, pair()), "L1 ~T-360..0 ~G1-1:not_backfilled T2 T3");
    audit(&log, pair());
    // After the first live slot, nothing is backfilled.
    let rig = Rig::with_past(log.clone(), Origin::Live, &[pair()], Some(backfill("1h", &[pair()], &[])));
    rig.leads(1);
    polls(&rig, &[9]).await;
    rig.end().await.unwrap();
    assert!(words(&log, pair()).ends_with("T3 L2 G4-8:no_leader T9"));
}

#[tokio::test(start_paused = true)]
async fn a_minute_without_a_price_is_a_gap_with_its_quotes() {
    let log = UnreliableLog::with(&[]);
    let without = [MINUTES - 2, MINUTES - 1];
    let rig = Rig::with_past(log.clone(), Origin::Live, &[pair()], Some(backfill("5m", &[pair()], &without)));
    rig.leads(0);
    polls(&rig, &[2]).await;
    rig.end().await.unwrap();
    let expected =
        "L1 ~T-30..-18 ~G-12--12:too_few_sources ~G-6--6:too_few_sources ~T0..0 ~G1-1:not_backfilled T2";
    assert_eq!(words(&log, pair()), expected);
    audit(&log, pair());
}

#[tokio::test(start_paused = true)]
async fn without_a_single_price_the_feed_starts_as_without_a_past() {
    let log = UnreliableLog::with(&[]);
    let without: Vec<i64> = (MINUTES - 100..=MINUTES).collect();
    let rig = Rig::with_past(log.clone(), Origin::Live, &[pair()], Some(backfill("1h", &[pair()], &without)));
    rig.leads(0);
    polls(&rig, &[2, 3]).await;
    rig.end().await.unwrap();
    assert_eq!(words(&log, pair()), "L1 T2 T3");
}

#[tokio::test(start_paused = true)]
async fn only_pairs_without_a_live_slot_are_backfilled() {
    let (old, new) = (pair(), "ETH-USD".parse().unwrap());
    let log = UnreliableLog::with(&[]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    polls(&rig, &[-20]).await;
    rig.end().await.unwrap();
    let pairs = [old, new];
    let rig = Rig::with_past(log.clone(), Origin::Live, &pairs, Some(backfill("5m", &pairs, &[])));
    rig.leads(1);
    polls(&rig, &[2]).await;
    rig.end().await.unwrap();
    assert_eq!(words(&log, old), "L1 T-20 L2 G-19-1:no_leader T2");
    assert_eq!(words(&log, new), "L2 ~T-30..0 ~G1-1:not_backfilled T2");
    audit(&log, old);
    audit(&log, new);
}

#[tokio::test(start_paused = true)]
async fn over_a_slow_log_the_newest_part_is_written_within_the_time() {
    let pairs: Vec<Pair> = ["BTC-USD", "ETH-USD"].map(|pair| pair.parse().unwrap()).to_vec();
    for (millis, most) in [(1, 1_441), (100, 150), (5_000, 3), (20_000, 0)] {
        let log = UnreliableLog::with(&[]);
        let begun = Instant::now();
        let writer = slow(&log, millis, usize::MAX);
        let rig = Rig::with_past(writer, Origin::Live, &pairs, Some(backfill("24h", &pairs, &[])));
        rig.leads(0);
        polls(&rig, &[2]).await;
        rig.end().await.unwrap();
        for pair in &pairs {
            let count =
                log.records().iter().filter(|record| record.pair == *pair && record.is_backfilled()).count();
            // The gap before the live slot is also one of these records.
            let ticks = count.saturating_sub(1);
            assert!(ticks <= most && ticks >= most * 9 / 10, "{millis} ms: {ticks}");
            audit(&log, *pair);
            let first = if most == 0 { "T2".to_owned() } else { format!("~T-{}..0", (ticks - 1) * 6) };
            assert!(
                words(&log, *pair).starts_with(&format!("L1 {first}")),
                "{millis} ms: {}",
                words(&log, *pair)
            );
        }
        let leads_and_live = Duration::from_millis(millis) * 7;
        assert!(
            begun.elapsed() <= Duration::from_secs(16) + leads_and_live,
            "{millis} {:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_becomes_slow_still_gets_the_newest_part() {
    let log = UnreliableLog::with(&[]);
    // Judging by the lead, everything fits. Then the log becomes slower.
    struct Slowing(Arc<UnreliableLog>, AtomicUsize);
    #[async_trait]
    impl LogWriter for Slowing {
        async fn newest(&self, pair: Pair) -> Result<Newest, ReadError> {
            self.0.newest(pair).await
        }

        async fn origin(&self) -> Result<Option<Origin>, ReadError> {
            self.0.origin().await
        }

        async fn append(&self, record: &Record, expected: Sequence) -> Result<Sequence, AppendError> {
            let millis = if self.1.fetch_add(1, Ordering::SeqCst) == 0 { 1 } else { 50 };
            tokio::time::sleep(Duration::from_millis(millis)).await;
            self.0.append(record, expected).await
        }
    }
    let writer = Arc::new(Slowing(log.clone(), AtomicUsize::new(0)));
    let begun = Instant::now();
    let rig = Rig::with_past(writer, Origin::Live, &[pair()], Some(backfill("24h", &[pair()], &[])));
    rig.leads(0);
    polls(&rig, &[2]).await;
    rig.end().await.unwrap();
    audit(&log, pair());
    assert!(begun.elapsed() < Duration::from_secs(17), "{:?}", begun.elapsed());
    let words = words(&log, pair());
    assert!(
        words.contains(":not_backfilled ~T") && words.ends_with("..0 ~G1-1:not_backfilled T2"),
        "{words}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_successor_continues_behind_the_newest_backfilled_record() {
    for died_after in [0, 1, 2, 40, 62] {
        let log = UnreliableLog::with(&[]);
        let past = || Some(backfill("1h", &[pair()], &[]));
        let dying = Rig::with_past(slow(&log, 1, died_after), Origin::Live, &[pair()], past());
        dying.leads(0);
        dying.settle().await;
        dying.task.abort();
        // This one dies after its lead record.
        let second = Rig::with_past(slow(&log, 1, 1), Origin::Live, &[pair()], past());
        second.leads(1);
        second.settle().await;
        second.task.abort();
        let rig = Rig::with_past(log.clone(), Origin::Live, &[pair()], past());
        rig.leads(2);
        polls(&rig, &[9]).await;
        rig.end().await.unwrap();
        audit(&log, pair());
        let words = words(&log, pair());
        assert!(words.ends_with(" ~G1-8:not_backfilled T9"), "{died_after}: {words}");
        let is_past = |record: &&Record| matches!(&record.body, Body::Tick(tick) if tick.backfilled);
        assert_eq!(log.records().iter().filter(is_past).count(), 61, "{died_after}: {words}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_backfills_nothing_says_why_the_rest_is_missing() {
    let log = UnreliableLog::with(&[]);
    let past = Some(backfill("1h", &[pair()], &[]));
    let dying = Rig::with_past(slow(&log, 1, 40), Origin::Live, &[pair()], past);
    dying.leads(0);
    dying.settle().await;
    dying.task.abort();
    let rig = Rig::with_past(log.clone(), Origin::Live, &[pair()], None);
    rig.leads(1);
    polls(&rig, &[9]).await;
    rig.end().await.unwrap();
    audit(&log, pair());
    // The lead record and 39 of the minutes had been written.
    assert_eq!(words(&log, pair()), "L1 ~T-360..-132 ~L2 ~G-131-8:not_backfilled T9");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_term_is_interrupted_goes_live() {
    let log = UnreliableLog::with(&[]);
    let past = Some(backfill("1h", &[pair()], &[]));
    let rig = Rig::with_past(slow(&log, 1, 30), Origin::Live, &[pair()], past);
    rig.leads(0);
    rig.settle().await;
    rig.state.send_replace(LeadState::Suspended);
    rig.settle().await;
    rig.state.send_replace(LeadState::Standby);
    rig.settle().await;
    audit(&log, pair());
    assert!(words(&log, pair()).starts_with("L1 ~T-360.."));
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        20 => Just(Fate::Stored),
        1 => Just(Fate::AckLost),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Disturbed),
    ];
    prop::collection::vec(fate, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_no_slot_is_missing_or_repeated(
        fates in fates(),
        deaths in prop::collection::vec(0_usize..50, 0..3),
        without in prop::collection::vec(MINUTES - 60..=MINUTES, 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let log = UnreliableLog::with(&fates);
            let pairs = [pair(), "ETH-USD".parse().unwrap()];
            for (term, died_after) in (0..).zip(deaths) {
                let past = Some(backfill("1h", &pairs, &without));
                let rig = Rig::with_past(slow(&log, 1, died_after), Origin::Live, &pairs, past);
                rig.leads(term);
                rig.settle().await;
                rig.task.abort();
            }
            let rig = Rig::with_past(log.clone(), Origin::Live, &pairs, Some(backfill("1h", &pairs, &without)));
            rig.leads(9);
            polls(&rig, &[2, 3, 7]).await;
            rig.end().await.unwrap();
            for pair in pairs {
                audit(&log, pair);
                assert!(words(&log, pair).ends_with("T2 T3 G4-6:missed T7"), "{}", words(&log, pair));
            }
        });
    }
}
