//! What stood at an instant is compared with a scan over the slots of all records.

use common::domain::{Body, Interval, Sequence};
use proptest::prelude::*;

use super::*;
use crate::store::{Stored, TickOrGap, gaps::tests as plans, tests};

/// The slots of a pair's log, oldest first, each with its record.
fn slots(log: &[Stored], pair: Pair) -> Vec<(Slot, TickOrGap)> {
    let mut slots = Vec::new();
    for Stored { sequence, record } in log.iter().filter(|stored| stored.record.pair == pair) {
        let (mut slot, last, interval): (Slot, Slot, Interval) = match &record.body {
            Body::Tick(tick) => (tick.slot, tick.slot, tick.interval),
            Body::Gap(gap) => (gap.from, gap.slot, gap.interval),
            Body::Lead(_) => continue,
        };
        let found = TickOrGap::of(*sequence, record).unwrap();
        while slot <= last {
            slots.push((slot, found));
            slot = interval.after(slot.start());
        }
    }
    slots
}

/// What stood at an instant, found by visiting every slot.
fn naive(slots: &[(Slot, TickOrGap)], extent: Extent, instant: Timestamp) -> Standing {
    if instant > extent.newest.start() {
        return Standing::Future;
    }
    let (mut standing, mut newest_tick) = (Standing::BeforeHistory, None);
    for (slot, found) in slots {
        if slot.start() < extent.from || slot.start() > instant {
            continue;
        }
        standing = match found {
            TickOrGap::Tick(_, tick) => {
                newest_tick = Some(*tick);
                Standing::Tick(*tick)
            }
            TickOrGap::Gap(_, gap) => Standing::Gap { gap: *gap, before: newest_tick },
        };
    }
    standing
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_stood_at_any_instant_equals_a_scan_over_all_slots(
        log in plans::any_log(),
        begin in 0_u64..100_000,
        cut in 0_usize..60,
        instants in prop::collection::vec(0_u64..400_000, 1..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_local(folder.path()).unwrap();
        store.commit(&log, Sequence(log.len() as u64), &[], Timestamp::EPOCH).unwrap();
        let millis = std::time::Duration::from_millis;
        for pair in plans::PAIRS.map(|pair| pair.parse::<Pair>().unwrap()) {
            let slots = slots(&log, pair);
            // The extent ends with any record, as that of a request for an earlier sequence does, and begins with the
            // first slot or later.
            let ends: Vec<Slot> = log.iter().filter(|stored| stored.record.pair == pair).filter_map(|stored| {
                match &stored.record.body {
                    Body::Tick(tick) => Some(tick.slot),
                    Body::Gap(gap) => Some(gap.slot),
                    Body::Lead(_) => None,
                }
            }).collect();
            let Some(newest) = ends.get(cut.min(ends.len().saturating_sub(1))).copied() else { continue };
            for from in [Timestamp::EPOCH, tests::slot(1).start().plus(millis(begin))] {
                let extent = Extent { from, newest };
                let random = instants.iter().map(|after| tests::slot(1).start().plus(millis(*after)));
                let edges = slots.iter().flat_map(|(slot, _)| {
                    [slot.start().previous(), slot.start(), slot.start().next()]
                });
                for instant in random.chain(edges).chain([Timestamp::EPOCH, Timestamp::MAX]) {
                    let expected = naive(&slots, extent, instant);
                    prop_assert_eq!(store.standing(pair, extent, instant).unwrap(), expected, "{}", instant);
                }
            }
        }
    }
}
