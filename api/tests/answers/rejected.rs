//! Tests with messages in the log that are not records, or that contradict earlier records.

use common::{
    domain::{Epoch, Origin, Record},
    readiness::Condition,
    wire,
};
use serde_json::json;

use crate::rig::{Rig, gap, tick, tick_record};

async fn rejected(rig: &Rig, reason: &str) -> String {
    let mut response = rig.client().get("/metrics").send().await;
    let metrics = response.0.take_body().into_string().await.unwrap();
    let name = format!("tickwell_ingest_rejected_total{{reason=\"{reason}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().to_owned()
}

#[tokio::test]
async fn foreign_messages_are_skipped_and_counted() {
    let mut rig = Rig::new();
    let other_origin = Record { origin: Origin::Simulated, ..tick_record("BTC-USD", 30, "1") };
    let older_epoch = Record { epoch: Epoch(0), ..tick_record("BTC-USD", 30, "1") };
    rig.send(vec![
        tick("BTC-USD", 10, "100"),
        b"hello".to_vec(),
        tick("BTC-USD", 20, "101"),
        wire::encode(&other_origin),
        tick("BTC-USD", 10, "666"),
        gap("BTC-USD", 20, 40),
        wire::encode(&older_epoch),
        vec![b'x'; 100_000],
        tick("BTC-USD", 30, "102"),
    ])
    .await;
    let price = rig.get("/v1/prices/BTC-USD").await;
    assert_eq!(price.body["price"], json!("102"));
    assert_eq!(price.header("x-tickwell-sequence"), Some("9"));
    let averages = rig.get("/v1/prices/BTC-USD/averages?window=1m").await.body;
    assert_eq!(averages["windows"][0]["observed"], json!(3));
    for (reason, count) in [("undecodable", "2"), ("origin", "1"), ("order", "3")] {
        assert_eq!(rejected(&rig, reason).await, count, "{reason}");
    }
    assert_eq!(rig.get("/v1/ticks/2").await.body["code"], json!("unknown_sequence"));
}

#[tokio::test]
async fn a_message_without_a_fenced_id_is_not_a_record() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let newer =
        String::from_utf8(tick("BTC-USD", 20, "6")).unwrap().replace("\"version\":2", "\"version\":3");
    rig.send_as(vec![
        (None, tick("BTC-USD", 20, "666")),
        (None, newer.into_bytes()),
        (Some("BTC-USD:another".to_owned()), tick("BTC-USD", 20, "666")),
    ])
    .await;
    rig.taken_in().await;
    assert_eq!(rejected(&rig, "unfenced").await, "3");
    let degraded = rig.get("/readyz?verbose").await;
    assert_eq!((degraded.status, &degraded.body["checks"][0]["name"]), (200, &json!("log")));
    assert_eq!(degraded.body["checks"][0]["condition"], json!("degraded"));
    assert_eq!(rig.get("/v1/prices/BTC-USD").await.body["price"], json!("100"));
    rig.send(vec![tick("BTC-USD", 20, "101")]).await;
    assert_eq!(rig.get("/v1/prices/BTC-USD").await.body["price"], json!("101"));
    assert_eq!(rig.get("/readyz?verbose").await.body["checks"][0]["condition"], json!("ready"));
}

#[tokio::test]
async fn a_record_of_a_newer_version_stops_ingest_before_it() {
    let mut rig = Rig::new();
    let newer =
        String::from_utf8(tick("BTC-USD", 20, "101")).unwrap().replace("\"version\":2", "\"version\":3");
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    assert_eq!(rig.get("/readyz").await.status, 200);
    rig.send_only(vec![tick("ETH-USD", 10, "7"), newer.into_bytes(), tick("BTC-USD", 30, "102")]).await;
    let halted = || async {
        let report = rig.readiness.report();
        let is_halted = |(name, condition): &(&str, Condition)| {
            *name == "log" && matches!(condition, Condition::Unready(reason) if reason.contains("version 3"))
        };
        report.iter().any(is_halted).then_some(())
    };
    testkit::wait_until("the pod is not ready", std::time::Duration::from_secs(60), halted).await;
    assert_eq!(rig.get("/readyz").await.status, 503);
    let price = rig.get("/v1/prices/BTC-USD").await;
    assert_eq!((price.header("x-tickwell-sequence"), &price.body["price"]), (Some("2"), &json!("100")));
    assert_eq!(rig.get("/v1/prices/ETH-USD").await.body["price"], json!("7"));
}
