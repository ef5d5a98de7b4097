//! Tests with examples and with random histories, on tokio's paused clock.

use common::domain::Words;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A backoff, the current slot, and the instant at which it starts.
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
        self.backoff.slot_ended(self.slot, false, self.now);
    }

    /// The number of slots until the source may be asked again.
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
    rig.backoff.slot_ended(rig.slot, true, rig.now);
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
async fn the_rest_depends_on_the_failure() {
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
async fn several_banned_requests_of_a_slot_count_as_one_ban() {
    let mut rig = Rig::new("60s");
    for minutes in [2, 4, 8] {
        for _ in 0..10 {
            rig.backoff.failed(Failure::Http418, None, rig.now);
        }
        rig.backoff.slot_ended(rig.slot, false, rig.now);
        assert_eq!(rig.slots_until_asked(), minutes);
    }
}

#[tokio::test(start_paused = true)]
async fn an_announced_rest_replaces_the_default_one_and_is_bounded() {
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
    rig.backoff.slot_ended(rig.slot, true, rig.now);
    assert_eq!(rig.slots_until_asked(), 3);
}

/// The outcome of each of several slots: None is a success, and Some is a failure with its announced rest in
/// seconds, if it has one.
fn outcomes() -> impl Strategy<Value = Vec<Option<(Failure, Option<u64>)>>> {
    let failure = (proptest::sample::select(Failure::ALL), proptest::option::of(0_u64..400));
    proptest::collection::vec(proptest::option::weighted(0.7, failure), 1..60)
}

proptest! {
    /// The source is never asked before the announced time, and always asked again within the bound.
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
                            Failure::Http403 | Failure::Http451 | Failure::Challenge => 600,
                            Failure::LockedOut => 900,
                            Failure::Http418 => 120_u64.saturating_mul(1 << (bans.min(30) - 1)),
                            _ => 0,
                        };
                        rest = announced.unwrap_or(Duration::from_secs(usual)).min(LONGEST_REST);
                        not_before = not_before.max(answered + rest);
                        rig.backoff.slot_ended(rig.slot, false, answered);
                    }
                    None => {
                        bans = 0;
                        rig.backoff.slot_ended(rig.slot, true, answered);
                    }
                }
                // Advance to the slot in which the source may be asked again. It must come before the bound.
                let bound = answered + rest.max(longest_pause) + rig.interval.duration();
                loop {
                    // To keep the test fast, each step skips half of the rest that is left.
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
