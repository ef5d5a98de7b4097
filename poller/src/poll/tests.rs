//! The slot loop with a controllable clock and scripted sources.

pub(super) mod rig;
mod wrong_clock;

use common::{
    domain::{Epoch, Evidence, Gap, GapCause, Interval, Judged, Record, Verdict},
    readiness::Condition,
};
use rig::{START, degraded, leading, pair, policy, rig, rig_after, verdicts};

use super::*;

const PRIMARY: Role = Role::Primary;

#[tokio::test(start_paused = true)]
async fn every_slot_is_polled_once_on_time() {
    let mut rig = rig(&[("a", 100, PRIMARY), ("b", 200, PRIMARY)], 2);
    for expected in [10, 20, 30, 40] {
        let (second, body) = rig.next().await;
        assert_eq!(second, expected);
        assert!(matches!(body, Body::Tick(_)));
        // The slot is done as soon as the slowest source has responded, before the deadline.
        assert_eq!(rig.clock.now().unix_millis() - START, expected * 1_000 + 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_a_timeout_and_delays_nothing_else() {
    let mut rig = rig(&[("a", 100, PRIMARY), ("b", 100, PRIMARY), ("hangs", 60_000, PRIMARY)], 2);
    for expected in [10, 20] {
        let (second, body) = rig.next().await;
        assert_eq!(second, expected);
        assert_eq!(verdicts(&body), [Verdict::Used, Verdict::Used, Verdict::Failed(Failure::Timeout)]);
        assert_eq!(rig.clock.now().unix_millis() - START, expected * 1_000 + 4_000);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_polling_continues_with_the_slot_that_is_due() {
    let mut rig = rig(&[("a", 100, PRIMARY)], 1);
    assert_eq!(rig.next().await.0, 10);
    rig.clock.jump(45_000);
    let (second, _) = rig.next().await;
    assert!([50, 60].contains(&second), "{second}");
    assert_eq!(rig.next().await.0, second + 10);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_polls_no_slot_again() {
    let mut rig = rig(&[("a", 100, PRIMARY)], 1);
    assert_eq!(rig.next().await.0, 10);
    assert_eq!(rig.next().await.0, 20);
    rig.clock.jump(-3_600_000);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(degraded(&rig.readiness), "readiness reports that the clock was set back");
    assert_eq!(rig.next().await.0, 30);
    assert!(!degraded(&rig.readiness));
}

#[tokio::test(start_paused = true)]
async fn a_standby_asks_no_source_and_takes_over_with_the_current_slot() {
    let mut rig = rig_after(None, LeadState::Standby, &[("a", 100, PRIMARY)], 1);
    tokio::time::sleep(Duration::from_secs(17)).await;
    assert!(rig.slots.try_recv().is_err());
    assert_eq!(rig.readiness.report(), [("sources", Condition::Ready)]);
    // It is now two seconds after the start of slot 20, which is early enough to poll that slot.
    rig.state.send_replace(leading());
    assert_eq!(rig.next().await.0, 20);
    assert_eq!(rig.next().await.0, 30);
    rig.state.send_replace(LeadState::Suspended);
    assert_eq!(rig.next().await.0, 40, "a suspended poller continues to poll");
    rig.state.send_replace(LeadState::Standby);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(rig.slots.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_knows_which_sources_are_frozen() {
    let long_ago = Timestamp::from_unix_millis(START - 3_600_000).unwrap();
    let observation = Observation::traded("100.0".parse().unwrap(), long_ago);
    let judged =
        Judged { source: "stuck".parse().unwrap(), observation: Some(observation), verdict: Verdict::Unused };
    let interval: Interval = "10s".parse().unwrap();
    let slot = interval.slot_at(Timestamp::from_unix_millis(START).unwrap());
    let evidence = Some(Evidence { policy: policy(1), quotes: vec![judged] });
    let gap = Gap { from: slot, slot, interval, cause: GapCause::TooFewSources, backfilled: false, evidence };
    let newest = Record { pair: pair(), epoch: Epoch(1), origin: Origin::Live, body: Body::Gap(gap) };
    let mut rig = rig_after(Some(newest), leading(), &[("moves", 100, PRIMARY), ("stuck", 100, PRIMARY)], 1);
    rig.set(0, "100.3");
    assert_eq!(verdicts(&rig.next().await.1), [Verdict::Used, Verdict::Frozen]);
}

#[tokio::test(start_paused = true)]
async fn fallbacks_are_asked_only_if_the_primaries_do_not_agree() {
    let mut rig = rig(&[("a", 100, PRIMARY), ("b", 100, PRIMARY), ("spare", 100, Role::Fallback)], 2);
    assert_eq!(verdicts(&rig.next().await.1).len(), 2);
    rig.set(1, "200.0");
    let (_, body) = rig.next().await;
    assert_eq!(verdicts(&body), [Verdict::Used, Verdict::Outlier, Verdict::Used]);
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_hangs_leaves_time_for_the_fallbacks() {
    let mut rig = rig(&[("a", 100, PRIMARY), ("hangs", 60_000, PRIMARY), ("spare", 500, Role::Fallback)], 2);
    let (_, body) = rig.next().await;
    assert_eq!(verdicts(&body), [Verdict::Used, Verdict::Failed(Failure::Timeout), Verdict::Used]);
    assert!(matches!(body, Body::Tick(_)));
}

#[tokio::test(start_paused = true)]
async fn shadows_are_asked_and_never_used() {
    let mut rig = rig(&[("a", 100, PRIMARY), ("watched", 100, Role::Shadow)], 1);
    rig.set(1, "100.5");
    assert_eq!(verdicts(&rig.next().await.1), [Verdict::Used, Verdict::Shadow]);
}

#[tokio::test(start_paused = true)]
async fn a_price_that_does_not_change_while_a_peer_moves_is_frozen() {
    let mut rig = rig(&[("moves", 100, PRIMARY), ("stuck", 100, PRIMARY)], 1);
    for round in 0..9 {
        rig.set(0, if round % 2 == 0 { "100.3" } else { "100.4" });
        let (second, body) = rig.next().await;
        let expected = if second > 70 { Verdict::Frozen } else { Verdict::Used };
        assert_eq!(verdicts(&body)[1], expected, "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_price_that_does_not_change_while_its_own_time_advances_is_alive() {
    let mut rig = rig(&[("moves", 100, PRIMARY), ("timed", 100, PRIMARY)], 1);
    for round in 0..9 {
        rig.set(0, if round % 2 == 0 { "100.3" } else { "100.4" });
        let (second, body) = rig.next().await;
        assert_eq!(verdicts(&body)[1], Verdict::Used, "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_reports_that_no_price_is_agreed() {
    let mut rig = rig(&[("a", 100, PRIMARY), ("b", 100, PRIMARY)], 2);
    rig.set(1, "200.0");
    let (_, body) = rig.next().await;
    assert!(matches!(body, Body::Gap(gap) if gap.cause == GapCause::Disagreement));
    assert!(degraded(&rig.readiness));
    rig.set(1, "100.0");
    let _ = rig.next().await;
    assert!(!degraded(&rig.readiness));
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_the_queue() {
    let mut rig = rig(&[("a", 60_000, PRIMARY)], 1);
    rig.stop.cancel();
    assert!(rig.slots.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_poll_in_progress_is_finished_when_the_process_is_stopped() {
    let mut rig = rig(&[("a", 1_000, PRIMARY)], 1);
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    rig.stop.cancel();
    assert_eq!(rig.next().await.0, 10);
    assert!(rig.slots.recv().await.is_none());
}
