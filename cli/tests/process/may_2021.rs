//! Compares candles of recorded minutes with those that the exchange published itself. The recording is from May 2021,
//! when the prices of BTC and ETH fell by a third within a day.
//!
//! A recorded row has the last price of a minute (the close), and its time is the end of the minute. The test changes
//! the time to the start of the minute, so that the row's slot is in the same candle as the minute.
//!
//! The test replays two days around the crash, or the whole recording if `TICKWELL_WHOLE_RECORDING` is set.

use std::{collections::BTreeMap, fmt::Write as _, ops::Range, path::Path, time::Duration};

use rust_decimal::Decimal;
use serde_json::Value;
use testkit::recording::{PublishedCandle, Recording, Row, published_candles, recordings_folder};

use crate::{
    harness::{Pod, Scene},
    records::{Time, decimal},
    replay::is_over,
};

const MINUTE: i64 = 60_000;

/// 19 and 20 May 2021, UTC.
const CRASH: Range<i64> = 27_023_040..27_025_920;

/// The recorded coins: pair, file, and the file with the published candles, if there is one.
const COINS: [(&str, &str, Option<&str>); 2] = [
    ("BTC-USDT", "binance-BTCUSDT-2021-05-15_2021-06-15.csv.gz", None),
    (
        "ETH-USDT",
        "binance-ETHUSDT-2021-05-15_2021-06-15.csv.gz",
        Some("../oracle/binance-ETHUSDT-5m-published-2021-05.csv.gz"),
    ),
];

/// The closing prices of the minutes in a candle.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Closes(Vec<Decimal>);

fn write_recording(rows: &[&Row], path: &Path) {
    let mut text = String::from("ts_ms,price\n");
    for row in rows {
        writeln!(text, "{},{}", row.minute() * MINUTE, row.price).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candles_of_recorded_minutes_are_those_the_exchange_published() {
    let folder = recordings_folder();
    let minutes = match std::env::var_os("TICKWELL_WHOLE_RECORDING") {
        Some(_) => 0..i64::MAX,
        None => CRASH,
    };
    let scene = Scene::new(Duration::from_secs(60));
    let (mut files, mut recorded) = (Vec::new(), Vec::new());
    for (pair, file, _) in COINS {
        if !folder.join(file).exists() {
            println!("skipped: no recording {file} in {}", folder.display());
            return;
        }
        let recording = Recording::load(&folder.join(file)).unwrap();
        let rows: Vec<&Row> = recording.rows().iter().filter(|row| minutes.contains(&row.minute())).collect();
        write_recording(&rows, &scene.folder().join(format!("{pair}.csv")));
        files.push(format!("binance:{pair}:{pair}.csv"));
        recorded.push((rows[rows.len() - 1].minute(), closes(&rows)));
    }
    let scene = scene
        .with("TICKWELL__FEED__PAIRS", "BTC-USDT,ETH-USDT")
        .with("TICKWELL__FEED__SOURCES", "replay")
        .with("TICKWELL__REPLAY__FILES", &files.join(","))
        .with("TICKWELL__REPLAY__SPEED", "max")
        .with("TICKWELL__API__RATE_LIMIT", "off")
        .with("TICKWELL__AGGREGATE__MIN_SOURCES", "1");
    let pod = Pod::of(scene.command("store").arg("run").start().unwrap()).await;
    for ((pair, _, published), (last, expected)) in COINS.into_iter().zip(recorded) {
        is_over(&pod, last * MINUTE).await;
        let returned = candles(&pod, pair).await;
        assert!(returned.keys().eq(expected.keys()), "{} of {}", returned.len(), expected.len());
        for (start, candle) in &returned {
            check(candle, &expected[start]);
        }
        if let Some(published) = published {
            let published = published_candles(&folder.join(published)).unwrap();
            let compared = returned.iter().filter(|(start, candle)| {
                let whole = candle["complete"] == true;
                published.get(*start).filter(|_| whole).map(|published| within(candle, published)).is_some()
            });
            let compared = compared.count();
            println!("{pair}: {compared} candles of {} agree with the published ones", returned.len());
            assert!(compared + 2 >= returned.len().min(published.len()), "{compared} candles compared");
        }
    }
}

/// The closes in each candle of five minutes, by the candle's start.
fn closes(rows: &[&Row]) -> BTreeMap<i64, Closes> {
    let mut closes: BTreeMap<i64, Closes> = BTreeMap::new();
    for row in rows {
        closes.entry(row.minute() / 5 * 5 * MINUTE).or_default().0.push(decimal(&row.price));
    }
    closes
}

/// All candles of five minutes that the pod returns, by their starts.
async fn candles(pod: &Pod, pair: &str) -> BTreeMap<i64, Value> {
    let mut found = BTreeMap::new();
    let path = format!("/v1/prices/{pair}/candles?interval=5m&order=asc&limit=1000");
    let mut next = Some(path.clone());
    while let Some(path_of_page) = next {
        let page = pod.get(&path_of_page).await.found();
        for candle in page["items"].as_array().unwrap() {
            let start = Time::try_from(candle["start"].as_str().unwrap().to_owned()).unwrap().0;
            assert!(found.insert(start, candle.clone()).is_none(), "twice: {candle}");
        }
        next = page["next_cursor"].as_str().map(|cursor| format!("{path}&cursor={cursor}"));
    }
    found
}

fn price(candle: &Value, part: &str) -> Decimal {
    decimal(candle[part].as_str().unwrap())
}

/// Compares a candle with the closes from which it must be computed.
fn check(candle: &Value, closes: &Closes) {
    let Closes(closes) = closes;
    assert_eq!(candle["samples"], closes.len(), "{candle}");
    assert_eq!(candle["complete"], closes.len() == 5, "{candle}");
    let expected =
        [closes[0], *closes.iter().max().unwrap(), *closes.iter().min().unwrap(), closes[closes.len() - 1]];
    assert_eq!(["open", "high", "low", "close"].map(|part| price(candle, part)), expected, "{candle}");
}

/// Compares a candle with the published one. A recording has only one price per minute, so only the close must be the
/// same. The other prices must be within the published range.
fn within(candle: &Value, published: &PublishedCandle) {
    assert_eq!(price(candle, "close"), published.close, "{candle} {published:?}");
    for part in ["open", "high", "low"] {
        assert!((published.low..=published.high).contains(&price(candle, part)), "{candle} {published:?}");
    }
}
