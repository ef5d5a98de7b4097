//! Processes whose clocks are wrong.

use serde_json::{Value, json};
use testkit::{faketime::FakeTime, process::Tickwell, require_nats, wait_until};

use crate::{
    harness::{DEADLINE, Pod, Scene, has_event, world},
    survival::end,
};

const HOUR: i64 = 3_600;
const TEN_DAYS: i64 = 240 * HOUR;

/// The reason of the check `clock`, and whether it is ready.
async fn clock_check(pod: &Pod) -> (bool, String) {
    let ready = pod.get("/readyz?verbose").await.json();
    let check = ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "time").unwrap();
    (check["condition"] == "ready", check["reason"].as_str().unwrap_or_default().to_owned())
}

async fn slot_ahead(pod: &Pod) -> f64 {
    let text = pod.get("/metrics").await.text();
    let value = text.lines().find_map(|line| line.strip_prefix("tickwell_slot_ahead_seconds "));
    value.unwrap().parse().unwrap()
}

/// Stale, and the `max-age` of the response in seconds.
async fn freshness(pod: &Pod) -> (Value, u64) {
    let answer = pod.get("/v1/prices/BTC-USD").await;
    let header = answer.headers["cache-control"].to_str().unwrap();
    let seconds = header.split("max-age=").nth(1).unwrap().split(',').next().unwrap();
    (answer.found()["stale"].clone(), seconds.parse().unwrap())
}

#[tokio::test]
async fn a_pod_whose_clock_is_an_hour_behind_serves_no_price_as_fresh() {
    require_nats!();
    let Some(time) = FakeTime::find_or_skip() else { return };
    let (_nats, _upstream, scene) = world().await;
    let mut poller = scene.poller().await;
    let right = scene.pod("right").await;
    let sequence = right.takes_in(4).await;
    let clock = time.clock(&scene.folder().join("clock")).unwrap();
    clock.set(-HOUR).unwrap();
    let behind = Pod::of(scene.command("behind").envs(clock.environment()).arg("api").start().unwrap()).await;
    behind.reaches(sequence).await;
    end(&mut poller).await;
    behind.reaches(right.sequence().await).await;

    // Without the check: `stale: false`, max-age=3600, and 200 with `max_age=5s`.
    assert_eq!(freshness(&behind).await, (json!(true), 0));
    let refused = behind.get("/v1/prices/BTC-USD?max_age=5s").await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("contract_not_met")));
    assert_eq!(freshness(&right).await.0, json!(false));
    let (ready, reason) = clock_check(&behind).await;
    assert!(!ready && reason.contains("BTC-USD"), "{reason}");
    let ahead = slot_ahead(&behind).await;
    assert!((3_500.0..=3_600.0).contains(&ahead), "{ahead}");
    assert!(clock_check(&right).await.0);

    // The pod notices that its clock is corrected, and trusts it once a new price agrees.
    clock.set(0).unwrap();
    behind.process.wait_for_line(|line| has_event(line, "clock_jumped"), DEADLINE).await.unwrap();
    wait_until("the slots are not ahead", DEADLINE, async || {
        (slot_ahead(&behind).await == 0.0).then_some(())
    })
    .await;
    assert!(!clock_check(&behind).await.0);
    let _poller = scene.poller().await;
    wait_until("the clock is trusted", DEADLINE, async || clock_check(&behind).await.0.then_some(())).await;
    assert_eq!(freshness(&behind).await.0, json!(false));
}

/// A poller whose clock can be set, and a pod with the right clock that has some of its records.
struct Skewed {
    clock: testkit::faketime::FakeClock,
    poller: Tickwell,
    pod: Pod,
}

async fn skewed(scene: &Scene, time: &FakeTime, ahead: i64) -> Skewed {
    let clock = time.clock(&scene.folder().join("clock")).unwrap();
    clock.set(ahead).unwrap();
    let poller = scene.command("poller").envs(clock.environment()).arg("poller").start().unwrap();
    poller.wait_for_line(|line| has_event(line, "leading"), DEADLINE).await.unwrap();
    let pod = scene.pod("pod").await;
    pod.takes_in(4).await;
    Skewed { clock, poller, pod }
}

/// Kraken's prices have no time, so only the `Date` of its responses shows that a clock is wrong.
fn without_times(scene: Scene) -> Scene {
    scene.with("TICKWELL__FEED__SOURCES", "kraken").with("TICKWELL__AGGREGATE__MIN_SOURCES", "1")
}

#[tokio::test]
async fn a_poller_whose_clock_leaps_ten_days_publishes_nothing_until_it_is_back() {
    require_nats!();
    let Some(time) = FakeTime::find_or_skip() else { return };
    let (_nats, _upstream, scene) = world().await;
    let scene = without_times(scene);
    let Skewed { clock, poller, pod } = skewed(&scene, &time, 0).await;
    clock.set(TEN_DAYS).unwrap();
    let doubts = |line: &str| has_event(line, "degraded") && line.contains("clock is ahead");
    poller.wait_for_line(doubts, DEADLINE).await.unwrap();
    // Before, the next record was ten days ahead, and the pod served it as fresh for ten days.
    let slot = pod.get("/v1/pairs").await.found()["items"][0]["slot"].clone();
    assert!(slot.as_str().unwrap() < a_minute_from_now().as_str(), "{slot}");
    clock.set(0).unwrap();
    pod.takes_in(4).await;
    assert!(clock_check(&pod).await.0);
}

#[tokio::test]
async fn a_poller_whose_clock_was_behind_continues_when_the_dates_of_responses_confirm_the_correction() {
    require_nats!();
    let Some(time) = FakeTime::find_or_skip() else { return };
    let (_nats, _upstream, scene) = world().await;
    let scene = without_times(scene);
    let Skewed { clock, poller: _poller, pod } = skewed(&scene, &time, -HOUR).await;
    clock.set(0).unwrap();
    let is_fresh = async || (freshness(&pod).await.0 == json!(false)).then_some(());
    wait_until("a price of now", DEADLINE, is_fresh).await;
}

/// A time a minute from now, as responses write it.
fn a_minute_from_now() -> String {
    let millis = testkit::clock::now_ms() + 60_000;
    chrono::DateTime::from_timestamp_millis(millis).unwrap().to_rfc3339()
}
