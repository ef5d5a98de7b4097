//! The state machine by example, and over random histories on tokio's paused clock.

use common::domain::Words;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Slots on the grid, and the instants they come at.
struct Rig {
    backoff: Backoff,
    interval: Interval,
    slot: Slot,
    now: Instant,
}

impl Rig {
    fn new(interval: &str) -> Self {
        let interval: Interval = interval.parse().unwrap();
        let slot = interval.slot_at("2026-11-21T00:00:00Z".parse().unwrap());
        Self { backoff: Backoff::new(interval), interval, slot, now: Instant::now() }
    }

    fn next(&mut self) -> bool {
        self.slot = self.interval.after(self.slot.start());
        self.now += self.interval.duration();
        self.backoff.may_ask(self.slot, self.now)
    }

    fn fail(&mut self, failure: Failure, announced: Option<Duration>) {
        self.backoff.failed(failure, announced, self.now);
        self.backoff.ended(self.slot, false, self.now);
    }

    /// After how many slots the source is asked again.
    fn slots_until_asked(&mut self) -> u32 {
        (1..100_000).find(|_| self.next()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_slot_is_the_first_retry_and_then_the_pause_doubles_up_to_a_minute() {
    let mut rig = Rig::new("10s");
    let mut pauses = Vec::new();
    for _ in 0..6 {
        rig.fail(Failure::Timeout, None);
        pauses.push(rig.slots_until_asked());
    }
    assert_eq!(pauses, [1, 2, 4, 6, 6, 6]);
    rig.backoff.ended(rig.slot, true, rig.now);
    rig.fail(Failure::Http5xx, None);
    assert_eq!(rig.slots_until_asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn long_intervals_are_never_skipped() {
    for interval in ["90s", "1d"] {
        let mut rig = Rig::new(interval);
        for _ in 0..40 {
            rig.fail(Failure::Unreachable, None);
            assert_eq!(rig.slots_until_asked(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_stands_for_has_its_own_rest() {
    for (failure, seconds) in [
        (Failure::Http429, 60),
        (Failure::RateLimited, 60),
        (Failure::Http403, 600),
        (Failure::Http451, 600),
        (Failure::Http418, 120),
    ] {
        let mut rig = Rig::new("10s");
        rig.fail(failure, None);
        assert_eq!(rig.slots_until_asked(), seconds / 10, "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn bans_double_up_to_three_days() {
    let mut rig = Rig::new("60s");
    for minutes in [2, 4, 8, 16] {
        rig.fail(Failure::Http418, None);
        assert_eq!(rig.slots_until_asked(), minutes);
    }
    for _ in 0..40 {
        rig.fail(Failure::Http418, None);
        rig.slots_until_asked();
    }
    rig.fail(Failure::Http418, None);
    assert_eq!(rig.slots_until_asked(), 3 * 24 * 60);
}

#[tokio::test(start_paused = true)]
async fn many_requests_of_a_slot_that_are_banned_are_one_ban() {
    let mut rig = Rig::new("60s");
    for minutes in [2, 4, 8] {
        for _ in 0..10 {
            rig.backoff.failed(Failure::Http418, None, rig.now);
        }
        rig.backoff.ended(rig.slot, false, rig.now);
        assert_eq!(rig.slots_until_asked(), minutes);
    }
}

#[tokio::test(start_paused = true)]
async fn an_announced_time_is_obeyed_over_the_usual_one_and_bounded() {
    let mut rig = Rig::new("10s");
    rig.fail(Failure::Http5xx, Some(95 * SECOND));
    assert_eq!(rig.slots_until_asked(), 10);
    let mut rig = Rig::new("10s");
    rig.fail(Failure::Http429, Some(SECOND));
    assert_eq!(rig.slots_until_asked(), 1);
    let mut rig = Rig::new("1h");
    rig.fail(Failure::Http429, Some(Duration::MAX));
    assert_eq!(rig.slots_until_asked(), 72);
}

#[tokio::test(start_paused = true)]
async fn one_refusal_among_prices_rests_the_source() {
    let mut rig = Rig::new("10s");
    rig.backoff.failed(Failure::Http429, Some(30 * SECOND), rig.now);
    rig.backoff.failed(Failure::Http429, Some(SECOND), rig.now);
    rig.backoff.ended(rig.slot, true, rig.now);
    assert_eq!(rig.slots_until_asked(), 3);
}

/// What may come of asking.
fn outcomes() -> impl Strategy<Value = Vec<Option<(Failure, Option<u64>)>>> {
    let failure = (proptest::sample::select(Failure::ALL), proptest::option::of(0_u64..400));
    proptest::collection::vec(proptest::option::weighted(0.7, failure), 1..60)
}

proptest! {
    /// Whatever happens: nothing before the announced time, and never away for longer than must be.
    #[test]
    fn no_request_is_early_and_none_is_forgotten(
        history in outcomes(),
        interval in proptest::sample::select(vec!["100ms", "1s", "7s", "10s", "1m", "10m"]),
        jitter in 0_u64..50,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut rig = Rig::new(interval);
            let mut not_before = rig.now;
            let longest_pause = LONGEST_PAUSE.max(rig.interval.duration());
            let mut bans = 0;
            for outcome in history {
                prop_assert!(rig.backoff.may_ask(rig.slot, Instant::now()));
                prop_assert!(Instant::now() >= not_before, "asked before the announced time");
                tokio::time::advance(Duration::from_millis(jitter)).await;
                let answered = Instant::now();
                let mut rest = Duration::ZERO;
                match outcome {
                    Some((failure, announced)) => {
                        let announced = announced.map(Duration::from_secs);
                        rig.backoff.failed(failure, announced, answered);
                        bans += u32::from(failure == Failure::Http418);
                        let usual = match failure {
                            Failure::Http429 | Failure::RateLimited => 60,
                            Failure::Http403 | Failure::Http451 => 600,
                            Failure::Http418 => 120_u64.saturating_mul(1 << (bans.min(30) - 1)),
                            _ => 0,
                        };
                        rest = announced.unwrap_or(Duration::from_secs(usual)).min(LONGEST_REST);
                        not_before = not_before.max(answered + rest);
                        rig.backoff.ended(rig.slot, false, answered);
                    }
                    None => {
                        bans = 0;
                        rig.backoff.ended(rig.slot, true, answered);
                    }
                }
                // On to the slot in which it is asked again, which must come.
                let bound = answered + rest.max(longest_pause) + rig.interval.duration();
                loop {
                    // Days of rest pass in leaps of half of what is left, else in single slots.
                    let half = not_before.saturating_duration_since(rig.now) / 2;
                    let slots = half.as_millis() / u128::from(rig.interval.millis());
                    let leap = rig.interval.duration() * u32::try_from(slots).unwrap().max(1);
                    rig.slot = rig.interval.slot_at(rig.slot.start().plus(leap));
                    rig.now += leap;
                    tokio::time::advance(rig.now.saturating_duration_since(Instant::now())).await;
                    if rig.backoff.may_ask(rig.slot, Instant::now()) {
                        break;
                    }
                    prop_assert!(Instant::now() <= bound, "not asked again in time");
                }
            }
            Ok(())
        })?;
    }
}
