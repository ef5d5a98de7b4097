//! The chain against a log that loses acknowledgements, is away, or is written by somebody else.

mod rig;

use std::time::Duration;

use common::{bus::lease::Term, domain::Origin, readiness::Condition};
use rig::{Fate, Rig, UnreliableLog, publish, words};

use super::PublishError;
use crate::lead::Standing;

#[tokio::test(start_paused = true)]
async fn a_new_pair_begins_with_a_lead_and_no_gap() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7, 8]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8");
}

#[tokio::test(start_paused = true)]
async fn slots_that_pass_are_covered_by_a_gap_with_its_cause() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7, 10]).await.unwrap();
    publish(&log, Origin::Live, &[15, 16, 18]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 G8-9:missed T10 L2 G11-14:no_leader T15 T16 G17-17:missed T18");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_after_its_lead_leaves_no_hole() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7]).await.unwrap();
    publish(&log, Origin::Live, &[]).await.unwrap();
    publish(&log, Origin::Live, &[9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 L2 L3 G8-8:no_leader T9");
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_repeats_nothing() {
    let log = UnreliableLog::with(&[Fate::AckLost, Fate::AckLost, Fate::Stored, Fate::AckLost]);
    publish(&log, Origin::Live, &[7, 8, 9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 T9");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_away_gets_everything_later_in_order() {
    let log = UnreliableLog::with(&[Fate::Lost; 50]);
    publish(&log, Origin::Live, &[7, 8, 9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 T9");
}

#[tokio::test(start_paused = true)]
async fn a_second_writer_sends_us_back_to_standing_by() {
    let log = UnreliableLog::with(&[Fate::Stored, Fate::Stored, Fate::Overtaken]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    rig.polls(&[7, 8, 9]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L1 T7 T8");
    // The one that keeps the lease is told, and says how we stand now; what was polled is another's.
    rig.standing.send_replace(Standing::Standby);
    rig.settle().await;
    rig.leads(5);
    rig.polls(&[11]).await;
    rig.end().await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 L5 G9-10:no_leader T11");
}

#[tokio::test(start_paused = true)]
async fn a_second_writer_is_told_to_the_keeper_of_the_lease() {
    let log = UnreliableLog::with(&[Fate::Stored, Fate::Overtaken]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    rig.polls(&[7]).await;
    let told = tokio::time::timeout(Duration::from_secs(60), rig.leadership.told_fenced()).await;
    assert!(told.is_ok());
    rig.standing.send_replace(Standing::Standby);
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_pollers_that_pick_one_epoch_do_not_take_each_others_lead_for_their_own() {
    let log = UnreliableLog::with(&[Fate::SameEpoch]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    rig.polls(&[7]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L1", "the other's, and nothing of ours");
    rig.standing.send_replace(Standing::Standby);
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_suspended_poller_keeps_what_it_polled_and_writes_nothing() {
    let log = UnreliableLog::with(&[]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(3);
    rig.polls(&[7]).await;
    rig.settle().await;
    rig.standing.send_replace(Standing::Suspended);
    rig.polls(&[8, 9]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7");
    rig.leads(3);
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7 T8 T9", "the same term goes on as if nothing had been");
    rig.standing.send_replace(Standing::Suspended);
    rig.polls(&[10, 13]).await;
    rig.settle().await;
    rig.leads(20);
    rig.end().await.unwrap();
    assert_eq!(words(&log), "L3 T7 T8 T9 L20 T10 G11-12:missed T13", "nobody else has led meanwhile");
}

#[tokio::test(start_paused = true)]
async fn what_was_polled_while_another_led_is_not_written() {
    let log = UnreliableLog::with(&[]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(3);
    rig.polls(&[7]).await;
    rig.settle().await;
    rig.standing.send_replace(Standing::Suspended);
    rig.polls(&[8, 9]).await;
    rig.settle().await;
    publish(&log, Origin::Live, &[8, 9, 10]).await.unwrap();
    rig.standing.send_replace(Standing::Standby);
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7 L4 T8 T9 T10");
    rig.leads(30);
    rig.polls(&[12]).await;
    rig.end().await.unwrap();
    assert_eq!(words(&log), "L3 T7 L4 T8 T9 T10 L30 G11-11:no_leader T12");
}

#[tokio::test(start_paused = true)]
async fn readiness_tells_when_the_log_takes_no_records_from_a_leader() {
    let log = UnreliableLog::with(&[&[Fate::Stored; 2][..], &[Fate::Lost; 10_000]].concat());
    let rig = Rig::start(&log, Origin::Live);
    let degraded = || matches!(rig.readiness.report()[..], [(_, Condition::Degraded(_))]);
    rig.leads(0);
    rig.polls(&[7]).await;
    rig.settle().await;
    assert!(!degraded());
    rig.polls(&[8]).await;
    rig.settle().await;
    assert!(degraded());
    rig.standing.send_replace(Standing::Standby);
    rig.settle().await;
    assert!(!degraded(), "now it is another leader's concern");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_has_run_out_unnoticed_stops_the_pen() {
    let log = UnreliableLog::with(&[]);
    let rig = Rig::start(&log, Origin::Live);
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    rig.standing.send_replace(Standing::Leading { term: Term(3), until });
    rig.polls(&[7]).await;
    rig.settle().await;
    // Nobody has said so, as after a pause of the whole process.
    rig.polls(&[8]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7");
    rig.leads(3);
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7 T8");
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_no_record_is_stepped_over() {
    let log = UnreliableLog::with(&[Fate::Stored, Fate::Disturbed, Fate::Stored, Fate::Disturbed]);
    publish(&log, Origin::Live, &[7, 8, 9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 T9");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_newest_records_is_taken_over_anew() {
    let stored = [Fate::Stored; 4];
    let log = UnreliableLog::with(&[stored.as_slice(), &[Fate::Rewound]].concat());
    publish(&log, Origin::Live, &[7, 8, 9, 10]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 L2 G8-9:log_lost T10", "what was lost is named, and nothing is left out");
    // A lead that is lost is missed as well.
    let log = UnreliableLog::with(&[Fate::Stored, Fate::Rewound]);
    publish(&log, Origin::Live, &[7]).await.unwrap();
    assert_eq!(words(&log), "L2 T7");
}

#[tokio::test(start_paused = true)]
async fn what_is_polled_for_a_pair_in_doubt_waits_until_the_doubt_is_settled() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7]).await.unwrap();
    log.state().doubt = Some("a server is away");
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    rig.polls(&[8, 9]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L1 T7", "nothing is written on top of a doubt");
    let said = rig.readiness.report();
    assert!(
        matches!(&said[..], [(_, Condition::Degraded(why))] if why.contains("a server is away")),
        "{said:?}"
    );
    log.state().doubt = None;
    rig.settle().await;
    assert_eq!(words(&log), "L1 T7 L2 T8 T9");
    assert_eq!(rig.readiness.report()[0].1, Condition::Ready);
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn slots_whose_records_were_lost_get_a_gap_that_says_so() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7, 8]).await.unwrap();
    {
        let mut state = log.state();
        state.records.pop();
        state.lost = true;
    }
    publish(&log, Origin::Live, &[11, 13]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 L2 G8-10:log_lost T11 G12-12:missed T13");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_repeats_no_slot() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7, 8, 6, 7, 8, 9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 T9");
}

#[tokio::test(start_paused = true)]
async fn invented_prices_do_not_follow_real_ones() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7]).await.unwrap();
    let ended = publish(&log, Origin::Simulated, &[8]).await.unwrap_err();
    assert!(matches!(ended.downcast_ref(), Some(PublishError::Origin { .. })), "{ended}");
    assert_eq!(words(&log), "L1 T7");
}

#[tokio::test(start_paused = true)]
async fn stopping_does_not_wait_for_a_log_that_is_away() {
    let log = UnreliableLog::with(&[Fate::Lost; 10_000]);
    for standing in [None, Some(Standing::Suspended)] {
        let rig = Rig::start(&log, Origin::Live);
        rig.leads(0);
        if let Some(standing) = standing {
            rig.standing.send_replace(standing);
        }
        rig.stop.cancel();
        rig.end().await.unwrap();
    }
    assert_eq!(words(&log), "");
}
