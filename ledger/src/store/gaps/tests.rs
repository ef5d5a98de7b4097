//! Stored gaps are compared with one pass over the records that they came from.

use common::domain::{Body, Epoch, Evidence, Gap, Origin, Record, Words};
use proptest::prelude::*;

use super::*;
use crate::store::{Stored, tests};

pub(crate) const PAIRS: [&str; 2] = ["BTC-USD", "BTC-USDT"];

/// A record to generate: its pair, whether it is a gap or a tick, its interval and its number of slots.
#[derive(Debug, Clone)]
struct Plan {
    pair: usize,
    is_gap: bool,
    interval: &'static str,
    slots: u64,
    asked: Option<usize>,
    cause: usize,
}

prop_compose! {
    fn plan()(pair in 0_usize..2, is_gap in any::<bool>(), interval in prop::sample::select(vec!["1s", "3s", "10s"]),
              slots in 1_u64..5, asked in prop::option::of(0_usize..4), cause in 0_usize..4) -> Plan {
        Plan { pair, is_gap, interval, slots, asked, cause }
    }
}

/// Generates the log of a plan. Each pair's slots follow one another without a hole.
fn log(plans: &[Plan]) -> Vec<Stored> {
    let mut covered = [tests::slot(1).start(); 2];
    let record = |(number, plan): (u64, &Plan)| {
        let interval: Interval = plan.interval.parse().unwrap();
        let from = interval.after(covered[plan.pair]);
        let length = interval.duration() * u32::try_from(plan.slots - 1).unwrap();
        let slot = if plan.is_gap { interval.slot(from.start().plus(length)).unwrap() } else { from };
        covered[plan.pair] = slot.start();
        let mut record = tests::record(PAIRS[plan.pair], 1, Some("1.5"));
        match &mut record.body {
            Body::Tick(tick) if !plan.is_gap => (tick.slot, tick.interval) = (slot, interval),
            body => {
                let Body::Tick(tick) = body.clone() else { unreachable!() };
                let judged = |number| common::domain::Judged {
                    source: format!("source_{number}").parse().unwrap(),
                    observation: None,
                    verdict: "timeout".parse().unwrap(),
                };
                let evidence = |count| Evidence {
                    policy: tick.evidence.policy,
                    quotes: (0..count).map(judged).collect(),
                };
                let (cause, evidence) = (GapCause::ALL[plan.cause], plan.asked.map(evidence));
                *body = Body::Gap(Gap { from, slot, interval, cause, backfilled: false, evidence });
            }
        }
        Stored { sequence: Sequence(number), record: Record { epoch: Epoch(number * 3), ..record } }
    };
    (1..).zip(plans).map(record).collect()
}

pub(crate) fn any_log() -> impl Strategy<Value = Vec<Stored>> {
    prop::collection::vec(plan(), 1..60).prop_map(|plans| log(&plans))
}

/// The gaps with a slot in the range, found by visiting every slot.
fn naive(log: &[Stored], pair: &str, from: Timestamp, to: Timestamp) -> Vec<StoredGap> {
    let mut found = Vec::new();
    for Stored { sequence, record } in log {
        let Body::Gap(gap) = &record.body else { continue };
        let mut slots = vec![gap.from];
        while slots[slots.len() - 1] < gap.slot {
            slots.push(gap.interval.after(slots[slots.len() - 1].start()));
        }
        let inside = slots.iter().any(|slot| (from..to).contains(&slot.start()));
        if record.pair.to_string() != pair || !inside {
            continue;
        }
        let asked = gap.evidence.as_ref().map(|evidence| u32::try_from(evidence.quotes.len()).unwrap());
        let stored = StoredGap {
            from: gap.from,
            slot: gap.slot,
            interval: gap.interval,
            cause: gap.cause,
            backfilled: gap.backfilled,
            recorded: Some((*sequence, record.epoch)),
            asked,
        };
        assert_eq!(stored.slots(), slots.len() as u64);
        found.push(stored);
    }
    found
}

pub(crate) fn read(
    store: &Store,
    pair: &str,
    from: Timestamp,
    to: Timestamp,
    order: Order,
) -> Vec<StoredGap> {
    store.gaps(pair.parse().unwrap(), from, to, order).map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_range_in_either_order_equals_one_pass_over_the_records(
        plans in prop::collection::vec(plan(), 1..60),
        cut in 0_usize..60,
        ranges in prop::collection::vec((0_u64..200_000, 0_u64..60_000), 1..20),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_local(folder.path()).unwrap();
        let log = log(&plans);
        let (one, other) = log.split_at(cut.min(log.len()));
        store.commit(one, Sequence(one.len() as u64), &[], Timestamp::EPOCH).unwrap();
        store.commit(other, Sequence(log.len() as u64), &[], Timestamp::EPOCH).unwrap();
        let millis = std::time::Duration::from_millis;
        let some = ranges.iter().map(|(start, length)| {
            let from = tests::slot(1).start().plus(millis(*start));
            (from, from.plus(millis(*length)))
        });
        for (from, to) in some.chain([(Timestamp::EPOCH, Timestamp::MAX)]) {
            for pair in PAIRS {
                let mut expected = naive(&log, pair, from, to);
                prop_assert_eq!(read(&store, pair, from, to, Order::Ascending), expected.clone());
                expected.reverse();
                prop_assert_eq!(read(&store, pair, from, to, Order::Descending), expected);
                prop_assert_eq!(read(&store, pair, to.next(), from, Order::Ascending), vec![]);
            }
        }
        let read_back: Vec<_> = store.records().map(|stored| stored.unwrap().record).collect();
        prop_assert_eq!(read_back, log.into_iter().map(|stored| stored.record).collect::<Vec<_>>());
    }
}

#[test]
fn a_range_between_two_slots_of_a_gap_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(folder.path()).unwrap();
    let (first, last) = (tests::slot(10), tests::slot(12));
    let gap = Gap {
        from: first,
        slot: last,
        interval: tests::interval(),
        cause: GapCause::Missed,
        backfilled: false,
        evidence: None,
    };
    let record = Record {
        pair: "BTC-USD".parse().unwrap(),
        epoch: Epoch(1),
        origin: Origin::Live,
        body: Body::Gap(gap),
    };
    store.commit(&[Stored { sequence: Sequence(1), record }], Sequence(1), &[], Timestamp::EPOCH).unwrap();
    let count = |from: Timestamp, to: Timestamp| read(&store, "BTC-USD", from, to, Order::Ascending).len();
    let (first, last) = (first.start(), last.start());
    assert_eq!(count(first.next(), tests::slot(11).start()), 0);
    assert_eq!(count(first.next(), tests::slot(11).start().next()), 1);
    assert_eq!((count(first, first.next()), count(last, last.next())), (1, 1));
    assert_eq!((count(Timestamp::EPOCH, first), count(last.next(), Timestamp::MAX)), (0, 0));
    assert_eq!(count(first, first), 0);
}
