//! Everything that is read from the store is compared with one pass over the records that were committed.

use common::domain::{Lead, Words};
use proptest::prelude::*;

use super::*;
use crate::{
    store::{TickOrGap, rollup},
    summary::Summary,
};

pub(super) const PAIRS: [&str; 2] = ["BTC-USD", "BTC-USDT"];

/// A run of records to generate: its pair, interval and number of slots, and what covers the slots.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pair: usize,
    interval: &'static str,
    slots: u32,
    kind: Kind,
    price: i64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A tick in every slot.
    Ticks,
    /// One gap over all slots.
    Gap,
    /// Nothing, because the log has lost the records.
    Lost,
    /// A lead, which covers no slots.
    Lead,
}

prop_compose! {
    pub(super) fn run()(
        pair in 0_usize..2,
        // Enough slots to fill blocks, and enough ticks in minutes, hours and days to write roll-ups.
        interval in prop::sample::select(vec!["1s", "10s", "1m", "1h"]),
        slots in prop_oneof![1_u32..4, 1_u32..400],
        kind in prop_oneof![
            6 => Just(Kind::Ticks), 2 => Just(Kind::Gap), 1 => Just(Kind::Lost), 1 => Just(Kind::Lead),
        ],
        price in 1_i64..1_000_000,
    ) -> Run {
        Run { pair, interval, slots, kind, price }
    }
}

/// Generates the log of some runs.
pub(super) fn log(runs: &[Run]) -> Vec<Stored> {
    let (mut records, mut next) = (Vec::new(), 1);
    let mut covered = [slot(1_000_000).start(); 2];
    for (number, run) in (0_u64..).zip(runs) {
        let interval: Interval = run.interval.parse().unwrap();
        let template = record(PAIRS[run.pair], 1, Some("1"));
        let mut put = |body: Body| {
            let record = Record { epoch: Epoch(number), body, ..template.clone() };
            records.push(Stored { sequence: Sequence(next), record });
            next += 1;
        };
        let first = interval.after(covered[run.pair]);
        let last = interval.slot(first.start().plus(interval.duration() * (run.slots - 1))).unwrap();
        match run.kind {
            Kind::Lead => {
                put(Body::Lead(Lead { covered: Some(covered[run.pair]), backfilled: false, leader: None }))
            }
            Kind::Lost => next += u64::from(run.slots),
            Kind::Gap => {
                let cause = GapCause::ALL[usize::try_from(number).unwrap() % 4];
                put(Body::Gap(Gap {
                    from: first,
                    slot: last,
                    interval,
                    cause,
                    backfilled: false,
                    evidence: None,
                }));
            }
            Kind::Ticks => {
                let Body::Tick(tick) = &template.body else { unreachable!() };
                let mut slot = first;
                for step in 0..run.slots {
                    let cents = run.price + i64::from(step * 7_919 % 1_000);
                    let price = format!("{}.{:02}", cents / 100 + 1, cents % 100).parse().unwrap();
                    put(Body::Tick(Tick { slot, interval, price, ..tick.clone() }));
                    slot = interval.after(slot.start());
                }
            }
        }
        if !matches!(run.kind, Kind::Lead) {
            covered[run.pair] = last.start();
        }
    }
    records
}

/// Commits the log to a store in batches, and reopens it before some of them, as after a restart.
pub(super) fn fill(folder: &Path, log: &[Stored], batches: &[(usize, bool)]) -> Store {
    let mut store = reopen(folder);
    let (mut rest, mut cursor) = (log, Sequence(0));
    for (length, restart) in batches.iter().cycle() {
        let (batch, later) = rest.split_at((*length).min(rest.len()));
        let mut holes = Vec::new();
        for Stored { sequence, .. } in batch {
            if *sequence > cursor.next() {
                holes.push(Break::Expired(*sequence));
            }
            cursor = *sequence;
        }
        store.commit(batch, cursor, &holes, Timestamp::EPOCH).unwrap();
        rest = later;
        if rest.is_empty() {
            break;
        }
        if *restart {
            drop(store);
            store = reopen(folder);
        }
    }
    store
}

fn covers(record: &Record) -> Option<(Slot, Slot, Interval)> {
    match &record.body {
        Body::Tick(tick) => Some((tick.slot, tick.slot, tick.interval)),
        Body::Gap(gap) => Some((gap.from, gap.slot, gap.interval)),
        Body::Lead(_) => None,
    }
}

/// A pair's ticks and gaps, including the gaps that have no record.
fn naive(log: &[Stored], pair: Pair) -> (Vec<StoredTick>, Vec<StoredGap>) {
    let (mut ticks, mut gaps) = (Vec::new(), Vec::new());
    let mut covered: Option<Slot> = None;
    for Stored { sequence, record } in log.iter().filter(|stored| stored.record.pair == pair) {
        let Some((first, last, interval)) = covers(record) else { continue };
        if let Some(from) =
            covered.map(|covered| interval.after(covered.start())).filter(|from| *from < first)
        {
            let (slot, cause) = (interval.before(first), GapCause::Retention);
            gaps.push(StoredGap {
                from,
                slot,
                interval,
                cause,
                backfilled: false,
                recorded: None,
                asked: None,
            });
        }
        covered = Some(last);
        match TickOrGap::of(*sequence, record).unwrap() {
            TickOrGap::Tick(_, tick) => ticks.push(tick),
            TickOrGap::Gap(_, gap) => gaps.push(gap),
        }
    }
    (ticks, gaps)
}

/// A summary of each tick in a range.
fn summaries(ticks: &[StoredTick], from: Timestamp, to: Timestamp) -> impl Iterator<Item = Summary> {
    let inside = ticks.iter().filter(move |tick| tick.slot.start() >= from && tick.slot.start() < to);
    inside.map(|tick| Summary::of(tick.point()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_read_equals_one_pass_over_the_records(
        runs in prop::collection::vec(run(), 1..16),
        batches in prop::collection::vec((1_usize..700, any::<bool>()), 1..6),
        ranges in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..12),
    ) {
        let log = log(&runs);
        prop_assume!(!log.is_empty());
        let folder = tempfile::tempdir().unwrap();
        let store = fill(folder.path(), &log, &batches);
        store.check().unwrap();
        for pair in PAIRS.map(|pair| pair.parse::<Pair>().unwrap()) {
            let (ticks, gaps) = naive(&log, pair);
            let read: Vec<StoredGap> =
                store.gaps(pair, Timestamp::EPOCH, Timestamp::MAX, Order::Ascending).map(Result::unwrap).collect();
            prop_assert_eq!(&read, &gaps);
            let end = log.iter().filter(|stored| stored.record.pair == pair).filter_map(|stored| covers(&stored.record));
            let Some(end) = end.reduce(|_, next| next).map(|(_, last, _)| last.start().next()) else { continue };
            let begin = slot(1_000_000).start();
            let length = usize::try_from(end.unix_millis() - begin.unix_millis()).unwrap();
            let at = |index: &prop::sample::Index| rollup::later(begin, i64::try_from(index.index(length)).unwrap());
            let some = ranges.iter().map(|(one, other)| (at(one).min(at(other)), at(one).max(at(other))));
            for (from, to) in some.chain([(begin, end)]) {
                let mut expected: Vec<StoredTick> = ticks.clone();
                expected.retain(|tick| tick.slot.start() >= from && tick.slot.start() < to);
                let read = |order| store.ticks(pair, from, to, order).map(Result::unwrap).collect::<Vec<_>>();
                prop_assert_eq!(&read(Order::Ascending), &expected);
                expected.reverse();
                prop_assert_eq!(&read(Order::Descending), &expected);
                let whole = summaries(&ticks, from, to).reduce(|all, next| all.merge(&next));
                prop_assert_eq!(store.summarize(pair, from, to).unwrap(), whole);
                for length in [60_000, 900_000, 3_600_000, 14_400_000, 86_400_000] {
                    let mut expected: BTreeMap<Timestamp, Summary> = BTreeMap::new();
                    for tick in summaries(&ticks, from, to) {
                        let start = rollup::floor(tick.first.slot.start(), length);
                        expected.entry(start).and_modify(|all| *all = all.merge(&tick)).or_insert(tick);
                    }
                    let read = store.candles(pair, length, from, to).unwrap();
                    prop_assert_eq!(read, expected.into_iter().collect::<Vec<_>>(), "{}", length);
                }
            }
        }
    }

    #[test]
    fn any_sequence_is_found_with_or_without_its_quotes(
        runs in prop::collection::vec(run(), 1..10),
        batches in prop::collection::vec((1_usize..700, any::<bool>()), 1..6),
        asked in prop::collection::vec(any::<prop::sample::Index>(), 1..60),
    ) {
        let log = log(&runs);
        prop_assume!(!log.is_empty());
        let folder = tempfile::tempdir().unwrap();
        let store = fill(folder.path(), &log, &batches);
        let end = log[log.len() - 1].sequence.0;
        for at in asked.iter().map(|index| Sequence(u64::try_from(index.index(usize::try_from(end).unwrap() + 2)).unwrap())) {
            let here = log.iter().find(|stored| stored.sequence == at).map(|stored| &stored.record);
            let read = store.record(at).unwrap();
            prop_assert_eq!(read.as_ref(), here);
            prop_assert_eq!(store.tick_or_gap(at).unwrap(), here.and_then(|record| TickOrGap::of(at, record)));
            for pair in PAIRS.map(|pair| pair.parse::<Pair>().unwrap()) {
                let until = log.iter().filter(|stored| stored.sequence <= at && stored.record.pair == pair);
                let (mut expected, mut any) = (PairState::default(), false);
                for Stored { sequence, record } in until {
                    let Some((_, last, interval)) = covers(record) else { continue };
                    any = true;
                    (expected.newest, expected.tick_or_gap) = (*sequence, *sequence);
                    expected.covered = Some((last, interval));
                    if let Body::Tick(_) = record.body {
                        expected.tick = *sequence;
                    }
                }
                prop_assert_eq!(store.pair_state_at(pair, at).unwrap(), any.then_some(expected));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_missing_or_outdated_row_is_detected_or_harmless(
        runs in prop::collection::vec(run(), 2..10),
        which in any::<prop::sample::Index>(),
        earlier in any::<bool>(),
    ) {
        // All runs have the same interval. At a change of the interval, a missing gap cannot always be detected.
        let runs: Vec<Run> = runs.into_iter().map(|run| Run { interval: "10s", ..run }).collect();
        let log = log(&runs);
        prop_assume!(log.len() > 2);
        let folder = tempfile::tempdir().unwrap();
        let store = fill(folder.path(), &log[..log.len() / 2], &[(1_000, false)]);
        let old: BTreeMap<_, _> = store.database.scan_prefix(b"").map(Result::unwrap).collect();
        drop(store);
        // The whole log in another store. There, the rows that the second half changes have their final values.
        let other = tempfile::tempdir().unwrap();
        let store = fill(other.path(), &log, &[(1_000, false)]);
        let rows: Vec<_> = store.database.scan_prefix(b"").map(|row| row.unwrap()).filter(|(name, _)| !name.starts_with(b"m")).collect();
        let (name, value) = &rows[which.index(rows.len())];
        let read = |store: &Store| {
            let of_pair = |pair: &str| {
                let pair: Pair = pair.parse().unwrap();
                let state = store.pair_state(pair).unwrap().and_then(|state| state.covered);
                let end = state.map_or(Timestamp::EPOCH, |(slot, _)| slot.start().next());
                (naive_read(store, pair), store.summarize(pair, Timestamp::EPOCH, end).unwrap())
            };
            PAIRS.map(of_pair)
        };
        let right = read(&store);
        match old.get(name).filter(|_| earlier) {
            Some(older) if older == value => return Ok(()),
            Some(older) => store.database.put(name, older).unwrap(),
            None => store.database.delete(name).unwrap(),
        }
        if store.check().is_ok() {
            prop_assert_eq!(read(&store), right, "without {:?}", name);
        }
    }
}

fn naive_read(store: &Store, pair: Pair) -> (Vec<StoredTick>, Vec<StoredGap>) {
    let ticks = store.ticks(pair, Timestamp::EPOCH, Timestamp::MAX, Order::Ascending).map(Result::unwrap);
    let gaps = store.gaps(pair, Timestamp::EPOCH, Timestamp::MAX, Order::Ascending).map(Result::unwrap);
    (ticks.collect(), gaps.collect())
}
