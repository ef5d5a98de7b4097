//! Kills and restarts each kind of process. No acknowledged record may be lost, and none may be repeated.

use testkit::{Venue, process::Tickwell, require_nats, upstream::FakeUpstream, wait_until};

use crate::{
    agreement::{averages_are_right, history_is_the_log, pods_agree, same_records},
    audit::{audit, nothing_lost},
    harness::{DEADLINE, INTERVAL, Pod, check, field, has_event, has_price, slots_pass, world},
    records::{self, Kind, Record},
};

/// The minimum number of records in each step of a test.
const SOME: u64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_pod_continues_from_its_cursor_and_a_deleted_store_is_rebuilt() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let mut poller = scene.poller().await;
    let witness = scene.pod("witness").await;
    let mut victim = scene.pod("victim").await;

    let served = victim.takes_in(SOME).await;
    victim.process.kill();
    let missed = witness.takes_in(SOME).await;
    let mut victim = scene.pod("victim").await;
    let opened = opened_at(&victim).await;
    assert!((served..missed).contains(&opened), "served {served}, opened at {opened}, missed {missed}");
    let now = victim.reaches(missed).await;
    // After the restart, the pod read only the records that it had missed.
    let taken = victim.metric("tickwell_ingest_records_total").await;
    assert!((now - opened..=victim.sequence().await - opened).contains(&taken), "{taken} since {opened}");
    pods_agree([&witness, &victim]).await;
    same_records([&witness, &victim]).await;

    end(&mut victim.process).await;
    std::fs::remove_dir_all(scene.store("victim")).unwrap();
    witness.takes_in(SOME).await;
    let victim = scene.pod("victim").await;
    assert_eq!(opened_at(&victim).await, 0);
    victim.reaches(witness.sequence().await).await;
    pods_agree([&witness, &victim]).await;

    end(&mut poller).await;
    let records = same_records([&witness, &victim]).await;
    pods_agree([&witness, &victim]).await;
    averages_are_right(&victim).await;
    history_is_the_log(&victim, &records).await;
    assert_eq!(audit(&records).leads, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_log_loses_nothing_and_the_feed_continues() {
    require_nats!();
    let (mut nats, upstream, scene) = world().await;
    let mut poller = scene.poller().await;
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    pods[0].takes_in(SOME).await;
    let before = records::all(pods[0]).await;

    nats.kill();
    let polled = polls_pass(&upstream, 6).await;
    // Meanwhile, the pods serve what they have.
    pods[1].reaches(before.last().unwrap().sequence).await;
    pods_agree(pods).await;
    nats.restart().await.unwrap();
    for pod in pods {
        pod.takes_in(SOME).await;
    }

    end(&mut poller).await;
    let records = same_records(pods).await;
    nothing_lost(&before, &records);
    pods_agree(pods).await;
    averages_are_right(pods[0]).await;
    assert_eq!(audit(&records).leads, 1, "the poller continued in the same epoch");
    // The slots that were polled while the log was down were published afterwards, with their quotes. If the machine
    // stalled, some of them have no quotes.
    let has_quotes = |slot: &&i64| {
        let covers =
            |record: &&Record| record.covers().is_some_and(|(from, last)| (from..=last).contains(*slot));
        records.iter().find(covers).unwrap().quotes.is_some()
    };
    let kept = polled.iter().filter(has_quotes).count();
    assert!(kept * 2 >= polled.len(), "{kept} of {} slots that were polled have quotes", polled.len());
    // Check that the log itself has every acknowledged record, and not only the pods' copies: a new pod reads the log
    // from the beginning.
    let newcomer = scene.pod("newcomer").await;
    newcomer.reaches(records.last().unwrap().sequence).await;
    same_records([pods[0], &newcomer]).await;
    pods_agree([pods[0], &newcomer]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_poller_leaves_one_gap_that_the_next_one_records() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let scene = scene.with_short_lease();
    let mut poller = scene.poller().await;
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    for _death in 0..2 {
        pods[0].takes_in(SOME).await;
        poller.kill();
        slots_pass(4, INTERVAL).await;
        poller = scene.poller().await;
    }
    pods[0].takes_in(SOME).await;
    end(&mut poller).await;

    let records = same_records(pods).await;
    pods_agree(pods).await;
    averages_are_right(pods[0]).await;
    history_is_the_log(pods[0], &records).await;
    assert_eq!(audit(&records).leaders, 3);
    check_takeovers(&records);
}

/// Checks the records around each takeover by another process. The audit has already checked that every slot has exactly
/// one record.
pub(crate) fn check_takeovers(records: &[Record]) {
    let mut leader = None;
    for around in records.windows(4).filter(|around| around[1].kind == Kind::Lead) {
        let [last, lead, gap, next] = around else { continue };
        if leader.replace(&lead.leader) == Some(&lead.leader) {
            continue;
        }
        assert_eq!(lead.covered, last.slot, "{around:?}");
        assert_eq!((gap.kind, gap.cause.as_deref()), (Kind::Gap, Some("no_leader")), "{around:?}");
        let (missed_from, missed_to) = gap.covers().unwrap();
        assert!(missed_to - missed_from >= 2 * gap.interval(), "four slots passed: {gap:?}");
        // The slots of the gap were not polled, so the gap has no quotes. The next slot was polled.
        assert!(gap.quotes.is_none() && next.quotes.is_some(), "{around:?}");
        assert_eq!(next.covers().unwrap(), (missed_to + gap.interval(), missed_to + gap.interval()));
    }
}

/// Terminates a process with SIGTERM, as an orchestrator does. The process must exit with success.
pub(crate) async fn end(process: &mut Tickwell) {
    process.signal("TERM").unwrap();
    assert!(process.wait_exit(DEADLINE).await.unwrap().success());
}

/// The sequence that a pod found in its store.
pub(crate) async fn opened_at(pod: &Pod) -> u64 {
    let line = pod.process.wait_for_line(|line| has_event(line, "store_opened"), DEADLINE).await.unwrap();
    field(&line, "sequence").unwrap().parse().unwrap()
}

/// Waits until the poller has polled in `count` + 2 slots since the call. Returns these slots without the first and the
/// last. The first slot may have begun before the call, and some requests of the last slot may not have been sent yet.
async fn polls_pass(upstream: &FakeUpstream, count: usize) -> Vec<i64> {
    let since = testkit::clock::now_ms();
    let interval = i64::try_from(INTERVAL.as_millis()).unwrap();
    let slots = wait_until("slots are polled", DEADLINE, async || {
        let asked = upstream.requests_to(Venue::Bitstamp);
        let recent = asked.iter().filter(|request| request.time_ms > since);
        let mut slots: Vec<i64> = recent.map(|request| request.time_ms / interval * interval).collect();
        slots.dedup();
        (slots.len() >= count + 2).then_some(slots)
    })
    .await;
    slots[1..slots.len() - 1].to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_serves_its_operators_while_it_waits_for_the_log() {
    require_nats!();
    let (mut nats, _upstream, scene) = world().await;
    nats.kill();
    let pod = scene.waiting_pod("early").await;
    assert_eq!(pod.get("/livez").await.status, 200);
    assert_eq!(pod.get("/metrics").await.status, 200);
    wait_until("the pod reports what it waits for", DEADLINE, async || {
        let ready = pod.get("/readyz?verbose").await;
        assert_eq!(ready.status, 503);
        (check(&ready.json(), "log")["reason"] == "the log does not respond").then_some(())
    })
    .await;
    let price = pod.get("/v1/prices").await;
    assert_eq!((price.status, &price.json()["code"]), (503, &"starting".into()));

    nats.restart().await.unwrap();
    let _poller = scene.poller().await;
    has_price(&pod).await;
    assert_eq!(pod.get("/readyz").await.status, 200);
}
