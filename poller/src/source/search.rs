//! Finds the pair whose symbol makes an exchange refuse a whole request.
//!
//! Some exchanges refuse a request for many pairs because of a single symbol, and do not say which. Then the pairs of
//! the request are asked in two halves, and a half that is refused again is halved again, until single pairs are found.
//! How many requests a slot allows is up to the caller; the search continues in the next slots. Pairs that are above
//! suspicion stay in one request, which is always sent first. If a slot allows a single request only, that request and the
//! search take turns.
//!
//! This is a pure state machine.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use common::domain::{Interval, Pair, Timestamp};

use super::patience::doubled;

/// The longest time for which a pair that the exchange refused is not asked for. Then it is asked for in a request of its
/// own.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What is known about the pairs that an exchange refuses.
#[derive(Debug)]
pub(super) struct Search {
    interval: Interval,
    /// Groups of pairs. The exchange refuses at least one pair of each, or has not been asked about it yet.
    suspects: VecDeque<Vec<Pair>>,
    /// The pairs that the exchange refused when it was asked for them alone.
    refused: BTreeMap<Pair, Refused>,
}

/// A pair that the exchange refused.
#[derive(Debug, Clone, Copy)]
struct Refused {
    /// Until when the pair is not asked for.
    until: Timestamp,
    /// How many times in a row it was refused. Each time doubles the pause, which is one slot at first.
    times: u32,
}

impl Search {
    /// A search for an exchange that is asked once per interval.
    pub(super) fn new(interval: Interval) -> Self {
        Self { interval, suspects: VecDeque::new(), refused: BTreeMap::new() }
    }

    /// The requests to send, at most `budget`: the pairs of each. `pairs` are all pairs that could be asked for.
    pub(super) fn groups(&self, pairs: &[Pair], budget: usize, now: Timestamp) -> Vec<Vec<Pair>> {
        let is_asked = |pair: &&Pair| pairs.contains(pair);
        let suspects: Vec<Vec<Pair>> =
            self.suspects.iter().map(|group| group.iter().filter(is_asked).copied().collect()).collect();
        let suspected: BTreeSet<Pair> = suspects.iter().flatten().copied().collect();
        let is_clear = |pair: &&Pair| !suspected.contains(pair) && !self.refused.contains_key(pair);
        let clear: Vec<Pair> = pairs.iter().filter(is_clear).copied().collect();
        let again =
            self.refused.iter().filter(|(pair, refused)| refused.until <= now && pairs.contains(pair));
        let again = again.map(|(pair, _)| vec![*pair]);
        let mut search = suspects.into_iter().chain(again).filter(|group| !group.is_empty()).peekable();
        let slot = now.unix_millis() / i64::try_from(self.interval.millis()).unwrap_or(i64::MAX).max(1);
        let has_turn = budget > 1 || search.peek().is_none() || slot % 2 == 0;
        let clear = Some(clear).filter(|clear| !clear.is_empty() && has_turn);
        clear.into_iter().chain(search).take(budget).collect()
    }

    /// Whether the exchange refused the pair, and for the first time.
    pub(super) fn is_newly_refused(&self, pair: Pair) -> bool {
        self.refused.get(&pair).is_some_and(|refused| refused.times == 1)
    }

    /// Whether the exchange refused the pair when it was last asked for it.
    pub(super) fn is_refused(&self, pair: Pair) -> bool {
        self.refused.contains_key(&pair)
    }

    /// Records that a request for these pairs was refused because of one of them. Returns the requests that continue the
    /// search.
    pub(super) fn refused(&mut self, group: &[Pair], now: Timestamp) -> Vec<Vec<Pair>> {
        self.forget(group);
        if let [pair] = group {
            let before = self.refused.get(pair).map_or(0, |refused| refused.times);
            let interval = self.interval.duration();
            let pause = doubled(interval, before).min(LONGEST_PAUSE.max(interval));
            let refused = Refused { until: now.plus(pause), times: before.saturating_add(1) };
            self.refused.insert(*pair, refused);
            return Vec::new();
        }
        let (first, second) = group.split_at(group.len() / 2);
        let halves: Vec<Vec<Pair>> =
            [first, second].into_iter().filter(|half| !half.is_empty()).map(<[Pair]>::to_vec).collect();
        self.suspects.extend(halves.iter().cloned());
        halves
    }

    /// Records that a request for these pairs was not refused. Returns the pairs that had been refused before.
    pub(super) fn accepted(&mut self, group: &[Pair]) -> Vec<Pair> {
        self.forget(group);
        let again: Vec<Pair> = group.iter().filter(|pair| self.refused.contains_key(pair)).copied().collect();
        self.refused.retain(|pair, _| !group.contains(pair));
        if !again.is_empty() {
            // If the exchange had a problem that made it refuse pairs, it is over. The others are asked for soon, too.
            self.refused
                .values_mut()
                .for_each(|refused| *refused = Refused { until: Timestamp::EPOCH, times: 1 });
        }
        again
    }

    /// Whether the search continues.
    pub(super) fn is_active(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Forgets the refused pairs for which `is_known` is true, and returns them.
    pub(super) fn forget_if(&mut self, is_known: impl Fn(Pair) -> bool) -> Vec<Pair> {
        let known: Vec<Pair> = self.refused.keys().copied().filter(|pair| is_known(*pair)).collect();
        self.refused.retain(|pair, _| !known.contains(pair));
        known
    }

    fn forget(&mut self, group: &[Pair]) {
        for suspects in &mut self.suspects {
            suspects.retain(|pair| !group.contains(pair));
        }
        self.suspects.retain(|group| !group.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(count: usize) -> Vec<Pair> {
        (0..count).map(|number| format!("A{number}-USD").parse().unwrap()).collect()
    }

    fn search() -> Search {
        Search::new("10s".parse().unwrap())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000).unwrap()
    }

    /// Asks with at most `budget` requests. Returns the pairs that were answered.
    fn slot(
        search: &mut Search,
        pairs: &[Pair],
        bad: &BTreeSet<Pair>,
        budget: usize,
        now: Timestamp,
    ) -> BTreeSet<Pair> {
        let (mut answered, mut left) = (BTreeSet::new(), budget);
        let mut round: VecDeque<Vec<Pair>> = search.groups(pairs, budget, now).into();
        while let Some(group) = round.pop_front().filter(|_| left > 0) {
            left -= 1;
            if group.iter().any(|pair| bad.contains(pair)) {
                round.extend(search.refused(&group, now));
            } else {
                search.accepted(&group);
                answered.extend(group);
            }
        }
        answered
    }

    #[test]
    fn one_culprit_is_found_and_asked_for_alone_less_and_less_often() {
        let (pairs, mut search) = (pairs(9), search());
        let bad = BTreeSet::from([pairs[4]]);
        let good: BTreeSet<Pair> = pairs.iter().copied().filter(|pair| !bad.contains(pair)).collect();
        assert_eq!(slot(&mut search, &pairs, &bad, 20, at(0)), good);
        assert!(search.is_refused(pairs[4]) && !search.is_refused(pairs[3]));
        assert_eq!(search.groups(&pairs, 20, at(9)), [good.iter().copied().collect::<Vec<_>>()]);
        // It is asked for alone, so that it does no harm. The pause doubles up to ten minutes.
        let mut asked = Vec::new();
        for seconds in (10..2_500).step_by(10) {
            if search.groups(&pairs, 20, at(seconds)).len() == 2 {
                asked.push(seconds);
            }
            assert_eq!(slot(&mut search, &pairs, &bad, 20, at(seconds)), good);
        }
        assert_eq!(asked, [10, 30, 70, 150, 310, 630, 1_230, 1_830, 2_430]);
        assert_eq!(slot(&mut search, &pairs, &BTreeSet::new(), 20, at(3_030)).len(), 9);
        assert_eq!(search.groups(&pairs, 20, at(3_040)), [pairs]);
    }

    #[test]
    fn the_pairs_of_a_refused_request_that_is_not_continued_are_asked_in_halves_in_the_next_slot() {
        let (pairs, mut search) = (pairs(4), search());
        search.refused(&pairs, at(0));
        assert_eq!(search.groups(&pairs, 20, at(10)), [pairs[..2].to_vec(), pairs[2..].to_vec()]);
        // A pair that is no longer configured is not asked for.
        assert_eq!(search.groups(&pairs[..3], 20, at(10)), [pairs[..2].to_vec(), pairs[2..3].to_vec()]);
    }

    #[test]
    fn when_one_refused_pair_is_accepted_the_others_are_asked_for_at_once() {
        let (pairs, mut search) = (pairs(3), search());
        let all: BTreeSet<Pair> = pairs.iter().copied().collect();
        for seconds in (0..1_200).step_by(10) {
            assert!(slot(&mut search, &pairs, &all, 20, at(seconds)).is_empty());
        }
        let first = (1_200..)
            .step_by(10)
            .find(|seconds| !slot(&mut search, &pairs, &BTreeSet::new(), 20, at(*seconds)).is_empty());
        let next = at(first.unwrap() + 10);
        assert_eq!(slot(&mut search, &pairs, &BTreeSet::new(), 20, next).len(), 3);
    }

    proptest! {
        #[test]
        fn every_culprit_is_found_and_every_other_pair_is_answered(
            count in 1_usize..50,
            bad in proptest::collection::vec(0_usize..50, 0..6),
            budget in 1_usize..12,
        ) {
            let (pairs, mut search) = (pairs(count), search());
            let bad: BTreeSet<Pair> = bad.into_iter().filter_map(|at| pairs.get(at).copied()).collect();
            for number in 0..2_000 {
                slot(&mut search, &pairs, &bad, budget, at(number * 10));
            }
            prop_assert!(!search.is_active());
            prop_assert!(bad.iter().all(|pair| search.is_refused(*pair)));
            // From now on, every other pair is answered in every slot. Only if a slot allows a single request, a slot is
            // lost for each pair that is asked for again, at most every ten minutes.
            let lost = (2_000..2_060)
                .filter(|number| {
                    slot(&mut search, &pairs, &bad, budget, at(number * 10)).len() < count - bad.len()
                })
                .count();
            prop_assert!(lost <= if budget == 1 { bad.len() } else { 0 }, "{lost} slots");
        }
    }
}
