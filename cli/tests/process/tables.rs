//! Exports, read by pandas, polars and DuckDB as `docs/export.md` shows, and replayed.

use std::{fs, path::Path};

use serde_json::Value;
use testkit::{nats::NatsServer, require_nats};
use tokio::process::Command;

use crate::{
    author::{Author, INTERVAL_MS},
    harness::{DEADLINE, Pod, Scene, has_event, has_price},
    records::time_text,
    replay::{at_speed, is_over},
    survival::end,
    tools::{python_with, workspace},
};

const SEED: u64 = 23;

/// 1 October 2026.
const FIRST_SLOT: i64 = 1_790_812_800_000;

/// Two days and part of an hour, so the last candle is incomplete.
const SLOTS: i64 = 2 * 1_440 + 17;

const DOCUMENT: &str = "docs/export.md";

/// The address of the pod in the document.
const POD: &str = "http://127.0.0.1:8080";

/// The commands of the document that export a file.
fn commands() -> Vec<String> {
    let document = fs::read_to_string(workspace().join(DOCUMENT)).unwrap();
    let commands: Vec<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("tickwell export "))
        .map(str::to_owned)
        .collect();
    assert_eq!(commands.len(), 3);
    commands
}

/// Runs a command of the document in the scene's folder.
async fn export(scene: &Scene, command: &str) {
    let words = command.split(' ');
    let mut process = scene.command("pod").arg("export").args(words).start().unwrap();
    let code = process.wait_exit(DEADLINE).await.unwrap().code();
    assert_eq!(code, Some(0), "{command}: {}", process.lines().join("\n"));
}

fn read(scene: &Scene, name: &str) -> String {
    fs::read_to_string(scene.folder().join(name)).unwrap()
}

/// The rows of an export without the sequences, which differ in a replay.
fn slots_and_prices(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split(',').take(2).collect()).collect()
}

/// The text of a CSV cell.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_are_read_by_pandas_polars_and_duckdb_and_replayed() {
    require_nats!();
    let nats = NatsServer::start().await.unwrap();
    let scene = Scene::new(std::time::Duration::from_secs(60)).over(&nats);
    let mut author = Author::begin(&nats, SEED, &["BTC-USD"], FIRST_SLOT).await;
    author.write(SLOTS).await;
    let mut pod = scene.waiting_pod("pod").await;
    has_price(&pod).await;
    pod.reaches(author.last()).await;

    for command in commands() {
        export(&scene, &command.replace(POD, &pod.url)).await;
    }
    let items = author.written().iter().filter_map(|written| written.history_item());
    let row = |item: Value, columns: &[&str]| {
        columns.iter().map(|column| cell(&item[column])).collect::<Vec<_>>().join(",")
    };
    let prices: Vec<String> =
        items.map(|item| row(item, &["slot", "price", "sequence"]) + ",false").collect();
    let exported = read(&scene, "btc.csv");
    assert_eq!(exported.lines().skip(1).collect::<Vec<_>>(), prices);
    let columns = ["from", "to", "slots", "interval", "cause", "backfilled", "sequence", "epoch", "sources"];
    let items = author.written().iter().filter_map(|written| written.gap_item());
    // A list in JSON leaves the member out.
    let labelled = items.map(|mut item| {
        item["backfilled"] = false.into();
        row(item, &columns)
    });
    let gaps: Vec<String> = labelled.collect();
    assert_eq!(read(&scene, "gaps.csv").lines().skip(1).collect::<Vec<_>>(), gaps);
    let candles =
        pod.get("/v1/prices/BTC-USD/candles?interval=1h&order=asc&limit=1000&format=csv").await.text();
    assert_eq!((read(&scene, "candles.csv"), candles.lines().count()), (candles.clone(), 50));

    // The store of the stopped pod has the same rows.
    end(&mut pod.process).await;
    for command in commands() {
        let to_file = |name: &str| command.contains(name);
        let name = ["btc.csv", "gaps.csv", "candles.csv"].into_iter().find(|name| to_file(name)).unwrap();
        let of_pod = read(&scene, name);
        export(&scene, &format!("{} --force", command.replace(&format!("--url {POD} "), ""))).await;
        assert_eq!(read(&scene, name), of_pod, "{name}");
    }
    read_as_documented(scene.folder()).await;
    replayed(&exported, &scene).await;
}

async fn read_as_documented(folder: &Path) {
    let Some(python) = python_with(&["pandas", "polars", "duckdb"]) else { return };
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/tables/tables.py"));
    command.arg(workspace().join(DOCUMENT)).current_dir(folder).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A replay of an export has exactly the ticks of the export, even if quotes never become stale.
async fn replayed(exported: &str, scene: &Scene) {
    let last = exported.lines().last().unwrap().split(',').next().unwrap();
    let again = Scene::new(std::time::Duration::from_secs(60));
    let command = at_speed(again.command("again"), "max").arg("run").env("TICKWELL__FEED__SOURCES", "replay");
    let path = scene.folder().join("btc.csv");
    let command = command.env("TICKWELL__REPLAY__FILES", format!("kraken:BTC-USD:{}", path.display()));
    let command = command.env("TICKWELL__AGGREGATE__MIN_SOURCES", "1");
    let command =
        command.env("TICKWELL__AGGREGATE__MAX_QUOTE_AGE", "1h").env("TICKWELL__FEED__PAIRS", "BTC-USD");
    let mut pod = Pod::of(command.start().unwrap()).await;
    pod.process.wait_for_line(|line| has_event(line, "recording_ended"), DEADLINE).await.unwrap();
    let slots = (FIRST_SLOT..).step_by(usize::try_from(INTERVAL_MS).unwrap());
    let last = slots.take(usize::try_from(SLOTS).unwrap()).find(|slot| time_text(*slot) == last).unwrap();
    is_over(&pod, last).await;
    end(&mut pod.process).await;
    let mut process = again.command("again").args(["export", "--pair", "BTC-USD"]).start().unwrap();
    assert_eq!(process.wait_exit(DEADLINE).await.unwrap().code(), Some(0));
    let lines = process.lines().join("\n");
    assert_eq!(slots_and_prices(&lines), slots_and_prices(exported));
}
