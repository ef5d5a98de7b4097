//! Tests of a log that has lost acknowledged records, or that was continued as if a pair had no records.

use serde_json::{Value, json};
use testkit::{require_nats, wait_until};

use crate::{
    agreement::{history_is_the_log, pods_agree, same_records_but},
    audit::audit,
    foreign::World,
    harness::{DEADLINE, INTERVAL, Pod, has_price, slots_pass},
    records::{self, Kind, Record, time_text},
    survival::end,
};

const PAIR: &str = "BTC-USD";

/// How many slots have no record.
const HOLE: i64 = 11;

/// The pair's newest record of a kind.
fn newest(records: &[Record], kind: Kind) -> &Record {
    records.iter().rev().find(|record| record.pair == PAIR && record.kind == kind).unwrap()
}

/// Publishes the lead that a poller writes when a damaged server reports that the pair has no records.
async fn begin_from_nothing(world: &mut World, epoch: u64) -> u64 {
    let lead = json!({
        "version": 2, "kind": "lead", "pair": PAIR, "covered": null, "leader": "00000000000000ff",
        "epoch": epoch, "origin": "live",
    });
    world.put_fenced(&format!("{PAIR}:lead:{epoch}"), &lead.to_string()).await
}

/// The gaps that a pod reports with this cause.
async fn lost(pod: &Pod) -> Vec<Value> {
    let gaps = pod.get(&format!("/v1/prices/{PAIR}/gaps?cause=log_lost")).await.found();
    gaps["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_began_again_in_the_middle_is_covered_by_every_pod_alike() {
    require_nats!();
    let mut world = World::start().await;
    let mut poller = world.scene.poller().await;
    let witness = world.scene.pod("witness").await;
    has_price(&witness).await;
    witness.takes_in(6).await;
    end(&mut poller).await;
    let before = records::all(&witness).await;
    let last = newest(&before, Kind::Tick);
    let (slot, epoch) = (last.slot.unwrap().0, last.epoch);

    begin_from_nothing(&mut world, epoch + 1).await;
    let interval = i64::try_from(INTERVAL.as_millis()).unwrap();
    let later = time_text(slot + (HOLE + 1) * interval);
    let mut tick: Value = serde_json::from_str(&world.message(last.sequence).await).unwrap();
    (tick["slot"], tick["epoch"]) = (json!(later), json!(epoch + 1));
    let sequence = world.put_fenced(&format!("{PAIR}:{later}"), &tick.to_string()).await;
    witness.reaches(sequence).await;

    let newcomer = world.scene.pod("newcomer").await;
    newcomer.reaches(sequence).await;
    for pod in [&witness, &newcomer] {
        let gaps = lost(pod).await;
        let [gap] = gaps.as_slice() else { panic!("expected one gap, found {gaps:?}") };
        assert_eq!((&gap["slots"], &gap["sequence"]), (&json!(HOLE), &json!(null)));
        assert_eq!(gap["from"], json!(time_text(slot + interval)));
        assert_eq!(pod.metric("tickwell_store_rebuilds_total{reason=\"replaced\"}").await, 0);
    }
    pods_agree([&witness, &newcomer]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_looks_further_back_than_a_lead_that_knew_of_no_record() {
    require_nats!();
    let mut world = World::start().await;
    world.scene = world.scene.with_short_lease();
    let mut poller = world.scene.poller().await;
    let pods = [&world.scene.pod("one").await, &world.scene.pod("other").await];
    has_price(pods[0]).await;
    pods[0].takes_in(6).await;
    end(&mut poller).await;
    let before = records::all(pods[0]).await;
    let last = newest(&before, Kind::Tick).clone();
    slots_pass(4, INTERVAL).await;
    for term in 1..=2 {
        begin_from_nothing(&mut world, last.epoch + term).await;
    }

    let mut poller = world.scene.poller().await;
    pods[0].takes_in(8).await;
    end(&mut poller).await;
    let mut records = same_records_but(pods, &[]).await;
    records.retain(|record| !world.foreign.contains(&record.sequence));
    // Every slot has a record, because the new leader continued after the newest tick.
    audit(&records);
    let lead = newest(&records, Kind::Lead);
    assert_eq!(lead.covered.unwrap().0, last.slot.unwrap().0);
    assert!(lead.epoch > last.epoch + 2);
    assert!(records.iter().any(|record| record.cause.as_deref() == Some("log_lost")));
    pods_agree(pods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_the_log_loses_under_a_running_poller_are_covered_by_a_gap() {
    require_nats!();
    let mut world = World::start().await;
    world.scene = world.scene.with_short_lease();
    let mut poller = world.scene.poller().await;
    let pods = [&world.scene.pod("one").await, &world.scene.pod("other").await];
    has_price(pods[0]).await;
    pods[0].takes_in(4).await;
    // The server's volume is rolled back to an older copy while the poller and the pods run.
    let copy = world.nats.save().unwrap();
    world.nats.restart().await.unwrap();
    let seen = pods[0].takes_in(12).await;
    let before = records::all(pods[0]).await;
    world.nats.restore(&copy).unwrap();
    world.nats.restart().await.unwrap();

    let covered = async || {
        let gaps = pods[0].get(&format!("/v1/prices/{PAIR}/gaps?cause=log_lost")).await;
        let gaps = (gaps.status == 200).then(|| gaps.json()["items"].as_array().unwrap().clone())?;
        (!gaps.is_empty() && pods[0].sequence().await > seen).then_some(gaps)
    };
    let gaps = wait_until("the lost slots are covered", DEADLINE, covered).await;
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(!gaps[0]["sequence"].is_null(), "the gap must be a record of the log: {gaps:?}");
    end(&mut poller).await;
    let records = same_records_but(pods, &[]).await;
    audit(&records);
    // The newest slot that a pod has served must still have a record.
    let shown = newest(&before, Kind::Tick).slot.unwrap().0;
    let covers = |record: &Record| record.covers().is_some_and(|(from, slot)| from <= shown && shown <= slot);
    assert!(records.iter().any(|record| record.pair == PAIR && covers(record)));
    pods_agree(pods).await;
    history_is_the_log(pods[0], &records).await;
}
