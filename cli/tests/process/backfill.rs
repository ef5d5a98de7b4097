//! The past of a new log: published by real processes from the candles of the fake upstream, also if they are killed in
//! the middle of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rust_decimal::Decimal;
use testkit::{
    Venue,
    market::{Market, WalkMarket},
    nats::NatsServer,
    process::Tickwell,
    require_nats,
    upstream::FakeUpstream,
    wait_until,
};

use crate::{
    agreement::{PAIR, averages_are_right, history_is_the_log, pods_agree, same_records},
    audit::audit,
    harness::{DEADLINE, INTERVAL, Pod, Scene, field, has_event},
    oracle::median,
    records::{self, Kind, Record},
};

const MINUTE_MS: i64 = 60_000;

fn market() -> WalkMarket {
    WalkMarket::new(11, INTERVAL).unwrap()
}

async fn upstream() -> FakeUpstream {
    FakeUpstream::start(Arc::new(market()), "127.0.0.1:0").await.unwrap()
}

fn scene(upstream: &FakeUpstream, span: &str) -> Scene {
    Scene::new(INTERVAL).asking(upstream).with("TICKWELL__BACKFILL__SPAN", span)
}

/// Waits until the newest price is a live one.
pub(crate) async fn is_live(pod: &Pod) {
    wait_until("a live price", DEADLINE, async || {
        let answer = pod.get(&format!("/v1/prices/{PAIR}")).await;
        (answer.status == 200 && answer.json().get("backfilled").is_none()).then_some(())
    })
    .await;
}

fn past(records: &[Record]) -> Vec<&Record> {
    records.iter().filter(|record| record.pair == PAIR && record.is_tick() && record.backfilled).collect()
}

/// Checks that each backfilled tick is the median of the last trades before its minute ended.
fn is_of_the_market(records: &[Record], venues: &[Venue]) {
    for record in past(records) {
        let slot = record.slot.unwrap().0;
        assert_eq!((slot % MINUTE_MS, record.interval()), (0, MINUTE_MS), "{record:?}");
        let asked: BTreeMap<&str, _> = record
            .quotes()
            .iter()
            .filter_map(|quote| Some((quote.source.as_str(), quote.price.as_ref()?)))
            .collect();
        let closes: Vec<Decimal> = venues
            .iter()
            .filter(|venue| asked.contains_key(venue.name()))
            .map(|venue| market().trade(*venue, PAIR, slot - 1).unwrap().price.parse().unwrap())
            .collect();
        assert!(closes.len() >= 2, "{record:?}");
        let price: Decimal = record.price.as_ref().unwrap().parse().unwrap();
        assert_eq!(price, median(closes), "{record:?}");
    }
}

/// Checks that one gap, with a cause of its own, leads from the newest backfilled slot to the first live one.
pub(crate) fn has_one_seam(records: &[Record]) {
    let of_pair: Vec<&Record> =
        records.iter().filter(|record| record.pair == PAIR && record.kind != Kind::Lead).collect();
    let live = of_pair.iter().position(|record| !record.backfilled).unwrap();
    assert!(live > 0 && of_pair[live..].iter().all(|record| !record.backfilled));
    assert!(of_pair[..live].iter().all(|record| record.backfilled));
    // The last minute may end exactly where the live slots begin.
    let before = of_pair[live - 1];
    let joins = before.is_tick()
        && before.slot.unwrap().0 + of_pair[live].interval() == of_pair[live].slot.unwrap().0;
    assert!(joins || before.cause.as_deref() == Some("not_backfilled"), "{before:?}");
}

/// Runs `tickwell recompute` over the log. Every record must agree.
pub(crate) async fn recomputes(scene: &Scene, store: &str) {
    let mut process = scene.command(store).args(["recompute", "--all"]).start().unwrap();
    let status = process.wait_exit(DEADLINE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", process.lines().join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_log_begins_with_the_past_of_the_venues() {
    require_nats!();
    let (nats, upstream) = (NatsServer::start().await.unwrap(), upstream().await);
    let scene = scene(&upstream, "3h").over(&nats);
    let mut poller = scene.poller().await;
    let pods = [scene.pod("a").await, scene.pod("b").await];
    is_live(&pods[0]).await;
    pods[0].takes_in(3).await;
    let all = same_records([&pods[0], &pods[1]]).await;
    audit(&all);
    has_one_seam(&all);
    is_of_the_market(&all, &Venue::DEFAULT);
    // The newest minute may be too young for a candle behind it.
    assert!((179..=181).contains(&past(&all).len()), "{}", past(&all).len());
    pods_agree([&pods[0], &pods[1]]).await;
    // Windows across the seam have the documented weights.
    averages_are_right(&pods[0]).await;
    poller.kill();
    let all = records::all(&pods[0]).await;
    history_is_the_log(&pods[0], &all).await;
    recomputes(&scene, "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_venue_without_candles_changes_nothing_and_without_any_the_feed_starts_at_once() {
    let upstream = upstream().await;
    upstream.set_candles(Venue::Kraken, false);
    let scene = scene(&upstream, "1h");
    let pod = scene.standalone("two").await;
    is_live(&pod).await;
    let two = records::all(&pod).await;
    audit(&two);
    has_one_seam(&two);
    is_of_the_market(&two, &[Venue::Coinbase, Venue::Bitstamp]);
    assert!(past(&two).len() >= 58);
    assert!(past(&two).iter().all(|record| record.quotes().iter().any(|quote| quote.verdict == "http_5xx")));
    drop(pod);
    upstream.set_candles(Venue::Coinbase, false);
    let pod = scene.standalone("none").await;
    is_live(&pod).await;
    let none = records::all(&pod).await;
    audit(&none);
    assert!(none.iter().all(|record| !record.backfilled));
    assert!(pod.process.lines().iter().any(|line| has_event(line, "nothing_backfilled")));
}

/// Waits until a pod has some records of the past.
async fn has_some(pod: &Pod) {
    wait_until("some of the past", DEADLINE, async || {
        let headers = pod.get("/v1/pairs").await.headers;
        let sequence: u64 = headers.get("x-tickwell-sequence")?.to_str().unwrap().parse().unwrap();
        (sequence >= 20).then_some(())
    })
    .await;
}

/// Checks that a later leader has written minutes of the past too. How many minutes the past has depends on the speed of
/// the log.
fn was_continued(records: &[Record]) {
    let leaders: BTreeSet<u64> =
        records.iter().filter(|record| record.kind == Kind::Lead).map(|record| record.epoch).collect();
    let writers: BTreeSet<u64> = past(records).iter().map(|record| record.epoch).collect();
    assert!(
        writers.len() >= 2 && writers.is_subset(&leaders),
        "{leaders:?} led, and {writers:?} wrote the past"
    );
}

/// Kills a process while it writes the past. Returns false if it was too late for that.
async fn killed_in_the_past(process: &mut Tickwell, pod: &Pod) -> bool {
    has_some(pod).await;
    process.kill();
    !process.lines().iter().any(|line| has_event(line, "backfilled"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_killed_in_the_past_is_continued_by_its_standby() {
    require_nats!();
    let upstream = upstream().await;
    for _attempt in 0..10 {
        let nats = NatsServer::start().await.unwrap();
        let scene = scene(&upstream, "24h").over(&nats).with_short_lease();
        let pod = scene.waiting_pod("pod").await;
        let mut poller = scene.command("poller").arg("poller").start().unwrap();
        poller.wait_for_line(|line| has_event(line, "backfilling"), DEADLINE).await.unwrap();
        let standby = scene.command("standby").arg("poller").start().unwrap();
        if !killed_in_the_past(&mut poller, &pod).await {
            continue;
        }
        standby.wait_for_line(|line| has_event(line, "leading"), DEADLINE).await.unwrap();
        is_live(&pod).await;
        pod.takes_in(2).await;
        let all = records::all(&pod).await;
        audit(&all);
        has_one_seam(&all);
        is_of_the_market(&all, &Venue::DEFAULT);
        was_continued(&all);
        return;
    }
    panic!("every poller had written the whole past before it was killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_its_own_log_killed_in_the_past_continues_after_a_restart() {
    let upstream = upstream().await;
    for attempt in 0..10 {
        let name = format!("store-{attempt}");
        let scene = scene(&upstream, "24h");
        let mut pod = scene.standalone(&name).await;
        has_some(&pod).await;
        pod.process.kill();
        if pod.process.lines().iter().any(|line| has_event(line, "backfilled")) {
            continue;
        }
        let pod = scene.standalone(&name).await;
        is_live(&pod).await;
        pod.takes_in(2).await;
        let all = records::all(&pod).await;
        audit(&all);
        has_one_seam(&all);
        was_continued(&all);
        averages_are_right(&pod).await;
        return;
    }
    panic!("every process had written the whole past before it was killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_has_a_day_of_history_at_once() {
    let scene = Scene::new(INTERVAL).with("TICKWELL__BACKFILL__SPAN", "24h");
    let pod = Pod::of(scene.command("demo").arg("run").arg("--demo").start().unwrap()).await;
    is_live(&pod).await;
    let averages = pod.get(&format!("/v1/prices/{PAIR}/averages?window=24h")).await.found();
    let window = &averages["windows"][0];
    assert!(window["backfilled"].as_u64().unwrap() >= 1_400, "{window}");
    assert!(window["coverage"].as_str().unwrap().parse::<f64>().unwrap() > 0.95, "{window}");
    let price = pod.get(&format!("/v1/prices/{PAIR}")).await.found();
    assert!(price["change_24h"].is_string(), "{price}");
    let line = pod.process.lines().into_iter().find(|line| has_event(line, "backfilled")).unwrap();
    println!(
        "the demo took {} ms to write {} records",
        field(&line, "millis").unwrap(),
        field(&line, "records").unwrap()
    );
    let all = records::all(&pod).await;
    audit(&all);
}
