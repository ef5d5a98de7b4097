//! Every answer says what was backfilled, and windows that span the seam to the live slots have the documented weights.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::naive::{self, Tick};

use crate::rig::{Rig, at, backfilled, lead, not_backfilled, tick};

/// Minutes 1 to 10 are backfilled. A gap leads to the first live slot, 40 s into minute 10.
const MINUTES: i64 = 10;

fn price(number: i64) -> String {
    format!("{}.{:02}", 100 + number * 7 % 13, number % 100)
}

/// Keeps ticks in memory for this long.
async fn rig(keep: Duration) -> (Rig, Vec<Tick>) {
    let mut rig = Rig::keeping(keep);
    let past = |minute: i64| backfilled("BTC-USD", minute * 60, &price(minute));
    let mut payloads = vec![lead("BTC-USD")];
    payloads.extend((1..=MINUTES).map(past));
    payloads.push(not_backfilled("BTC-USD", MINUTES * 60 + 10, MINUTES * 60 + 30));
    let live = |slot: i64| MINUTES * 60 + 30 + slot * 10;
    payloads.extend((1..=40).map(|slot| tick("BTC-USD", live(slot), &price(100 + slot))));
    rig.send(payloads).await;
    let point = |second: i64, interval, price, backfilled| Tick {
        slot: at(second).unix_millis(),
        interval,
        price,
        backfilled,
    };
    let mut ticks: Vec<Tick> =
        (1..=MINUTES).map(|minute| point(minute * 60, 60_000, price(minute), true)).collect();
    ticks.extend((1..=40).map(|slot| point(live(slot), 10_000, price(100 + slot), false)));
    (rig, ticks)
}

#[tokio::test]
async fn windows_and_candles_across_the_seam_equal_a_naive_computation() {
    // Once from memory, and once from the store.
    for keep in [Duration::from_secs(86_400), Duration::from_secs(60)] {
        let (rig, ticks) = rig(keep).await;
        let newest = ticks[ticks.len() - 1].slot;
        for (span, millis) in
            [("1m", 60_000), ("5m", 300_000), ("7m", 420_000), ("10m", 600_000), ("1h", 3_600_000)]
        {
            let body = rig.get(&format!("/v1/prices/BTC-USD/averages?window={span}")).await.body;
            let mut found = body["windows"][0].clone();
            let found = found.as_object_mut().unwrap();
            for name in ["window", "from", "to"] {
                found.remove(name).unwrap();
            }
            assert_eq!(
                Value::Object(found.clone()),
                naive::window(&ticks, newest, millis, 10_000),
                "{span} {keep:?}"
            );
        }
        for (interval, millis) in [("1m", 60_000), ("5m", 300_000), ("1h", 3_600_000)] {
            let path = format!("/v1/prices/BTC-USD/candles?interval={interval}&order=asc");
            let found = rig.get(&path).await.body["items"].clone();
            assert_eq!(found, json!(naive::candles(&ticks, millis, newest + 10_000)), "{interval} {keep:?}");
        }
    }
}

#[tokio::test]
async fn records_history_gaps_and_times_say_what_was_backfilled() {
    let (rig, ticks) = rig(Duration::from_secs(86_400)).await;
    let history = rig.get("/v1/prices/BTC-USD/history?order=asc").await.body;
    let marks: Vec<bool> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["backfilled"].as_bool().unwrap())
        .collect();
    assert_eq!(marks, ticks.iter().map(|tick| tick.backfilled).collect::<Vec<_>>());
    let csv = rig.get("/v1/prices/BTC-USD/history?order=asc&format=csv").await.text;
    assert_eq!(csv.lines().filter(|line| line.ends_with(",true")).count(), 10);
    let gaps = rig.get("/v1/prices/BTC-USD/gaps").await.body;
    assert_eq!(
        (&gaps["items"][0]["cause"], &gaps["items"][0]["backfilled"]),
        (&json!("not_backfilled"), &json!(true))
    );
    // The quotes of the first minutes have expired.
    let expired = rig.get("/v1/ticks/2").await.body;
    assert_eq!((&expired["backfilled"], &expired["quotes_expired"]), (&json!(true), &json!(true)));
    let record = rig.get("/v1/ticks/11").await.body;
    assert_eq!((&record["backfilled"], &record["policy"]["aged_at"]), (&json!(true), &json!("slot")));
    let live = rig.get("/v1/ticks/20").await.body;
    assert_eq!((live.get("backfilled"), live["policy"].get("aged_at")), (None, None));
    let [past, now] = [60, 700].map(|second| at(second).unix_millis());
    let times = rig.get(&format!("/v1/prices/BTC-USD/at?time={past}&time={now}")).await.body;
    assert_eq!((&times["items"][0]["backfilled"], times["items"][1].get("backfilled")), (&json!(true), None));
}

#[tokio::test]
async fn the_newest_price_says_that_it_was_backfilled_until_there_is_a_live_one() {
    let mut rig = Rig::new();
    rig.send(vec![backfilled("BTC-USD", 60, "1.5")]).await;
    assert_eq!(rig.get("/v1/prices/BTC-USD").await.body["backfilled"], json!(true));
    rig.send(vec![tick("BTC-USD", 70, "1.6")]).await;
    assert_eq!(rig.get("/v1/prices/BTC-USD").await.body.get("backfilled"), None);
    // What claims to be the past of a pair with a live slot is not believed.
    rig.send(vec![backfilled("BTC-USD", 120, "9"), tick("BTC-USD", 130, "1.7")]).await;
    let history = rig.get("/v1/prices/BTC-USD/history").await.body;
    let prices: Vec<_> = history["items"].as_array().unwrap().iter().map(|item| &item["price"]).collect();
    assert_eq!(prices, ["1.7", "1.6", "1.5"]);
}

#[tokio::test]
async fn the_price_a_day_ago_is_looked_for_as_far_back_as_its_own_interval_allows() {
    const DAY: i64 = 86_400;
    // The tick of a minute holds for three minutes, and a live tick of ten seconds for half a minute.
    for (older, seconds, has_change) in [
        (backfilled("BTC-USD", 60, "100"), 60 + 180, true),
        (backfilled("BTC-USD", 60, "100"), 60 + 190, false),
        (tick("BTC-USD", 60, "100"), 60 + 30, true),
        (tick("BTC-USD", 60, "100"), 60 + 40, false),
    ] {
        for keep in [Duration::from_secs(2 * 86_400), Duration::from_secs(60)] {
            let mut rig = Rig::keeping(keep);
            rig.send(vec![lead("BTC-USD"), older.clone()]).await;
            rig.send(vec![tick("BTC-USD", DAY + seconds, "110")]).await;
            let change = rig.get("/v1/prices/BTC-USD").await.body["change_24h"].clone();
            let expected = if has_change { json!("0.100000000000") } else { Value::Null };
            assert_eq!(change, expected, "{seconds} {keep:?}");
        }
    }
}
