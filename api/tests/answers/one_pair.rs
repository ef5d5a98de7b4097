//! One pair whose records are ahead, or that has stopped, does not touch the other pairs.

use futures::StreamExt;
use serde_json::{Value, json};

use crate::rig::{Rig, at, gap, lead, tick};

const DAY: i64 = 86_400;

/// Ticks of BTC-USD from one second to another.
fn ticks(from: i64, to: i64) -> Vec<Vec<u8>> {
    (from / 10..=to / 10).map(|slot| tick("BTC-USD", slot * 10, "100")).collect()
}

#[tokio::test]
async fn a_pair_that_is_ten_days_ahead_leaves_the_quotes_pins_and_sources_of_others() {
    let mut rig = Rig::new();
    rig.send([vec![lead("BTC-USD"), lead("ETH-USD"), tick("ETH-USD", 10, "5")], ticks(10, 100)].concat())
        .await;
    let sequence = 10;
    let before = rig.get(&format!("/v1/prices/BTC-USD?at_sequence={sequence}")).await;
    for further in [vec![tick("ETH-USD", 10 * DAY, "5")], ticks(110, 300)] {
        rig.send(further).await;
        // Before, the quotes were expired, the pin was gone (410), and the report of the sources ended in ten days and had
        // nothing of BTC-USD.
        assert_eq!(rig.get("/v1/ticks/5").await.body["quotes"].as_array().unwrap().len(), 1);
        let pinned = rig.get(&format!("/v1/prices/BTC-USD?at_sequence={sequence}")).await;
        assert_eq!((pinned.status, &pinned.body["slot"]), (200, &before.body["slot"]));
        let sources = rig.get("/v1/sources").await.body;
        assert!(sources["to"].as_str().unwrap() <= at(300).to_string().as_str(), "{sources}");
        assert_eq!(sources["items"][0]["pairs"][0]["pair"], json!("BTC-USD"));
    }
}

#[tokio::test]
async fn a_pair_that_has_stopped_does_not_hold_the_retention_of_others_back() {
    let mut rig = Rig::new();
    rig.send([vec![lead("ETH-USD"), tick("ETH-USD", 10, "5"), lead("BTC-USD")], ticks(10, 1_000)].concat())
        .await;
    // Quotes are kept for 600 s.
    assert_eq!(rig.get("/v1/ticks/10").await.body["quotes_expired"], json!(true));
    assert_eq!(rig.get("/v1/ticks/100").await.body["quotes_expired"], json!(false));
    assert_eq!(rig.get("/v1/sources").await.body["to"], json!(at(1_000).to_string()));
}

#[tokio::test]
async fn a_stream_from_the_beginning_passes_a_pair_that_stopped_long_ago() {
    let mut rig = Rig::new();
    // ETH-USD stopped ten days before the newest slot, and ticks are kept for two days.
    let eth = (1..=300).map(|slot| tick("ETH-USD", slot * 10, "5"));
    rig.send([vec![lead("ETH-USD"), lead("BTC-USD"), tick("BTC-USD", 10, "100")], eth.collect()].concat())
        .await;
    rig.send(vec![gap("BTC-USD", 20, 10 * DAY)]).await;
    // More than the events in memory.
    rig.send(ticks(10 * DAY + 10, 10 * DAY + 11_000)).await;

    let mut response = rig.client().get("/v1/stream?format=ndjson&after=0").send().await;
    let lines = response.0.take_body().into_bytes_stream().take(300 + 1_101);
    // Before, the stream ended with `history_gone` after the first 256 events, and so did the next one.
    let events: Vec<Value> =
        lines.map(|line| serde_json::from_slice(&line.unwrap()).unwrap()).collect().await;
    let of = |pair: &str| events.iter().filter(|event| event["pair"] == pair).count();
    assert_eq!((of("ETH-USD"), of("BTC-USD")), (300, 1_101), "{:?}", events.last());
}
