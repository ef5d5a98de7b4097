//! Unmodified clients that were made for CoinGecko receive the same prices from `/api/v3` as others do from `/v1`.

use std::path::Path;

use rust_decimal::Decimal;
use serde_json::{Value, json};
use testkit::{nats::NatsServer, require_nats};
use tokio::process::Command;

use crate::{
    access::KNOWN,
    agreement::history,
    author::{Author, INTERVAL_MS},
    harness::{DEADLINE, Pod, Scene, has_price},
    records::{Point, Time, decimal},
    tools::{node_packages, python_with},
};

const SEED: u64 = 41;

/// The key that [`KNOWN`] stands for.
const KEY: &str = "foo";

/// 1 October 2026.
const FIRST_SLOT: i64 = 1_790_812_800_000;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The slots that are written: 13 days, and part of a candle of half an hour.
const SLOTS: i64 = (13 * DAY + 17 * MINUTE) / INTERVAL_MS;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_made_for_coingecko_receive_the_prices_of_v1() {
    require_nats!();
    let nats = NatsServer::start().await.unwrap();
    let scene = Scene::new(std::time::Duration::from_secs(60)).over(&nats);
    let mut author = Author::begin(&nats, SEED, &["BTC-USD", "ETH-USD"], FIRST_SLOT).await;
    author.write(SLOTS).await;
    let open = scene.waiting_pod("open").await;
    let keyed = scene.command("keyed").env("TICKWELL__API__KEYS", KNOWN).arg("api").start().unwrap();
    let keyed = Pod::of(keyed).await;
    has_price(&open).await;
    open.reaches(author.last()).await;
    let keyed_reaches = async || {
        let pong = keyed.get(&format!("/api/v3/ping?x_cg_pro_api_key={KEY}")).await;
        (pong.sequence() == author.last()).then_some(())
    };
    testkit::wait_until("the pod with keys has the log", DEADLINE, keyed_reaches).await;

    // The times are in seconds, and neither is at the start of an hour.
    let newest = slot(&open.get("/v1/pairs").await.found()["items"][0]);
    let (from, to) = (newest - 3 * DAY - 90_000, newest - DAY + MINUTE);
    let expected = expected(&open, (from, to)).await;
    let span = [(from / 1_000).to_string(), (to / 1_000).to_string()];
    for mut client in clients() {
        let command = client.args([&keyed.url, KEY, &span[0], &span[1]]).kill_on_drop(true);
        let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert!(!answers.is_empty());
        for answer in answers {
            for (call, expected) in expected.as_object().unwrap() {
                assert_eq!(comparable(&answer[call]), comparable(expected), "{call}");
            }
        }
    }
}

/// The programs that use the clients, as far as the clients are installed.
fn clients() -> Vec<Command> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/coingecko");
    let mut commands = Vec::new();
    if let Some(python) = python_with(&["coingecko_sdk", "pycoingecko"]) {
        let mut command = Command::new(python);
        command.arg(folder.join("clients.py"));
        commands.push(command);
    }
    if let Some(packages) = node_packages("@coingecko/coingecko-typescript") {
        let mut command = Command::new("node");
        command.arg(folder.join("client.mjs")).arg(packages);
        commands.push(command);
    }
    commands
}

/// What the calls of the programs must return, computed from the responses of `/v1`.
async fn expected(pod: &Pod, span: (i64, i64)) -> Value {
    let ticks = history(pod, "asc", 10_000).await;
    assert!(ticks.len() > 10_000, "too few ticks: {}", ticks.len());
    let newest = slot(&pod.get("/v1/pairs").await.found()["items"][0]);
    let chart = |from: i64, to: i64, length: i64| json!({"prices": rows(&ticks, from, to, length), "market_caps": [], "total_volumes": []});
    let prices = pod.get("/v1/prices?pairs=BTC-USD,ETH-USD").await.found();
    let [bitcoin, ether] = [0, 1].map(|at| quotes(&prices["items"][at]));
    let ether_rate = pod.get("/v1/convert?from=BTC&to=ETH").await.found()["rate"].clone();
    json!({
        "ping": {"gecko_says": "(V3) To the Moon!"},
        "price": {"bitcoin": bitcoin, "ethereum": ether},
        "currencies": ["usd"],
        "coins": [
            {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin"},
            {"id": "ethereum", "symbol": "eth", "name": "Ethereum"},
        ],
        "charts": [
            chart(newest - DAY, newest, 5 * MINUTE),
            chart(newest - 10 * DAY, newest, HOUR),
            chart(0, newest, DAY),
        ],
        "range": chart(span.0, span.1, HOUR),
        "ohlc": [
            candles(&ticks, newest - DAY, newest, 30 * MINUTE),
            candles(&ticks, newest - 7 * DAY, newest, 4 * HOUR),
            candles(&ticks, 0, newest, 4 * DAY),
        ],
        "rates": {"rates": {
            "btc": {"name": "Bitcoin", "unit": "BTC", "value": 1, "type": "crypto"},
            "eth": {"name": "Ethereum", "unit": "ETH", "value": number(&ether_rate), "type": "crypto"},
            "usd": {"name": "US Dollar", "unit": "$", "value": bitcoin["usd"], "type": "fiat"},
        }},
        "unknown": {"error": "coin not found; /api/v3/coins/list has the coins that this server knows"},
    })
}

/// A price of `/v1/prices` as the dialect has it.
fn quotes(item: &Value) -> Value {
    let change = item["change_24h"].as_str().map(|change| decimal(change) * Decimal::ONE_HUNDRED);
    let change = change.map(|change| number(&json!(change.to_string())));
    json!({
        "usd": number(&item["price"]),
        "usd_24h_change": change,
        "last_updated_at": slot(item) / 1_000,
    })
}

/// The first tick of each bucket that begins in the range, and the last tick of the range.
fn rows(ticks: &[Point], from: i64, to: i64, length: i64) -> Vec<Value> {
    let row = |tick: &Point| json!([tick.slot, number(&json!(tick.price))]);
    let mut rows = Vec::new();
    let mut bucket = None;
    let begin = (from + length - 1) / length;
    let found = || ticks.iter().filter(|tick| tick.slot / length >= begin && tick.slot <= to);
    for tick in found() {
        if bucket.replace(tick.slot / length) != Some(tick.slot / length) {
            rows.push(row(tick));
        }
    }
    let last = found().next_back().map(row);
    if rows.last() != last.as_ref() {
        rows.extend(last);
    }
    rows
}

/// The candles whose buckets begin in the range and are over.
fn candles(ticks: &[Point], from: i64, newest: i64, length: i64) -> Vec<Value> {
    let begin = (from + length - 1) / length;
    let end = (newest + INTERVAL_MS) / length;
    let candle = |bucket: i64| {
        let prices = ticks.iter().filter(|tick| tick.slot / length == bucket).map(|tick| &tick.price);
        let prices: Vec<&String> = prices.collect();
        let high = prices.iter().max_by_key(|price| decimal(price))?;
        let low = prices.iter().min_by_key(|price| decimal(price))?;
        let row = [prices.first()?, high, low, prices.last()?].map(|price| number(&json!(price)));
        Some(json!([(bucket + 1) * length, row[0], row[1], row[2], row[3]]))
    };
    let first = ticks.first().unwrap().slot / length;
    (begin.max(first)..end).filter_map(candle).collect()
}

fn slot(item: &Value) -> i64 {
    Time::try_from(item["slot"].as_str().unwrap().to_owned()).unwrap().0
}

/// A decimal string as the number that clients parse it to.
fn number(text: &Value) -> Value {
    json!(text.as_str().unwrap().parse::<f64>().unwrap())
}

/// A value in which whole numbers are floating-point numbers, and members that are null are left out: clients add those
/// for what a response does not have.
fn comparable(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(comparable).collect(),
        Value::Object(members) => {
            let present = members.iter().filter(|(_, value)| !value.is_null());
            Value::Object(present.map(|(name, value)| (name.clone(), comparable(value))).collect())
        }
        other => other.clone(),
    }
}
