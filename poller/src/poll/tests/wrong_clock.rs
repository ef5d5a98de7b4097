//! A clock that jumps by an hour, forwards and back.

use common::domain::{Epoch, GapCause, Origin};

use super::{
    rig::{Rig, START, degraded, leading, pair, rig, rig_after},
    *,
};

const HOUR: i64 = 3_600;

/// A source that says the time, and one that does not.
const SOURCES: [(&str, u64, Role); 2] = [("timed", 100, PRIMARY), ("plain", 100, PRIMARY)];

/// A log whose newest slot lies so many seconds after the start.
fn covered_up_to(second: i64) -> Record {
    let interval: Interval = "10s".parse().unwrap();
    let slot = interval.slot_at(Timestamp::from_unix_millis(START + second * 1_000).unwrap());
    let gap = Gap { from: slot, slot, interval, cause: GapCause::NoLeader, evidence: None };
    Record { pair: pair(), epoch: Epoch(1), origin: Origin::Live, body: Body::Gap(gap) }
}

async fn passes(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Whether the lease was given to whoever wants it, since this was asked last.
async fn handed_over(rig: &Rig) -> bool {
    tokio::time::timeout(Duration::ZERO, rig.leadership.told_fenced()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn what_a_clock_that_is_ahead_says_is_not_published() {
    let mut rig = rig(&SOURCES, 1);
    assert_eq!(rig.next().await.0, 10);
    rig.clock.jump(HOUR * 1_000);
    passes(55).await;
    assert!(rig.slots.try_recv().is_err(), "a slot of the future");
    assert!(degraded(&rig.readiness));
    assert!(handed_over(&rig).await, "somebody else's clock may be right");
    assert!(!handed_over(&rig).await, "once is enough");
    rig.clock.jump(-HOUR * 1_000);
    assert_eq!(rig.next().await.0, 70, "the slot that is due, and none was used up");
    assert!(!degraded(&rig.readiness));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_right_is_believed() {
    let mut rig = rig(&SOURCES, 1);
    rig.clock.jump(-HOUR * 1_000);
    assert_eq!(rig.next().await.0, 10 - HOUR);
    rig.clock.jump(HOUR * 1_000);
    let (second, body) = rig.next().await;
    assert!([10, 20].contains(&second), "the sources say the same: {second}");
    assert!(matches!(body, Body::Tick(_)));
    assert!(!handed_over(&rig).await);
}

#[tokio::test(start_paused = true)]
async fn without_a_source_that_says_the_time_a_leap_is_believed() {
    let mut rig = rig(&SOURCES[1..], 1);
    assert_eq!(rig.next().await.0, 10);
    rig.clock.jump(HOUR * 1_000);
    assert!([10 + HOUR, 20 + HOUR].contains(&rig.next().await.0));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_whose_clock_is_ahead_of_log_and_sources_waits() {
    let mut rig = rig_after(Some(covered_up_to(0)), Standing::Standby, &SOURCES, 1);
    rig.clock.jump(HOUR * 1_000);
    rig.standing.send_replace(leading());
    passes(35).await;
    assert!(rig.slots.try_recv().is_err() && degraded(&rig.readiness));
    rig.clock.jump(-HOUR * 1_000);
    assert_eq!(rig.next().await.0, 40);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_after_a_long_silence_begins_at_once() {
    let mut rig = rig_after(Some(covered_up_to(-HOUR)), leading(), &SOURCES, 1);
    assert_eq!(rig.next().await.0, 10);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_whose_clock_is_behind_the_log_asks_nobody_and_hands_over() {
    let mut rig = rig_after(Some(covered_up_to(HOUR)), leading(), &SOURCES, 1);
    passes(100).await;
    assert!(rig.slots.try_recv().is_err() && degraded(&rig.readiness));
    assert!(handed_over(&rig).await);
    rig.clock.jump(HOUR * 1_000);
    assert!((HOUR..HOUR + 200).contains(&rig.next().await.0));
}
