//! What the store returns in log order is compared with the log itself.

use common::domain::{Body, GapCause};
use proptest::prelude::*;

use super::*;
use crate::store::{Break, Stored, gaps::tests as plans, tests};

/// The ticks and gaps that a store returns after a position, up to a sequence.
fn read(store: &Store, pairs: &[&str], after: Position, up_to: Sequence) -> Vec<Positioned> {
    let pairs: Vec<_> =
        pairs.iter().map(|pair| (pair.parse().unwrap(), Timestamp::EPOCH, Timestamp::MAX)).collect();
    let found = store.ticks_and_gaps_after(&pairs, after).unwrap().map(Result::unwrap);
    found.take_while(|(position, _)| position.sequence <= up_to).collect()
}

/// What [`read`] should return, computed record by record from the log.
fn naive(log: &[Stored], pairs: &[&str], after: Position) -> Vec<Positioned> {
    let of_pairs = log.iter().filter(|stored| pairs.contains(&stored.record.pair.to_string().as_str()));
    let found = of_pairs.filter_map(|Stored { sequence, record }| {
        Some((Position::after(*sequence), TickOrGap::of(*sequence, record)?))
    });
    found.filter(|(position, _)| *position > after).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn after_any_position_the_store_returns_what_the_log_has(
        log in plans::any_log(),
        after in prop::collection::vec(0_u64..62, 1..8),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_local(folder.path()).unwrap();
        let newest = Sequence(log.len() as u64);
        store.commit(&log, newest, &[], Timestamp::EPOCH).unwrap();
        for sequence in after.into_iter().map(Sequence) {
            for position in [Position::after(sequence), Position::before(sequence)] {
                for pairs in [&plans::PAIRS[..], &plans::PAIRS[..1], &plans::PAIRS[1..]] {
                    prop_assert_eq!(read(&store, pairs, position, newest), naive(&log, pairs, position));
                }
            }
        }
    }
}

#[test]
fn a_gap_for_lost_records_is_positioned_before_the_next_record() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(folder.path()).unwrap();
    let stored = |sequence, pair, index| Stored {
        sequence: Sequence(sequence),
        record: tests::record(pair, index, Some("1.5")),
    };
    let (one, other) = ("BTC-USD", "ETH-USD");
    let log = [
        stored(1, one, 1),
        stored(2, other, 1),
        // Messages 3 to 6 are missing.
        stored(7, one, 4),
        stored(8, other, 4),
    ];
    store.commit(&log, Sequence(8), &[Break::Expired(Sequence(7))], Timestamp::EPOCH).unwrap();
    let all = read(&store, &[one, other], Position::default(), Sequence(8));
    let places: Vec<String> = all.iter().map(|(position, _)| position.to_string()).collect();
    assert_eq!(places, ["1", "2", "before-7", "7", "before-8", "8"]);
    let lost = all[2].1.gap().unwrap();
    assert_eq!((lost.from, lost.slot, lost.cause), (tests::slot(2), tests::slot(3), GapCause::Retention));
    // Reading after any of these positions returns the rest.
    for (index, (position, _)) in all.iter().enumerate() {
        assert_eq!(read(&store, &[one, other], *position, Sequence(8)), all[index + 1..]);
    }
    assert!(matches!(log[0].record.body, Body::Tick(_)));
}

#[test]
fn the_store_knows_how_far_back_a_pair_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(folder.path()).unwrap();
    let record = |sequence, index| Stored {
        sequence: Sequence(sequence),
        record: tests::record("BTC-USD", index, Some("1.5")),
    };
    // Records before sequence 5 had expired when the log was read.
    store
        .commit(&[record(5, 5), record(6, 6)], Sequence(6), &[Break::Expired(Sequence(5))], Timestamp::EPOCH)
        .unwrap();
    let reaches = |sequence, from: i64| {
        let from = tests::slot(from).start();
        store
            .is_complete_after("BTC-USD".parse().unwrap(), Position::after(Sequence(sequence)), from)
            .unwrap()
    };
    assert!(!reaches(3, 0) && reaches(4, 0) && reaches(4, 5) && !reaches(4, 6));
    assert!(reaches(5, 0) && reaches(5, 6) && !reaches(5, 7));
    assert!(
        store.is_complete_after("ETH-USD".parse().unwrap(), Position::default(), Timestamp::EPOCH).unwrap()
    );
}
