//! Compares the store with a plain map of what was committed, also after reopening it, and opens unusual directories.

mod history;
mod retention;

use std::collections::BTreeMap;

use common::domain::{
    AgeRule, Body, Epoch, Evidence, Gap, GapCause, Origin, Policy, PriceRule, Ratio, Span, Tick, Timestamp,
};
use proptest::prelude::*;

use super::*;

pub(super) fn interval() -> Interval {
    "10s".parse().unwrap()
}

pub(super) fn slot(index: i64) -> Slot {
    interval().slot(Timestamp::from_unix_millis(index * 10_000).unwrap()).unwrap()
}

pub(super) fn identity(text: &str) -> LogIdentity {
    LogIdentity::new(text).unwrap()
}

pub(super) fn now() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

pub(super) fn record(pair: &str, index: i64, price: Option<&str>) -> Record {
    let body = match price {
        Some(price) => {
            let price: Price = price.parse().unwrap();
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
            let spread = Ratio::distance(price, price, price);
            let evidence = Evidence { policy, quotes: Vec::new() };
            Body::Tick(Tick {
                slot: slot(index),
                interval: interval(),
                price,
                spread,
                backfilled: false,
                evidence,
            })
        }
        None => Body::Gap(Gap {
            from: slot(index),
            slot: slot(index),
            interval: interval(),
            cause: GapCause::Missed,
            backfilled: false,
            evidence: None,
        }),
    };
    Record { pair: pair.parse().unwrap(), epoch: Epoch(1), origin: Origin::Live, body }
}

fn prices(store: &Store, pair: &str, from: i64, to: i64, order: Order) -> Vec<(i64, String)> {
    let ticks = store.ticks(pair.parse().unwrap(), slot(from).start(), slot(to).start(), order);
    ticks
        .map(|tick| tick.unwrap())
        .map(|tick| (tick.slot.start().unix_millis() / 10_000, tick.price.to_string()))
        .collect()
}

/// Opens a store that was in use a moment ago: sled closes it shortly after the last handle is dropped.
pub(super) fn settled<T>(open: impl Fn() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match open() {
            Err(OpenError::InUse { .. }) if tokio::time::Instant::now() < deadline => {
                std::thread::yield_now()
            }
            opened => return opened,
        }
    }
}

pub(super) fn reopen(folder: &Path) -> Store {
    settled(|| Store::open_copy(folder, &identity("abc"), now())).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_was_committed_is_read_back_after_reopening(
        slots in prop::collection::vec((0_usize..2, prop::option::of(1_u32..1_000_000)), 1..120),
        cuts in prop::collection::vec(1_usize..10, 1..20),
        from in 0_i64..120,
        length in 0_i64..120,
    ) {
        const PAIRS: [&str; 2] = ["BTC-USD", "BTC-USDT"];
        let folder = tempfile::tempdir().unwrap();
        let mut expected: BTreeMap<(usize, i64), String> = BTreeMap::new();
        let mut next = Sequence(1);
        let mut index = 0;
        let mut rest = slots.as_slice();
        for cut in cuts.iter().cycle().take(slots.len()) {
            // Reopen the store for every batch, as after a restart.
            let store = reopen(folder.path());
            prop_assert_eq!(store.cursor().unwrap().next(), next);
            let (batch, later) = rest.split_at((*cut).min(rest.len()));
            rest = later;
            let mut stored = Vec::new();
            for (pair, cents) in batch {
                let price = cents.map(|cents| format!("{}.{:02}", cents / 100 + 1, cents % 100));
                stored.push(Stored { sequence: next, record: record(PAIRS[*pair], index, price.as_deref()) });
                if let Some(price) = price {
                    expected.insert((*pair, index), price);
                }
                (next, index) = (next.next(), index + 1);
            }
            store.commit(&stored, Sequence(next.0 - 1), &[], Timestamp::EPOCH).unwrap();
            for Stored { sequence, record } in &stored {
                let read = store.record(*sequence).unwrap();
                prop_assert_eq!(read.as_ref(), Some(record));
                prop_assert_eq!(store.pair_state(record.pair).unwrap().unwrap().newest >= *sequence, true);
            }
        }
        let store = reopen(folder.path());
        for (number, pair) in PAIRS.iter().enumerate() {
            let mut naive: Vec<(i64, String)> = expected
                .range((number, from)..(number, from + length))
                .map(|((_, index), price)| (*index, price.clone()))
                .collect();
            prop_assert_eq!(prices(&store, pair, from, from + length, Order::Ascending), naive.clone());
            naive.reverse();
            prop_assert_eq!(prices(&store, pair, from, from + length, Order::Descending), naive);
        }
    }
}

#[test]
fn a_reversed_range_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(folder.path()).unwrap();
    store
        .commit(
            &[Stored { sequence: Sequence(1), record: record("BTC-USD", 5, Some("1")) }],
            Sequence(1),
            &[],
            Timestamp::EPOCH,
        )
        .unwrap();
    assert!(prices(&store, "BTC-USD", 9, 1, Order::Ascending).is_empty());
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Store::open_local(folder.path()).unwrap();
    assert!(matches!(Store::open_local(folder.path()), Err(OpenError::InUse { .. })));
    assert!(matches!(Store::open_copy(folder.path(), &identity("abc"), now()), Err(OpenError::InUse { .. })));
}

pub(super) fn aside(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("damaged-"))
        .count()
}

#[test]
fn a_copy_of_another_log_is_moved_aside_and_at_most_three_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..6 {
        let log = identity(&format!("a{number}"));
        let later = now().plus(std::time::Duration::from_secs(number));
        let store = settled(|| Store::open_copy(folder.path(), &log, later)).unwrap();
        assert_eq!(store.cursor().unwrap(), Sequence(0));
        store.commit(&[], Sequence(7), &[], Timestamp::EPOCH).unwrap();
    }
    assert_eq!(aside(folder.path()), 3);
}

#[test]
fn an_only_copy_is_never_moved_or_taken_for_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let local = Store::open_local(folder.path()).unwrap();
    let name = local.identity().clone();
    local.commit(&[], Sequence(7), &[], Timestamp::EPOCH).unwrap();
    drop(local);
    let refused = settled(|| Store::open_copy(folder.path(), &identity("abc"), now()));
    assert!(matches!(refused, Err(OpenError::OtherKind { .. })));
    let again = settled(|| Store::open_local(folder.path())).unwrap();
    assert_eq!((again.identity(), again.cursor().unwrap()), (&name, Sequence(7)));
    drop(again);
    assert_eq!(aside(folder.path()), 0);

    let other = tempfile::tempdir().unwrap();
    drop(Store::open_copy(other.path(), &identity("abc"), now()).unwrap());
    let refused = settled(|| Store::open_local(other.path()));
    assert!(matches!(refused, Err(OpenError::OtherKind { .. })));
}

#[test]
fn a_system_error_is_not_taken_for_damage() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("store"), "a file where a directory should be").unwrap();
    assert!(matches!(
        Store::open_copy(folder.path(), &identity("abc"), now()),
        Err(OpenError::Folder { .. })
    ));
    assert!(matches!(Store::open_local(folder.path()), Err(OpenError::Folder { .. })));
    assert_eq!(aside(folder.path()), 0);
}
