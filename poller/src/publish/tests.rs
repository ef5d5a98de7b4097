//! The publisher with a log that loses acknowledgements or records, is unreachable, or has another writer.

mod past;
mod rig;

use std::time::Duration;

use common::{
    bus::lease::Term,
    domain::{Origin, Pair},
    readiness::Condition,
};
use rig::{Fate, Rig, UnreliableLog, pair, publish, words, words_of};

use super::{PublishError, QUEUE_SLOTS};
use crate::lead::LeadState;

#[tokio::test(start_paused = true)]
async fn a_new_pair_starts_with_a_lead_and_no_gap() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7, 8]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8");
}

#[tokio::test(start_paused = true)]
async fn missing_slots_are_covered_by_a_gap_with_its_cause() {
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
async fn a_lost_acknowledgement_causes_no_repeated_record() {
    let log = UnreliableLog::with(&[Fate::AckLost, Fate::AckLost, Fate::Stored, Fate::AckLost]);
    publish(&log, Origin::Live, &[7, 8, 9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 T9");
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_of_the_log_everything_is_published_in_order() {
    let log = UnreliableLog::with(&[Fate::Lost; 50]);
    publish(&log, Origin::Live, &[7, 8, 9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 T9");
}

#[tokio::test(start_paused = true)]
async fn a_second_writer_makes_this_poller_stand_by() {
    let log = UnreliableLog::with(&[Fate::Stored, Fate::Stored, Fate::Overtaken]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    rig.polls(&[7, 8, 9]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L1 T7 T8");
    // The lease keeper reacts by standing by. The polled slots are left to the other leader.
    rig.state.send_replace(LeadState::Standby);
    rig.settle().await;
    rig.leads(5);
    rig.polls(&[11]).await;
    rig.end().await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 L5 G9-10:no_leader T11");
}

#[tokio::test(start_paused = true)]
async fn a_second_writer_is_reported_to_the_lease_keeper() {
    let log = UnreliableLog::with(&[Fate::Stored, Fate::Overtaken]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    rig.polls(&[7]).await;
    let fenced = tokio::time::timeout(Duration::from_secs(60), rig.leadership.wait_until_fenced()).await;
    assert!(fenced.is_ok());
    rig.state.send_replace(LeadState::Standby);
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_pollers_with_the_same_epoch_do_not_mistake_each_others_lead_for_their_own() {
    let log = UnreliableLog::with(&[Fate::SameEpoch]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    rig.polls(&[7]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L1", "only the other poller's lead");
    rig.state.send_replace(LeadState::Standby);
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_suspended_poller_keeps_what_it_polled_and_writes_nothing() {
    let log = UnreliableLog::with(&[]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(3);
    rig.polls(&[7]).await;
    rig.settle().await;
    rig.state.send_replace(LeadState::Suspended);
    rig.polls(&[8, 9]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7");
    rig.leads(3);
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7 T8 T9", "the same term continues");
    rig.state.send_replace(LeadState::Suspended);
    rig.polls(&[10, 13]).await;
    rig.settle().await;
    rig.leads(20);
    rig.end().await.unwrap();
    assert_eq!(
        words(&log),
        "L3 T7 T8 T9 L20 T10 G11-12:missed T13",
        "no other poller has led in the meantime"
    );
}

#[tokio::test(start_paused = true)]
async fn slots_that_were_polled_while_another_poller_led_are_dropped() {
    let log = UnreliableLog::with(&[]);
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(3);
    rig.polls(&[7]).await;
    rig.settle().await;
    rig.state.send_replace(LeadState::Suspended);
    rig.polls(&[8, 9]).await;
    rig.settle().await;
    publish(&log, Origin::Live, &[8, 9, 10]).await.unwrap();
    rig.state.send_replace(LeadState::Standby);
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7 L4 T8 T9 T10");
    rig.leads(30);
    rig.polls(&[12]).await;
    rig.end().await.unwrap();
    assert_eq!(words(&log), "L3 T7 L4 T8 T9 T10 L30 G11-11:no_leader T12");
}

#[tokio::test(start_paused = true)]
async fn readiness_reports_that_a_leader_cannot_publish() {
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
    rig.state.send_replace(LeadState::Standby);
    rig.settle().await;
    assert!(!degraded(), "a standby does not publish");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_after_the_lease_ran_out_unnoticed() {
    let log = UnreliableLog::with(&[]);
    let rig = Rig::start(&log, Origin::Live);
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    rig.state.send_replace(LeadState::Leading { term: Term(3), until });
    rig.polls(&[7]).await;
    rig.settle().await;
    // The lease has run out, but the lease keeper has not noticed, as after a pause of the process.
    rig.polls(&[8]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7");
    rig.leads(3);
    rig.settle().await;
    assert_eq!(words(&log), "L3 T7 T8");
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_not_records_are_skipped() {
    let log = UnreliableLog::with(&[Fate::Stored, Fate::Disturbed, Fate::Stored, Fate::Disturbed]);
    publish(&log, Origin::Live, &[7, 8, 9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 T9");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_newest_records_is_taken_over_again() {
    let stored = [Fate::Stored; 4];
    let log = UnreliableLog::with(&[stored.as_slice(), &[Fate::Rewound]].concat());
    publish(&log, Origin::Live, &[7, 8, 9, 10]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 L2 G8-9:log_lost T10", "a gap covers what was lost");
    // A lost lead record is detected too.
    let log = UnreliableLog::with(&[Fate::Stored, Fate::Rewound]);
    publish(&log, Origin::Live, &[7]).await.unwrap();
    assert_eq!(words(&log), "L2 T7");
}

#[tokio::test(start_paused = true)]
async fn slots_of_a_pair_in_doubt_wait_until_the_doubt_is_settled() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7]).await.unwrap();
    log.state().doubt = Some("a server is down");
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    rig.polls(&[8, 9]).await;
    rig.settle().await;
    assert_eq!(words(&log), "L1 T7", "nothing is written while the pair is in doubt");
    let report = rig.readiness.report();
    assert!(
        matches!(&report[..], [(_, Condition::Degraded(why))] if why.contains("a server is down")),
        "{report:?}"
    );
    log.state().doubt = None;
    rig.settle().await;
    assert_eq!(words(&log), "L1 T7 L2 T8 T9");
    assert_eq!(rig.readiness.report()[0].1, Condition::Ready);
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_a_long_doubt_only_the_lost_slots_count_as_lost() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7, 8]).await.unwrap();
    {
        let mut state = log.state();
        state.records.pop();
        (state.lost, state.doubt) = (true, Some("a server is down"));
    }
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    rig.settle().await;
    let waiting = i64::try_from(QUEUE_SLOTS).unwrap();
    for slot in 9..9 + waiting + 5 {
        rig.polls(&[slot]).await;
        tokio::task::yield_now().await;
    }
    log.state().doubt = None;
    rig.settle().await;
    rig.polls(&[9 + waiting + 5]).await;
    rig.settle().await;
    let words = words(&log);
    assert!(words.starts_with("L1 T7 L2 G8-8:log_lost T9 T10 "), "{words}");
    let (last, first_dropped) = (8 + waiting, 9 + waiting);
    let end = format!(" T{last} G{first_dropped}-{}:missed T{}", first_dropped + 4, first_dropped + 5);
    assert!(words.ends_with(&end), "{words}");
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_doubt_is_settled_however_often_slots_come() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7]).await.unwrap();
    log.state().doubt = Some("a server is down");
    let rig = Rig::start(&log, Origin::Live);
    rig.leads(0);
    rig.polls(&[8]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    log.state().doubt = None;
    for slot in 9..20 {
        rig.polls(&[slot]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(words(&log).starts_with("L1 T7 L2 T8 T9 T10 T11 "), "{}", words(&log));
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn slots_whose_records_were_lost_get_a_gap_with_that_cause() {
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
async fn no_slot_is_repeated_after_the_clock_is_set_back() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7, 8, 6, 7, 8, 9]).await.unwrap();
    assert_eq!(words(&log), "L1 T7 T8 T9");
}

#[tokio::test(start_paused = true)]
async fn simulated_prices_are_not_added_to_a_live_log() {
    let log = UnreliableLog::with(&[]);
    publish(&log, Origin::Live, &[7]).await.unwrap();
    let ended = publish(&log, Origin::Simulated, &[8]).await.unwrap_err();
    assert!(matches!(ended.downcast_ref(), Some(PublishError::Origin { .. })), "{ended}");
    assert_eq!(words(&log), "L1 T7");
}

#[tokio::test(start_paused = true)]
async fn stopping_does_not_wait_for_an_unreachable_log() {
    let log = UnreliableLog::with(&[Fate::Lost; 10_000]);
    for state in [None, Some(LeadState::Suspended)] {
        let rig = Rig::start(&log, Origin::Live);
        rig.leads(0);
        if let Some(state) = state {
            rig.state.send_replace(state);
        }
        rig.stop.cancel();
        rig.end().await.unwrap();
    }
    assert_eq!(words(&log), "");
}

/// Publishes slots of several pairs in one process.
async fn publish_pairs(log: &std::sync::Arc<UnreliableLog>, pairs: &[Pair], slots: &[i64]) {
    let rig = Rig::of(log, Origin::Live, pairs);
    rig.leads(0);
    rig.polls(slots).await;
    rig.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn slots_without_the_pair_in_the_settings_get_a_gap_that_says_so() {
    let log = UnreliableLog::with(&[]);
    let other: Pair = "ETH-USD".parse().unwrap();
    publish_pairs(&log, &[pair(), other], &[7, 8]).await;
    publish_pairs(&log, &[pair()], &[10, 11, 12]).await;
    // No poller runs in slots 13 and 14.
    publish_pairs(&log, &[pair(), other], &[15]).await;
    assert_eq!(words_of(&log, other), "L1 T7 T8 L3 G9-12:not_configured G13-14:no_leader T15");
    assert_eq!(words_of(&log, pair()), "L1 T7 T8 L2 G9-9:no_leader T10 T11 T12 L3 G13-14:no_leader T15");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_ends_between_two_pairs_left_no_pair_out_of_its_settings() {
    let log = UnreliableLog::with(&[]);
    let other: Pair = "ETH-USD".parse().unwrap();
    publish_pairs(&log, &[pair(), other], &[7, 8]).await;
    // The last tick of the second pair was not published.
    log.state().records.pop();
    publish_pairs(&log, &[pair(), other], &[9]).await;
    assert_eq!(words_of(&log, other), "L1 T7 L2 G8-8:no_leader T9");
}
