//! A clock that jumps ahead or back by an hour.

use common::domain::{Epoch, GapCause, Origin};

use super::{
    rig::{Rig, START, degraded, leading, pair, rig, rig_after},
    *,
};

const HOUR: i64 = 3_600;

/// A source with timestamps, and one without.
const SOURCES: [(&str, u64, Role); 2] = [("timed", 100, PRIMARY), ("plain", 100, PRIMARY)];

/// A newest record of the pair, for the slot that starts this many seconds after the start of the test.
fn covered_up_to(second: i64) -> Record {
    let interval: Interval = "10s".parse().unwrap();
    let slot = interval.slot_at(Timestamp::from_unix_millis(START + second * 1_000).unwrap());
    let gap =
        Gap { from: slot, slot, interval, cause: GapCause::NoLeader, backfilled: false, evidence: None };
    Record { pair: pair(), epoch: Epoch(1), origin: Origin::Live, body: Body::Gap(gap) }
}

async fn passes(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Whether another poller was allowed to lead since the last call.
async fn handed_over(rig: &Rig) -> bool {
    tokio::time::timeout(Duration::ZERO, rig.leadership.wait_until_fenced()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_while_the_clock_is_ahead() {
    let mut rig = rig(&SOURCES, 1);
    assert_eq!(rig.next().await.0, 10);
    rig.clock.jump(HOUR * 1_000);
    passes(55).await;
    assert!(rig.slots.try_recv().is_err(), "no slot of the future is polled");
    assert!(degraded(&rig.readiness));
    assert!(handed_over(&rig).await, "another poller's clock may be right");
    assert!(!handed_over(&rig).await, "only once a minute");
    rig.clock.jump(-HOUR * 1_000);
    assert_eq!(rig.next().await.0, 70, "the slot that is due");
    assert!(!degraded(&rig.readiness));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_corrected_is_trusted() {
    let mut rig = rig(&SOURCES, 1);
    rig.clock.jump(-HOUR * 1_000);
    assert_eq!(rig.next().await.0, 10 - HOUR);
    rig.clock.jump(HOUR * 1_000);
    let (second, body) = rig.next().await;
    assert!([10, 20].contains(&second), "the sources agree with the clock: {second}");
    assert!(matches!(body, Body::Tick(_)));
    assert!(!handed_over(&rig).await);
}

#[tokio::test(start_paused = true)]
async fn without_source_timestamps_a_jump_is_trusted() {
    let mut rig = rig(&SOURCES[1..], 1);
    assert_eq!(rig.next().await.0, 10);
    rig.clock.jump(HOUR * 1_000);
    assert!([10 + HOUR, 20 + HOUR].contains(&rig.next().await.0));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_whose_clock_is_ahead_of_the_log_and_the_sources_waits() {
    let mut rig = rig_after(Some(covered_up_to(0)), LeadState::Standby, &SOURCES, 1);
    rig.clock.jump(HOUR * 1_000);
    rig.state.send_replace(leading());
    passes(35).await;
    assert!(rig.slots.try_recv().is_err() && degraded(&rig.readiness));
    rig.clock.jump(-HOUR * 1_000);
    assert_eq!(rig.next().await.0, 40);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_after_a_long_outage_starts_at_once() {
    let mut rig = rig_after(Some(covered_up_to(-HOUR)), leading(), &SOURCES, 1);
    assert_eq!(rig.next().await.0, 10);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_whose_clock_is_behind_the_log_polls_nothing_and_hands_over() {
    let mut rig = rig_after(Some(covered_up_to(HOUR)), leading(), &SOURCES, 1);
    passes(100).await;
    assert!(rig.slots.try_recv().is_err() && degraded(&rig.readiness));
    assert!(handed_over(&rig).await);
    rig.clock.jump(HOUR * 1_000);
    assert!((HOUR..HOUR + 200).contains(&rig.next().await.0));
}
