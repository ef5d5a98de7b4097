use std::sync::Mutex;

use async_trait::async_trait;
use common::{
    clock::ManualClock,
    domain::{GapCause, Origin, PriceRule, Verdict},
};
use proptest::prelude::*;

use super::*;
use crate::{
    aggregate::recompute::{Outcome, recompute},
    source::{self, Answers, Source},
};

/// A source of closes.
struct Closes {
    name: SourceName,
    pasts: Pasts,
    asked: Mutex<Vec<CandleRange>>,
}

#[async_trait]
impl Source for Closes {
    fn name(&self) -> SourceName {
        self.name
    }

    fn origin(&self) -> Origin {
        Origin::Live
    }

    async fn past(&self, pairs: &[Pair], range: CandleRange, _slot: Slot, _deadline: Instant) -> Pasts {
        self.asked.lock().unwrap().push(range);
        self.pasts.clone().into_iter().filter(|(pair, _)| pairs.contains(pair)).collect()
    }

    async fn ask(&self, _slot: Slot, _deadline: Instant) -> Answers {
        Answers::new()
    }
}

/// Minute 0 of the tests.
const START_MS: i64 = 1_795_219_200_000;

fn minute(number: i64) -> Timestamp {
    Timestamp::from_unix_millis(START_MS + number * 60_000).unwrap()
}

fn pair() -> Pair {
    "BTC-USD".parse().unwrap()
}

fn policy() -> Policy {
    Policy {
        rules: Policy::RULES,
        price: PriceRule::Mid,
        min_sources: 2,
        max_deviation: "2%".parse().unwrap(),
        max_quote_age: Span::from_seconds(30),
        max_clock_skew: Span::from_seconds(5),
        frozen_after: Span::from_seconds(600),
        aged_at: AgeRule::Arrival,
    }
}

/// A source with closes at these minutes.
fn member(name: &str, role: Role, closes: &[(i64, &str)]) -> (Member, Arc<Closes>) {
    let closes = closes.iter().map(|(number, price)| (minute(*number), price.parse().unwrap())).collect();
    let past = source::Past { closes, otherwise: Failure::Missing };
    let (name, pasts) = (name.parse().unwrap(), [(pair(), past)].into());
    let source = Arc::new(Closes { name, pasts, asked: Mutex::default() });
    (Member { source: source.clone(), role, pairs: vec![pair()], max_age: None }, source)
}

fn backfill(feed: &str, members: Vec<Member>) -> Backfill {
    Backfill {
        members,
        policies: [(pair(), policy_of_past(policy()))].into(),
        feed: feed.parse().unwrap(),
        span: "24h".parse().unwrap(),
        clock: Arc::new(ManualClock::new(minute(1_000))),
    }
}

/// The results for these minutes: the price, or the gap's cause.
async fn results(backfill: &Backfill, from: i64, to: i64) -> Vec<(i64, String)> {
    let last = backfill.interval().slot(minute(to)).unwrap();
    let wanted = [(pair(), Wanted { after: minute(from - 1), last })].into();
    let past = backfill.ask(&wanted).await;
    let bodies = past.get(&pair()).map(Vec::as_slice).unwrap_or_default();
    let result = |body: &Body| {
        let (slot, text) = match body {
            Body::Tick(tick) => {
                assert!(tick.backfilled);
                (tick.slot, tick.price.to_string())
            }
            Body::Gap(gap) => {
                assert!(gap.backfilled && gap.from == gap.slot);
                (gap.slot, gap.cause.to_string())
            }
            Body::Lead(_) => panic!("a lead"),
        };
        ((slot.start().unix_millis() - START_MS) / 60_000, text)
    };
    bodies.iter().map(result).collect()
}

fn words(results: &[(i64, &str)]) -> Vec<(i64, String)> {
    results.iter().map(|(minute, text)| (*minute, (*text).to_owned())).collect()
}

#[tokio::test]
async fn each_minute_has_the_median_of_the_closes_or_a_gap_that_says_why() {
    let closes = [
        member("a", Role::Primary, &[(1, "100"), (2, "101"), (3, "102"), (5, "104")]),
        member("b", Role::Primary, &[(1, "100.2"), (2, "101"), (4, "103"), (5, "200")]),
        member("c", Role::Primary, &[(2, "150"), (5, "104.5")]),
    ];
    let backfill = backfill("10s", closes.map(|(member, _)| member).into());
    let expected = [(1, "100.1"), (2, "101"), (3, "too_few_sources"), (4, "too_few_sources"), (5, "104.25")];
    assert_eq!(results(&backfill, 1, 5).await, words(&expected));
}

#[tokio::test]
async fn slots_before_the_first_price_and_after_the_last_one_are_left_out() {
    let one = [member("a", Role::Primary, &[(1, "100"), (2, "101"), (3, "102"), (4, "103")]).0];
    assert_eq!(results(&backfill("10s", one.clone().into()), 1, 4).await, []);
    let two = [one[0].clone(), member("b", Role::Primary, &[(2, "101"), (3, "102")]).0];
    let expected = words(&[(2, "101"), (3, "102")]);
    assert_eq!(results(&backfill("10s", two.into()), 1, 4).await, expected);
}

#[tokio::test]
async fn a_close_of_an_earlier_minute_is_stale_at_the_slot() {
    let closes = [
        member("a", Role::Primary, &[(1, "100"), (2, "101"), (3, "102")]),
        member("b", Role::Primary, &[(1, "100"), (2, "101"), (3, "102")]),
        member("c", Role::Primary, &[(1, "100"), (3, "102")]),
    ];
    let backfill = backfill("10s", closes.map(|(member, _)| member).into());
    let last = backfill.interval().slot(minute(3)).unwrap();
    let past = backfill.ask(&[(pair(), Wanted { after: minute(0), last })].into()).await;
    let verdicts = past[&pair()].iter().map(|body| body.evidence().unwrap().quotes[2].verdict);
    assert_eq!(verdicts.collect::<Vec<_>>(), [Verdict::Used, Verdict::Stale, Verdict::Used]);
    let Body::Tick(tick) = &past[&pair()][1] else { panic!("a gap") };
    let quote = tick.evidence.quotes[2].observation.unwrap();
    assert_eq!((quote.source_time, quote.observed_at), (Some(minute(1)), minute(1_000)));
}

#[tokio::test]
async fn fallbacks_are_asked_only_for_slots_without_a_price_and_shadows_never_count() {
    let (fallback, asked) = member("c", Role::Fallback, &[(1, "100.9"), (2, "101"), (3, "102")]);
    let all: Vec<(i64, &str)> = vec![(1, "100"), (2, "101"), (3, "102")];
    let (a, b) = (member("a", Role::Primary, &all).0, member("b", Role::Primary, &all).0);
    let complete = backfill("10s", vec![a.clone(), b, fallback.clone()]);
    assert_eq!(results(&complete, 1, 3).await, words(&[(1, "100"), (2, "101"), (3, "102")]));
    assert!(asked.asked.lock().unwrap().is_empty());
    let partial = member("b", Role::Primary, &[(1, "100")]).0;
    let shadow = member("d", Role::Shadow, &[(3, "150")]).0;
    let open = backfill("10s", vec![a, partial, fallback, shadow]);
    // In the first minute, the primaries agree, so the fallback's price does not count.
    assert_eq!(results(&open, 1, 3).await, words(&[(1, "100"), (2, "101"), (3, "102")]));
    assert_eq!(asked.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_longer_interval_has_the_slots_of_the_feed() {
    let closes: Vec<(i64, &str)> = vec![(4, "99"), (5, "100"), (6, "101"), (9, "102"), (10, "103")];
    let members = ["a", "b"].map(|name| member(name, Role::Primary, &closes).0);
    let backfill = backfill("5m", members.into());
    assert_eq!(results(&backfill, 1, 10).await, words(&[(5, "100"), (10, "103")]));
}

#[test]
fn the_wanted_slots_end_before_the_current_slot_and_begin_behind_the_log() {
    let at = |seconds: i64| minute(0).plus(Duration::from_secs(seconds.unsigned_abs()));
    let [ten, five]: [Interval; 2] = ["10s", "5m"].map(|text| text.parse().unwrap());
    let hour: Span = "1h".parse().unwrap();
    let bounds = |now, feed, covered| {
        wanted(now, feed, hour, covered).map(|wanted| (wanted.after, wanted.last.start()))
    };
    let back = |number: u64| minute(0).minus(Duration::from_secs(number * 60));
    // The current slot begins at the minute, so it is not backfilled.
    assert_eq!(bounds(at(9), ten, None), Some((back(62), back(1))));
    assert_eq!(bounds(at(10), ten, None), Some((back(61), minute(0))));
    assert_eq!(bounds(at(10), ten, Some(back(7))), Some((back(7), minute(0))));
    assert_eq!(bounds(at(10), ten, Some(back(90))), Some((back(61), minute(0))));
    for covered in [minute(0), minute(5)] {
        assert_eq!(bounds(at(10), ten, Some(covered)), None);
    }
    // The slots are multiples of five minutes since 1970, as minute 0 is.
    assert_eq!(bounds(at(200), five, None), Some((back(70), back(5))));
    assert_eq!(bounds(at(300), five, None), Some((back(65), minute(0))));
}

/// The median of the closes at a minute that are within 2 % of the median of all of them, if there are two or more and
/// they are within 2 % of each other.
fn naive(closes: &[i64]) -> Option<(i64, i64)> {
    let doubled_median = |sorted: &[i64]| sorted[sorted.len() / 2] + sorted[(sorted.len() - 1) / 2];
    let mut sorted = closes.to_vec();
    sorted.sort_unstable();
    if sorted.is_empty() {
        return None;
    }
    let center = doubled_median(&sorted);
    sorted.retain(|price| (2 * price - center).abs() * 100 <= 2 * center);
    if sorted.len() < 2 {
        return None;
    }
    let median = doubled_median(&sorted);
    ((sorted[sorted.len() - 1] - sorted[0]) * 2 * 100 <= 2 * median).then_some((median, 2))
}

proptest! {
    /// Prices are at most 1 % apart or far off, so that the step that removes the farthest price is never needed.
    #[test]
    fn every_tick_is_an_independent_computation_and_can_be_recomputed(
        minutes in prop::collection::vec(prop::collection::vec(prop::option::of(0_i64..100), 3), 1..60),
        far in prop::collection::vec(prop::bool::weighted(0.1), 60),
    ) {
        let price = |number: usize, source: usize, offset: i64| {
            if far[number] && source == 0 { 20_000 + offset } else { 10_000 + offset }
        };
        let members: Vec<Member> = (0..3).map(|source| {
            let closes: Vec<(i64, String)> = minutes.iter().enumerate().filter_map(|(number, offsets)| {
                let cents = price(number, source, offsets[source]?);
                Some((i64::try_from(number).unwrap(), format!("{}.{:02}", cents / 100, cents % 100)))
            }).collect();
            let closes: Vec<(i64, &str)> = closes.iter().map(|(number, text)| (*number, text.as_str())).collect();
            member(["a", "b", "c"][source], Role::Primary, &closes).0
        }).collect();
        let backfill = backfill("10s", members);
        let last = backfill.interval().slot(minute(i64::try_from(minutes.len()).unwrap() - 1)).unwrap();
        let wanted = [(pair(), Wanted { after: minute(-1), last })].into();
        let past = futures::executor::block_on(backfill.ask(&wanted));
        let bodies = past.get(&pair()).cloned().unwrap_or_default();
        let expected: Vec<Option<(i64, i64)>> = minutes.iter().enumerate().map(|(number, offsets)| {
            let of_source = |(source, offset): (usize, &Option<i64>)| Some(price(number, source, (*offset)?));
            naive(&offsets.iter().enumerate().filter_map(of_source).collect::<Vec<_>>())
        }).collect();
        let first = expected.iter().position(Option::is_some);
        let end = expected.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let expected = first.map_or(&[][..], |first| &expected[first..end]);
        prop_assert_eq!(bodies.len(), expected.len());
        for (body, expected) in bodies.iter().zip(expected) {
            match (body, expected) {
                (Body::Tick(tick), Some((doubled, _))) => {
                    // A hundredth of a cent.
                    prop_assert_eq!(tick.price.units() / 10_u128.pow(10), u128::try_from(doubled * 50).unwrap());
                }
                (Body::Gap(gap), None) => prop_assert!(
                    [GapCause::TooFewSources, GapCause::Disagreement].contains(&gap.cause)
                ),
                _ => prop_assert!(false, "{body:?} {expected:?}"),
            }
            let record = common::domain::Record {
                pair: pair(), epoch: common::domain::Epoch(1), origin: Origin::Live, body: body.clone(),
            };
            let bytes = common::wire::encode(&record);
            prop_assert_eq!(recompute(&common::wire::decode(&bytes).unwrap()), Ok(Outcome::Agrees));
        }
    }
}
