//! A clock that jumps ahead or back by an hour.

use common::domain::{Epoch, GapCause, Origin};

use super::{
    rig::{Rig, START, degraded, leading, pair, rig, rig_after},
    *,
};

const HOUR: i64 = 3_600;

/// A source with timestamps, one that only sends the time of its response, and one without any time.
const SOURCES: [(&str, u64, Role); 3] =
    [("timed", 100, PRIMARY), ("dated", 100, PRIMARY), ("plain", 100, PRIMARY)];

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

/// Whether a jump ahead is believed, although it is wrong.
async fn believes_a_wrong_jump(sources: &[(&'static str, u64, Role)]) -> bool {
    let mut rig = rig(sources, 1);
    assert_eq!(rig.next().await.0, 10);
    rig.clock.jump(240 * HOUR * 1_000);
    passes(55).await;
    rig.stop.cancel();
    rig.slots.try_recv().is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_jump_is_not_believed_without_witnesses() {
    // Before, both were believed, so the first record was ten days ahead.
    assert!(!believes_a_wrong_jump(&SOURCES[2..]).await);
    assert!(!believes_a_wrong_jump(&[("dated", 100, PRIMARY), ("plain", 100, PRIMARY)]).await);
}

/// Whether a clock that was behind by an hour is believed after it was corrected.
async fn believes_a_correction(sources: &[(&'static str, u64, Role)]) -> bool {
    let mut rig = rig(sources, 1);
    rig.clock.jump(-HOUR * 1_000);
    passes(25).await;
    assert!(rig.slots.try_recv().is_ok());
    rig.clock.jump(HOUR * 1_000);
    passes(55).await;
    rig.stop.cancel();
    !degraded(&rig.readiness)
}

#[tokio::test(start_paused = true)]
async fn a_correction_is_believed_if_two_clocks_agree_or_the_only_one() {
    let (dated, plain) = (("dated", 100, PRIMARY), ("plain", 100, PRIMARY));
    let log = ("log", 0, PRIMARY);
    assert!(believes_a_correction(&[dated]).await);
    assert!(believes_a_correction(&[dated, ("dated_b", 100, PRIMARY), plain]).await);
    assert!(believes_a_correction(&[dated, plain, log]).await);
    assert!(!believes_a_correction(&[dated, plain]).await);
    // The server of the log may run on the same machine, with the same clock.
    assert!(!believes_a_correction(&[plain, log]).await);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_is_not_misled_by_a_pair_whose_records_are_ahead() {
    let mut rig = rig_after(Some(covered_up_to(240 * HOUR)), leading(), &SOURCES, 1);
    passes(35).await;
    assert!(rig.slots.try_recv().is_err() && degraded(&rig.readiness));
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
    // It is too late to ask the sources in the current slot, so they are asked in the next one.
    let mut rig = rig_after(Some(covered_up_to(-HOUR)), leading(), &SOURCES, 1);
    assert_eq!(rig.next().await.0, 10);
    assert!(!handed_over(&rig).await, "no other poller would have a better clock");
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_whose_clock_is_behind_the_log_polls_nothing_and_hands_over() {
    let mut rig = rig_after(Some(covered_up_to(0)), LeadState::Standby, &SOURCES, 1);
    rig.clock.jump(-HOUR * 1_000);
    rig.state.send_replace(leading());
    passes(100).await;
    assert!(rig.slots.try_recv().is_err() && degraded(&rig.readiness));
    assert!(handed_over(&rig).await);
    rig.clock.jump(HOUR * 1_000);
    assert!((100..200).contains(&rig.next().await.0));
}
