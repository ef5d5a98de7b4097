//! Prices under wrong clocks: the pod's clock is behind, it is set back, or a record is from the future.

use std::time::Duration;

use common::readiness::Condition;
use serde_json::{Value, json};

use crate::rig::{Rig, at, lead, tick};

const HOUR: i64 = 3_600;

/// A pod with prices of two pairs. Its clock shows `clock` seconds after the start of the tests' slots.
async fn rig(btc_slot: i64, eth_slot: i64, clock: i64) -> Rig {
    let mut rig = Rig::new();
    rig.clock.set(at(clock));
    rig.send(vec![
        lead("BTC-USD"),
        tick("BTC-USD", btc_slot, "97012.30"),
        lead("ETH-USD"),
        tick("ETH-USD", eth_slot, "3400.1"),
    ])
    .await;
    settled().await;
    rig
}

/// Lets the task that watches the clock see the newest snapshot. The tests have one thread, so it runs now.
async fn settled() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Whether the price is stale, how long it may be cached in seconds, and the status with `max_age=5s`.
async fn seen(rig: &Rig, pair: &str) -> (bool, u64, u16) {
    let answer = rig.get(&format!("/v1/prices/{pair}")).await;
    let header = answer.header("cache-control").unwrap();
    let seconds = header.split("max-age=").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    let fresh = rig.get(&format!("/v1/prices/{pair}?max_age=5s")).await;
    if fresh.status != 200 {
        assert_eq!((fresh.status, &fresh.body["code"]), (503, &json!("contract_not_met")));
        assert_eq!(fresh.body["parameter"], json!("max_age"));
        assert_eq!(fresh.body["newest"], answer.body);
    }
    (answer.body["stale"] == Value::Bool(true), seconds, fresh.status)
}

fn clock_check(rig: &Rig) -> Condition {
    let report = rig.readiness.report();
    report.into_iter().find_map(|(name, condition)| (name == "time").then_some(condition)).unwrap()
}

async fn metric(rig: &Rig, name: &str) -> f64 {
    let text = rig.text("/metrics").await;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    value.parse().unwrap()
}

#[tokio::test]
async fn a_slot_an_hour_ahead_of_the_clock_is_not_fresh_and_not_cached() {
    let rig = rig(10, 10, 10 - HOUR).await;
    // Without the check: not stale, cached for 3,610 s, and 200 with max_age=5s.
    assert_eq!(seen(&rig, "BTC-USD").await, (true, 0, 503));
    assert_eq!(rig.get("/v1/convert?from=ETH&to=BTC").await.body["stale"], json!(true));
    assert!(matches!(clock_check(&rig), Condition::Degraded(reason) if reason.contains("BTC-USD")));
    assert_eq!(metric(&rig, "tickwell_slot_ahead_seconds").await, 3_600.0);
}

#[tokio::test]
async fn a_slot_as_far_ahead_as_clocks_may_differ_is_fresh_and_cached_for_one_interval() {
    // The policy allows 5 s, and one interval is 10 s.
    let rig = rig(20, 20, 5).await;
    assert_eq!(seen(&rig, "BTC-USD").await, (false, 10, 200));
    assert_eq!(clock_check(&rig), Condition::Ready);
    assert_eq!(metric(&rig, "tickwell_slot_ahead_seconds").await, 0.0);
    rig.clock.set(at(4));
    assert_eq!(seen(&rig, "BTC-USD").await, (true, 0, 503));
}

#[tokio::test]
async fn a_pair_that_is_ten_days_ahead_leaves_the_other_fresh() {
    let rig = rig(240 * HOUR, 10, 12).await;
    // Without the check, the pair ahead was fresh for ten days: (false, 864000, 200) if it was the only pair.
    assert_eq!(seen(&rig, "BTC-USD").await, (true, 8, 503));
    assert_eq!(seen(&rig, "ETH-USD").await, (false, 8, 200));
    assert!(matches!(clock_check(&rig), Condition::Degraded(reason) if !reason.contains("ETH-USD")));
}

#[tokio::test]
async fn a_price_does_not_become_fresh_again_when_the_clock_is_set_back() {
    let rig = rig(10, 10, 12).await;
    assert_eq!(seen(&rig, "BTC-USD").await, (false, 8, 200));
    rig.clock.pass(Duration::from_secs(60));
    rig.clock.set(at(72));
    assert_eq!(seen(&rig, "BTC-USD").await, (true, 0, 503));
    // The feed has stopped, and somebody sets the clock back by a minute. On that clock alone, the price is 2 s old.
    rig.clock.set(at(12));
    assert_eq!(seen(&rig, "BTC-USD").await, (true, 0, 503));
}

#[tokio::test]
async fn a_jump_of_the_clock_is_reported_until_a_new_price_confirms_the_clock() {
    let mut rig = rig(10, 10, 12).await;
    assert_eq!(clock_check(&rig), Condition::Ready);
    rig.clock.set(at(12 + HOUR));
    rig.send(vec![tick("ETH-USD", 20, "3400.1")]).await;
    settled().await;
    assert!(
        matches!(clock_check(&rig), Condition::Degraded(reason) if reason.contains("jumped ahead by 3600 s"))
    );
    assert_eq!(metric(&rig, "tickwell_clock_jumps_total{direction=\"ahead\"}").await, 1.0);
    assert_eq!(seen(&rig, "ETH-USD").await, (true, 0, 503));
    rig.clock.set(at(32));
    rig.send(vec![tick("ETH-USD", 30, "3400.1")]).await;
    settled().await;
    assert_eq!(clock_check(&rig), Condition::Ready);
    assert_eq!(metric(&rig, "tickwell_clock_jumps_total{direction=\"back\"}").await, 1.0);
}
