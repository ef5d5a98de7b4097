//! Tests that all pages together list every gap of one cause, although gaps of other causes lie between them.

use common::domain::{Epoch, Interval, Sequence, Timestamp};
use proptest::prelude::*;

use super::*;

fn gap(index: usize, cause: GapCause) -> StoredGap {
    let interval: Interval = "10s".parse().unwrap();
    let millis = i64::try_from(index).unwrap() * 10_000;
    let slot = interval.slot(Timestamp::from_unix_millis(millis).unwrap()).unwrap();
    let (sequence, epoch) = (Sequence(u64::try_from(index).unwrap()), Epoch(1));
    StoredGap {
        from: slot,
        slot,
        interval,
        cause,
        backfilled: false,
        recorded: Some((sequence, epoch)),
        asked: None,
    }
}

proptest! {
    #[test]
    fn all_pages_together_have_every_gap_of_the_cause_however_little_one_request_reads(
        missed in prop::collection::vec(any::<bool>(), 0..60),
        limit in 1_usize..5,
        max_read in 1_usize..20,
    ) {
        let cause = |missed: &bool| if *missed { GapCause::Missed } else { GapCause::NoLeader };
        let all: Vec<StoredGap> = missed.iter().map(cause).enumerate().map(|(index, cause)| gap(index, cause)).collect();
        for cause_filter in [None, Some(GapCause::Missed), Some(GapCause::Disagreement)] {
            let expected: Vec<StoredGap> =
                all.iter().filter(|gap| cause_filter.is_none_or(|cause_filter| cause_filter == gap.cause)).copied().collect();
            let (mut found, mut rest) = (Vec::new(), all.as_slice());
            loop {
                let (page, more) = collect(rest.iter().copied().map(Ok), cause_filter, limit, max_read).unwrap();
                prop_assert!(page.len() <= limit);
                found.extend(page);
                let Some((last, next)) = more else { break };
                rest = &all[usize::try_from(last.recorded.unwrap().0.0).unwrap() + 1..];
                prop_assert_eq!(rest.first(), Some(&next));
            }
            prop_assert_eq!(found, expected);
        }
    }
}
