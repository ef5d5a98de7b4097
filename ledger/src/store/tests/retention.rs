//! Which rows are removed, and which gaps are added for records that the log does not have.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    history::{PAIRS, fill, log, run},
    *,
};

/// A pair's ticks and gaps from an instant on.
fn history(store: &Store, pair: Pair, from: Timestamp) -> (Vec<StoredTick>, Vec<StoredGap>) {
    let ticks = store.ticks(pair, from, Timestamp::MAX, Order::Ascending).map(Result::unwrap);
    let gaps = store.gaps(pair, from, Timestamp::MAX, Order::Ascending).map(Result::unwrap);
    (ticks.collect(), gaps.collect())
}

/// The newest slot of any pair.
fn newest(store: &Store) -> Option<Slot> {
    store.pairs().unwrap().into_iter().filter_map(|(_, state)| Some(state.covered?.0)).max()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_within_retention_stay_and_the_rest_is_removed(
        runs in prop::collection::vec(run(), 1..12),
        ticks in 0_u64..1_000_000,
        quotes in 0_u64..100_000,
    ) {
        let log = log(&runs);
        let folder = tempfile::tempdir().unwrap();
        let store = fill(folder.path(), &log, &[(500, false)]);
        let retention = Retention { ticks: Duration::from_secs(ticks), quotes: Duration::from_secs(quotes) };
        let cutoffs: Vec<(Pair, Timestamp)> = PAIRS
            .map(|pair| pair.parse::<Pair>().unwrap())
            .into_iter()
            .filter_map(|pair| Some((pair, store.pair_state(pair).unwrap()?.covered?.0.start())))
            .collect();
        let wanted: Vec<_> = cutoffs.iter().map(|(pair, slot)| {
            let from = slot.minus(retention.ticks);
            (history(&store, *pair, from), store.summarize(*pair, from, slot.next()).unwrap())
        }).collect();
        while store.reclaim(retention, newest(&store)).unwrap() > 0 {
            store.check().unwrap();
        }
        for ((pair, slot), wanted) in cutoffs.iter().zip(wanted) {
            let from = slot.minus(retention.ticks);
            prop_assert_eq!((history(&store, *pair, from), store.summarize(*pair, from, slot.next()).unwrap()), wanted);
            // At most one block extends out of the range, with the gaps between its ticks.
            let before = history(&store, *pair, Timestamp::EPOCH).0.iter().filter(|tick| tick.slot.start() < from).count();
            prop_assert!(before < 256, "{}", before);
            let gaps = store.gaps(*pair, Timestamp::EPOCH, from, Order::Ascending).map(Result::unwrap);
            prop_assert!(before > 0 || gaps.filter(|gap| gap.slot.start() < from).count() == 0);
        }
        let newest = cutoffs.iter().map(|(_, slot)| *slot).max().unwrap_or(Timestamp::EPOCH);
        for Stored { sequence, record } in &log {
            let is_past = record.covers_up_to().unwrap() < newest.minus(retention.quotes);
            let is_lead = matches!(record.body, Body::Lead(_));
            prop_assert!(store.whole(*sequence).unwrap().is_some() || is_past || is_lead, "{}", sequence);
        }
    }
}

fn commit(store: &Store, number: u64, index: i64, breaks: &[Break]) {
    let (sequence, record) = (Sequence(number), record("BTC-USD", index, Some("1.5")));
    store.commit(&[Stored { sequence, record }], sequence, breaks, Timestamp::EPOCH).unwrap();
}

#[test]
fn slots_without_a_record_become_a_gap_with_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(folder.path()).unwrap();
    commit(&store, 1, 10, &[]);
    // Message 2 is not a record.
    commit(&store, 3, 12, &[Break::Unreadable(Sequence(2))]);
    // Messages 4 to 8 have expired.
    commit(&store, 9, 17, &[Break::Expired(Sequence(9))]);
    commit(&store, 10, 18, &[]);
    // Nothing in the log explains why slots 19 to 21 have no record.
    commit(&store, 11, 22, &[]);
    let gaps: Vec<StoredGap> = history(&store, "BTC-USD".parse().unwrap(), Timestamp::EPOCH).1;
    let found: Vec<_> = gaps.iter().map(|gap| (gap.from, gap.slot, gap.cause, gap.recorded)).collect();
    assert_eq!(
        found,
        [
            (slot(11), slot(11), GapCause::Unreadable, None),
            (slot(13), slot(16), GapCause::Retention, None),
            (slot(19), slot(21), GapCause::LogLost, None),
        ]
    );
}

#[test]
fn whole_records_of_a_pair_without_new_records_do_not_keep_those_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(folder.path()).unwrap();
    let dead = Stored { sequence: Sequence(1), record: record("ETH-USD", 1, Some("1")) };
    store.commit(std::slice::from_ref(&dead), Sequence(1), &[], Timestamp::EPOCH).unwrap();
    let records: Vec<Stored> = (2..=400)
        .map(|number| Stored {
            sequence: Sequence(number),
            record: record("BTC-USD", i64::try_from(number).unwrap(), Some("2")),
        })
        .collect();
    store.commit(&records, Sequence(400), &[], Timestamp::EPOCH).unwrap();
    let retention = Retention { ticks: Duration::from_secs(86_400), quotes: Duration::from_secs(1_000) };
    while store.reclaim(retention, newest(&store)).unwrap() > 0 {}
    // Records are removed a pack at a time. The pack with the other pair's newest tick stays.
    let left: Vec<u64> = store.records().map(|stored| stored.unwrap().sequence.0).collect();
    assert_eq!(left, (1..=64).chain(257..=400).collect::<Vec<_>>());
    assert_eq!(store.record(Sequence(1)).unwrap(), Some(dead.record));
}

#[test]
fn records_that_will_be_past_retention_are_not_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(folder.path()).unwrap();
    let stored = |number: u64, price: Option<&str>| Stored {
        sequence: Sequence(number),
        record: record("BTC-USD", i64::try_from(number).unwrap(), price),
    };
    let records: Vec<Stored> =
        (1..=200).map(|number| stored(number, (!(100..=150).contains(&number)).then_some("2"))).collect();
    store.commit(&records, Sequence(200), &[], slot(190).start()).unwrap();
    let left: Vec<u64> = store.records().map(|stored| stored.unwrap().sequence.0).collect();
    assert_eq!(
        left,
        [150, 189].into_iter().chain(190..=200).collect::<Vec<_>>(),
        "the newest gap and tick before that, and everything after it"
    );
    for Stored { sequence, record } in &records {
        assert_eq!(store.tick_or_gap(*sequence).unwrap(), TickOrGap::of(*sequence, record));
    }
    store.check().unwrap();
}

#[test]
fn each_lost_slot_has_the_cause_of_its_own_hole_however_the_log_is_batched() {
    let stored = |number: u64, index: i64| Stored {
        sequence: Sequence(number),
        record: record("BTC-USD", index, Some("1.5")),
    };
    // Message 2 is not a record. Messages 5 to 8 have expired.
    let log = [stored(1, 10), stored(3, 12), stored(4, 13), stored(9, 18), stored(10, 19)];
    let causes = |batches: &[&[Stored]]| -> Vec<(Slot, GapCause)> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_local(folder.path()).unwrap();
        for batch in batches {
            let holds = |position| batch.iter().any(|stored| stored.sequence == Sequence(position));
            let unreadable = holds(3).then_some(Break::Unreadable(Sequence(2)));
            let expired = holds(9).then_some(Break::Expired(Sequence(9)));
            let breaks: Vec<Break> = unreadable.into_iter().chain(expired).collect();
            store.commit(batch, batch.last().unwrap().sequence, &breaks, Timestamp::EPOCH).unwrap();
        }
        let gaps = history(&store, "BTC-USD".parse().unwrap(), Timestamp::EPOCH).1;
        gaps.iter().map(|gap| (gap.from, gap.cause)).collect()
    };
    let expected = [(slot(11), GapCause::Unreadable), (slot(14), GapCause::Retention)];
    assert_eq!(causes(&[&log]), expected);
    assert_eq!(causes(&[&log[..1], &log[1..2], &log[2..3], &log[3..4], &log[4..]]), expected);
}

#[test]
fn a_record_that_was_the_newest_within_retention_is_kept_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(folder.path()).unwrap();
    let stored = |number: u64, pair: &str, index: i64, price: Option<&str>| Stored {
        sequence: Sequence(number),
        record: record(pair, index, price),
    };
    // ETH-USD has one tick, then no record for a long time, and then a second tick.
    let mut log = vec![stored(1, "ETH-USD", 1, Some("5"))];
    log.extend((2..700).map(|number| stored(number, "BTC-USD", i64::try_from(number).unwrap(), Some("2"))));
    log.push(stored(700, "ETH-USD", 690, Some("6")));
    log.extend((701..800).map(|number| stored(number, "BTC-USD", i64::try_from(number).unwrap(), Some("2"))));
    store.commit(&log, Sequence(799), &[], Timestamp::EPOCH).unwrap();
    let reclaim = |slots: u64| {
        let retention =
            Retention { ticks: Duration::from_secs(86_400), quotes: Duration::from_secs(slots * 10) };
        while store.reclaim(retention, newest(&store)).unwrap() > 0 {}
        store.record(Sequence(1)).unwrap().is_some()
    };
    assert!(reclaim(200), "at slot 600, which is within retention, the first tick was the newest");
    assert_eq!(store.record(Sequence(200)).unwrap(), None);
    // Once the pair's second tick is past retention too, the first one is not the newest in any snapshot within
    // retention.
    *store.writer.lock().unwrap() = None;
    assert!(!reclaim(50));
}

#[test]
fn a_damaged_roll_up_is_recomputed_and_a_missing_newest_record_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(folder.path()).unwrap();
    let pair = "BTC-USD".parse().unwrap();
    let log: Vec<Stored> = (1..2_000)
        .map(|number| Stored {
            sequence: Sequence(number),
            record: record("BTC-USD", i64::try_from(number).unwrap(), Some("1.5")),
        })
        .collect();
    store.commit(&log, Sequence(1_999), &[], Timestamp::EPOCH).unwrap();
    let (from, to) = (slot(1).start(), slot(1_999).start());
    let right = store.summarize(pair, from, to).unwrap();
    let rows: Vec<_> = store.database.scan_prefix(b"u").map(Result::unwrap).collect();
    assert!(!rows.is_empty());
    for (name, _) in rows {
        store.database.put(&name, b"damaged").unwrap();
    }
    assert_eq!(store.summarize(pair, from, to).unwrap(), right);
    store.check().unwrap();
    store.database.delete(&key::record(Sequence(1_999))).unwrap();
    assert!(matches!(store.check(), Err(StoreError::Damaged(_))));
}

#[test]
fn only_the_writer_can_use_a_store_that_is_catching_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_copy(folder.path(), &identity("abc"), now()).unwrap();
    let writer = store.writer_handle();
    writer.commit(&[], Sequence(7), &[], Timestamp::EPOCH).unwrap();
    writer.close("full".to_owned());
    assert!(matches!(writer.cursor(), Err(StoreError::Closed(_))));
    settled(|| writer.reopen().map(|()| writer.clone())).unwrap();
    assert!(matches!(store.cursor(), Err(StoreError::Closed(_))));
    writer.commit(&[], Sequence(8), &[], Timestamp::EPOCH).unwrap();
    writer.caught_up();
    assert_eq!(store.cursor().unwrap(), Sequence(8));
}

#[test]
fn a_pair_that_is_ahead_does_not_touch_the_quotes_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_copy(folder.path(), &LogIdentity::new("abc").unwrap(), Timestamp::EPOCH).unwrap();
    let stored = |number: u64, pair: &str, index: i64| Stored {
        sequence: Sequence(number),
        record: record(pair, index, Some("2")),
    };
    let mut log: Vec<Stored> =
        (1..=64).map(|number| stored(number, "BTC-USD", i64::try_from(number).unwrap())).collect();
    // The first pack ends with a record that is 100,000 slots ahead.
    log.push(stored(65, "ETH-USD", 100_065));
    log.extend((66..=400).map(|number| stored(number, "BTC-USD", i64::try_from(number).unwrap())));
    store.commit(&log, Sequence(400), &[], Timestamp::EPOCH).unwrap();
    let snapshot = crate::snapshot::Snapshot::load(&store, Duration::from_secs(3_600)).unwrap();
    let retention = Retention { ticks: Duration::from_secs(86_400), quotes: Duration::from_secs(1_000) };
    while store.reclaim(retention, snapshot.reached()).unwrap() > 0 {}
    // Before, everything but the newest pack was removed, because the quotes of BTC-USD were 100,000 slots old.
    let left: Vec<u64> = store.records().map(|stored| stored.unwrap().sequence.0).collect();
    assert!(left.contains(&300) && !left.contains(&10), "{left:?}");
}
