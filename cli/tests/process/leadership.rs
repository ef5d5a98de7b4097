//! Two pollers and one log: who leads, who stands by, and what the log looks like afterwards.
//!
//! With `TICKWELL_ROUNDS=50`, each test runs 50 rounds, and fails if a round takes longer than promised. Without this
//! variable, the times are only printed, because the machine may be busy.

use std::{env, time::Duration};

use async_nats::jetstream;
use testkit::{clock::now_ms, nats::NatsServer, process::Tickwell, require_nats, wait_until};

use crate::{
    agreement::{history_is_the_log, pods_agree, same_records},
    audit::{audit, nothing_lost},
    harness::{DEADLINE, INTERVAL, Pod, Scene, field, has_event, moving_upstream, slots_pass, world},
    records::{self, Kind, Record},
    survival::end,
};

/// The minimum number of records between two steps of a test.
const SOME: u64 = 4;

/// The number of rounds, and whether to fail if a round takes longer than promised.
fn rounds() -> (usize, bool) {
    match env::var("TICKWELL_ROUNDS") {
        Ok(rounds) => (rounds.parse().unwrap(), true),
        Err(_) => (2, false),
    }
}

/// How long something took in each round.
struct Times {
    what: &'static str,
    limit: Duration,
    millis: Vec<i64>,
}

impl Times {
    fn new(what: &'static str, limit: Duration) -> Self {
        Self { what, limit, millis: Vec::new() }
    }

    fn took(&mut self, since: i64) {
        self.millis.push(now_ms() - since);
    }

    fn report(mut self) {
        self.millis.sort_unstable();
        let at = |part: usize| self.millis[(self.millis.len() - 1) * part / 100];
        let (limit, rounds) = (i64::try_from(self.limit.as_millis()).unwrap(), self.millis.len());
        println!(
            "{}: {rounds} rounds, min {} ms, p50 {} ms, p90 {} ms, max {} ms, promised {limit} ms",
            self.what,
            at(0),
            at(50),
            at(90),
            at(100),
        );
        assert!(!times_are_checked() || at(100) <= limit, "{:?}", self.millis);
    }
}

fn times_are_checked() -> bool {
    rounds().1
}

const LEADING: &[&str] = &["leading", "leading_again"];
const STANDING_BY: &[&str] = &["standing_by", "fenced"];

/// How many log lines of a process have one of these events.
fn count(process: &Tickwell, events: &[&str]) -> usize {
    let reports = |line: &&String| events.iter().any(|event| has_event(line, event));
    process.lines().iter().filter(reports).count()
}

/// Waits until a process has logged one of these events more than `before` times.
async fn logs_again(process: &Tickwell, events: &[&str], before: usize) {
    let said = async || (count(process, events) > before).then_some(());
    wait_until(&format!("another line with {events:?}"), DEADLINE, said).await;
}

/// The id of a poller.
fn id_of(process: &Tickwell) -> String {
    let lines = process.lines();
    let led = lines.iter().find(|line| has_event(line, "leading")).and_then(|line| field(line, "leader"));
    led.or_else(|| lines.iter().find_map(|line| field(line, "own"))).unwrap()
}

/// Audits the whole log, and checks that it is the same on both pods.
async fn audited(pods: [&Pod; 2]) -> Vec<Record> {
    let records = same_records(pods).await;
    let _findings = audit(&records);
    records
}

/// For each takeover, the number of slots that the gap between the two leaders covers.
fn slots_lost(records: &[Record]) -> Vec<i64> {
    let mut lost = Vec::new();
    let mut leader: Option<&Option<String>> = None;
    for (at, record) in records.iter().enumerate().filter(|(_, record)| record.kind == Kind::Lead) {
        let another = leader.replace(&record.leader).is_some_and(|before| *before != record.leader);
        let gap = records.get(at + 1).filter(|gap| gap.cause.as_deref() == Some("no_leader"));
        if another {
            lost.push(gap.map_or(0, |gap| {
                let (from, last) = gap.covers().unwrap();
                (last - from) / gap.interval() + 1
            }));
        }
    }
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_followed_by_the_standby() {
    require_nats!();
    // The lease is shorter than the interval, so a failover costs at most one slot.
    let (interval, lease) = (Duration::from_secs(2), Duration::from_secs(1));
    let nats = NatsServer::start().await.unwrap();
    let upstream = moving_upstream(interval).await;
    let scene = Scene::new(interval).asking(&upstream).over(&nats).with("TICKWELL__BUS__LEASE", "1s");
    let mut leader = scene.poller().await;
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    let mut times = Times::new("from kill -9 of the leader to the next one's lead record", lease + interval);
    let (rounds, measured) = rounds();
    for round in 0..rounds {
        let standby = scene.standby().await;
        pods[0].takes_in(1).await;
        // In each round, kill the leader at a different time within the slot.
        let phase = u32::try_from(round % 7).unwrap();
        slots_pass(1, interval / 7 * phase + Duration::from_millis(1)).await;
        let (since, before) = (now_ms(), count(&standby, LEADING));
        leader.kill();
        logs_again(&standby, LEADING, before).await;
        times.took(since);
        leader = standby;
    }
    pods[0].takes_in(1).await;
    end(&mut leader).await;
    let records = audited(pods).await;
    assert!(audit(&records).leaders > rounds);
    times.report();
    let lost = slots_lost(&records);
    println!("slots lost: {lost:?}");
    assert!(!measured || lost.iter().all(|slots| *slots <= 1), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_paused_becomes_a_standby() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let scene = scene.with_short_lease();
    let mut leader = scene.poller().await;
    let mut standby = scene.standby().await;
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    let mut times = Times::new("from SIGCONT of the old leader to its standing by", Duration::from_secs(5));
    for _round in 0..rounds().0 {
        pods[0].takes_in(SOME).await;
        let (leading, stands_by) = (count(&standby, LEADING), count(&leader, STANDING_BY));
        leader.signal("STOP").unwrap();
        logs_again(&standby, LEADING, leading).await;
        pods[0].takes_in(SOME).await;
        // If the old leader was publishing a record when it was paused, the log now refuses the record.
        let since = now_ms();
        leader.signal("CONT").unwrap();
        logs_again(&leader, STANDING_BY, stands_by).await;
        times.took(since);
        (leader, standby) = (standby, leader);
    }
    pods[0].takes_in(SOME).await;
    end(&mut standby).await;
    end(&mut leader).await;
    audited(pods).await;
    times.report();
    pods_agree(pods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_refuses_one_of_two_pollers_that_lead_at_once() {
    require_nats!();
    // The test gives the lease to the standby without the leader's knowledge. The lease is so long that the leader first
    // notices this when the log refuses a record, and not when it renews the lease.
    let (nats, _upstream, scene) = world().await;
    let scene = scene.with("TICKWELL__BUS__LEASE", "10s");
    let mut leader = scene.poller().await;
    let mut standby = scene.standby().await;
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let lease = context.get_key_value("TICKS_lease").await.unwrap();
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    let mut times =
        Times::new("from the second leader's lead to the first's standing by", Duration::from_secs(5));
    for _round in 0..rounds().0 {
        pods[0].takes_in(SOME).await;
        let own = id_of(&standby);
        let (leading, stands_by) = (count(&standby, LEADING), count(&leader, STANDING_BY));
        lease.put("poller", own.into()).await.unwrap();
        logs_again(&standby, LEADING, leading).await;
        let since = now_ms();
        logs_again(&leader, STANDING_BY, stands_by).await;
        times.took(since);
        (leader, standby) = (standby, leader);
    }
    pods[0].takes_in(SOME).await;
    end(&mut standby).await;
    end(&mut leader).await;
    let records = audited(pods).await;
    assert!(audit(&records).leaders > rounds().0);
    times.report();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_terminated_hands_over() {
    require_nats!();
    // The leader releases the lease when it exits, so the standby does not have to wait until the lease expires.
    let (_nats, _upstream, scene) = world().await;
    let scene = scene.with("TICKWELL__BUS__LEASE", "20s");
    let mut leader = scene.poller().await;
    let standby = scene.standby().await;
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    pods[0].takes_in(SOME).await;
    end(&mut leader).await;
    assert!(leader.lines().iter().any(|line| has_event(line, "lease_released")));
    let since = now_ms();
    logs_again(&standby, LEADING, 0).await;
    println!("from the end of the leader to the standby's lead record: {} ms", now_ms() - since);
    pods[0].takes_in(SOME).await;
    let mut standby = standby;
    end(&mut standby).await;
    assert_eq!(audit(&audited(pods).await).leaders, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_down_for_longer_than_the_lease_gets_every_slot_afterwards() {
    require_nats!();
    // If the machine stalls, the standby may take over before the leader continues. In this case, try again.
    for _try in 0..3 {
        if the_suspended_leader_leads_again().await {
            return;
        }
    }
    panic!("the standby took over in all 3 attempts");
}

async fn the_suspended_leader_leads_again() -> bool {
    let (mut nats, _upstream, scene) = world().await;
    let scene = scene.with_short_lease();
    let mut leader = scene.poller().await;
    let mut standby = scene.standby().await;
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    pods[0].takes_in(SOME).await;
    let before = records::all(pods[0]).await;

    nats.kill();
    logs_again(&leader, &["suspended"], 0).await;
    let since = now_ms();
    slots_pass(10, INTERVAL).await;
    let until = now_ms();
    nats.restart().await.unwrap();
    for pod in pods {
        pod.takes_in(10 + SOME).await;
    }
    end(&mut standby).await;
    end(&mut leader).await;
    let records = audited(pods).await;
    pods_agree(pods).await;
    history_is_the_log(pods[0], &records).await;
    nothing_lost(&before, &records);

    if audit(&records).leaders > 1 {
        return false;
    }

    // Every slot of the outage has a record. The records of slots that were polled contain the quotes.
    let last = records.iter().filter_map(Record::covers).map(|(_, last)| last).max().unwrap();
    assert!(last > until);
    let away = records
        .iter()
        .filter(|record| record.covers().is_some_and(|(from, last)| last > since && from < until));
    let (with, without): (Vec<&Record>, Vec<&Record>) = away.partition(|record| record.quotes.is_some());
    assert!(with.len() >= 5, "{} with quotes, without: {without:?}", with.len());
    assert!(without.iter().all(|record| record.cause.as_deref() == Some("missed")), "{without:?}");
    assert!(audit(&records).leads >= 2, "a new epoch of the same process");
    true
}
