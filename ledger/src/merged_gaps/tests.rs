//! All pages together have every merged gap once and whole, unless a single one is longer than a page may read.

use common::domain::{Epoch, Interval, Sequence};
use proptest::prelude::*;

use super::*;

const INTERVAL_MILLIS: i64 = 10_000;

fn gap(from: i64, slots: i64, cause: GapCause) -> StoredGap {
    let interval: Interval = "10s".parse().unwrap();
    let slot =
        |number: i64| interval.slot(Timestamp::from_unix_millis(number * INTERVAL_MILLIS).unwrap()).unwrap();
    let recorded = Some((Sequence(u64::try_from(from).unwrap()), Epoch(1)));
    StoredGap {
        from: slot(from),
        slot: slot(from + slots - 1),
        interval,
        cause,
        backfilled: false,
        recorded,
        asked: None,
    }
}

/// Whether one gap begins right after the other ends, in either order.
fn touch(one: &StoredGap, other: &StoredGap) -> Result<bool, StoreError> {
    let (earlier, later) = if one.from < other.from { (one, other) } else { (other, one) };
    Ok(earlier.interval.after(earlier.slot.start()) == later.from)
}

/// Gaps, each followed by this number of ticks.
fn log(gaps: &[(u8, bool, u8)]) -> Vec<StoredGap> {
    let mut next = 1;
    let mut found = Vec::new();
    for (slots, missed, ticks) in gaps {
        let cause = if *missed { GapCause::Missed } else { GapCause::NoLeader };
        found.push(gap(next, i64::from(*slots), cause));
        next += i64::from(*slots) + i64::from(*ticks);
    }
    found
}

/// The merged gaps of a log, oldest first, computed without pages.
fn naive(gaps: &[StoredGap]) -> Vec<MergedGap> {
    gaps.chunk_by(|one, other| touch(one, other).unwrap())
        .map(|run| {
            let mut slots = BTreeMap::new();
            run.iter().for_each(|gap| *slots.entry(gap.cause).or_default() += gap.slots());
            MergedGap { first: run[0], last: run[run.len() - 1], count: run.len() as u64, slots }
        })
        .collect()
}

/// The items of each page. A next page begins where the cursor says, as the route does it.
fn pages(gaps: &[StoredGap], order: Order, limits: Limits) -> Vec<Vec<MergedGap>> {
    let mut rest = gaps.to_vec();
    if order == Order::Descending {
        rest.reverse();
    }
    let mut pages = Vec::new();
    loop {
        let MergedPage { items, next } = merge(rest.iter().copied().map(Ok), order, limits, touch).unwrap();
        assert!(items.len() <= limits.items);
        pages.push(items);
        let Some((last, next)) = next else { return pages };
        rest.retain(|gap| match order {
            Order::Ascending => gap.slot.start() >= next,
            Order::Descending => gap.from.start() < last,
        });
        assert!(!rest.is_empty(), "no page is empty");
    }
}

proptest! {
    #[test]
    fn pages_are_those_of_the_unlimited_list(
        gaps in prop::collection::vec((1_u8..4, any::<bool>(), 0_u8..2), 1..40),
        items in 1_usize..5,
        read in 1_usize..12,
    ) {
        let gaps = log(&gaps);
        let naive = naive(&gaps);
        for order in [Order::Ascending, Order::Descending] {
            let mut expected = naive.clone();
            if order == Order::Descending {
                expected.reverse();
            }
            let unbounded = pages(&gaps, order, Limits { items, gaps: usize::MAX });
            prop_assert!(unbounded.iter().rev().skip(1).all(|page| page.len() == items), "pages are full");
            prop_assert_eq!(unbounded.concat(), expected.clone());

            let bounded = pages(&gaps, order, Limits { items, gaps: read });
            prop_assert!(bounded.iter().flatten().all(|item| item.count <= read as u64));
            let whole = |item: &&MergedGap| item.count <= read as u64;
            for item in expected.iter().filter(whole) {
                // A merged gap that a page can read is split only if it is the rest of a longer one.
                prop_assert!(bounded.concat().contains(item));
            }
            let slots = |items: &[MergedGap]| items.iter().map(MergedGap::slots).sum::<u64>();
            prop_assert_eq!(slots(&bounded.concat()), slots(&expected));
        }
    }
}

#[test]
fn causes_with_more_slots_come_first() {
    let gaps = [gap(1, 2, GapCause::Missed), gap(3, 5, GapCause::NoLeader), gap(8, 1, GapCause::Missed)];
    let merged = naive(&gaps).remove(0);
    assert_eq!(merged.causes(), [(GapCause::NoLeader, 5), (GapCause::Missed, 3)]);
    assert_eq!((merged.slots(), merged.count), (8, 3));
}
