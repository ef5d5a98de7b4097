//! Clients that generators make from `docs/openapi.json` are type-checked, and read what a pod sends.
//!
//! For each generator there are two programs: the example in `docs/clients.md`, and a probe that calls nearly every route of
//! `/v1` and prints what the client read.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    harness::{Pod, Scene, has_price},
    tools::{openapi_packages, python_with, workspace},
};

/// The calls of the probes. `{tick}` and `{from}` are arguments of the probes.
const CALLS: [(&str, &str); 12] = [
    ("price", "/v1/prices/BTC-USD"),
    ("prices", "/v1/prices"),
    ("pairs", "/v1/pairs"),
    ("averages", "/v1/prices/BTC-USD/averages"),
    ("convert", "/v1/convert?from=ETH&to=BTC"),
    ("history", "/v1/prices/BTC-USD/history?from={from}&limit=3"),
    ("thinned", "/v1/prices/BTC-USD/history?max_points=4"),
    ("candles", "/v1/prices/BTC-USD/candles?interval=1m"),
    ("gaps", "/v1/prices/BTC-USD/gaps?cause=missed"),
    ("at", "/v1/prices/BTC-USD/at?time={from}"),
    ("tick", "/v1/ticks/{tick}"),
    ("sources", "/v1/sources"),
];

/// The address of the pod in the examples.
const DOCUMENTED_URL: &str = "http://127.0.0.1:8080";

/// How many records the log has before the clients connect.
const RECORDS: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_python_client_reads_what_a_pod_sends() {
    let Some(python) = python_with(&["openapi_python_client", "mypy"]) else { return };
    let (_scene, pod) = market().await;
    let folder = folder_with(&pod, "python", "py");
    let tools = python.parent().unwrap().to_path_buf();
    let path = std::env::join_paths([tools].into_iter().chain(search_path())).unwrap();
    // The generator formats the client with ruff, which it looks for in $PATH.
    let mut generate = Command::new(python.with_file_name("openapi-python-client"));
    generate.args(["generate", "--fail-on-warning", "--output-path", "tickwell", "--path"]).arg(document());
    succeeds(generate.env("PATH", path), folder.path()).await;
    let mut check = Command::new(&python);
    check.args(["-m", "mypy", "--strict", "probe.py", "example.py"]).env("MYPYPATH", "tickwell");
    succeeds(&mut check, folder.path()).await;
    let run = |program: &str| {
        let mut command = Command::new(&python);
        command.arg(format!("{program}.py")).env("PYTHONPATH", "tickwell");
        command
    };
    reads_what_the_pod_sends(&pod, folder.path(), run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_typescript_client_reads_what_a_pod_sends() {
    let Some(packages) = openapi_packages() else { return };
    let (_scene, pod) = market().await;
    let folder = folder_with(&pod, "ts", "ts");
    fs::write(folder.path().join("package.json"), r#"{"type": "module"}"#).unwrap();
    std::os::unix::fs::symlink(&packages, folder.path().join("node_modules")).unwrap();
    let mut generate = Command::new("node_modules/.bin/openapi-typescript");
    succeeds(generate.arg(document()).args(["--output", "tickwell.d.ts"]), folder.path()).await;
    let mut check = Command::new("node_modules/.bin/tsc");
    check.args(["--strict", "--target", "es2022", "--lib", "es2022,dom", "--module", "es2022"]);
    check.args(["--moduleResolution", "bundler", "probe.ts", "example.ts"]);
    succeeds(&mut check, folder.path()).await;
    let run = |program: &str| {
        let mut command = Command::new("node");
        command.arg(format!("{program}.js"));
        command
    };
    reads_what_the_pod_sends(&pod, folder.path(), run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "compiles for minutes; scripts/clients runs it"]
async fn a_generated_rust_client_reads_what_a_pod_sends() {
    let (_scene, pod) = market().await;
    let folder = folder_with(&pod, "rust", "rs");
    let (crate_folder, programs) = (programs().join("rust"), folder.path().join("src/bin"));
    fs::create_dir_all(&programs).unwrap();
    for program in ["probe.rs", "example.rs"] {
        fs::rename(folder.path().join(program), programs.join(program)).unwrap();
    }
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(crate_folder.join(file), folder.path().join(file)).unwrap();
    }
    let manifest = fs::read_to_string(crate_folder.join("Cargo.toml")).unwrap();
    let documented = block(&page(), "toml");
    assert!(manifest.contains(documented.trim()), "the crate has other dependencies than docs/clients.md");
    fs::copy(document(), folder.path().join("openapi.json")).unwrap();
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "--locked", "--target-dir"]).arg(target());
    succeeds(&mut build, folder.path()).await;
    let run = |program: &str| Command::new(target().join("debug").join(program));
    reads_what_the_pod_sends(&pod, folder.path(), run).await;
}

/// A pod with a simulated market. Its prices never become stale, so that a response does not depend on the time.
async fn market() -> (Scene, Pod) {
    let scene = Scene::new(Duration::from_millis(500))
        .with("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD")
        .with("TICKWELL__WINDOWS__STALE_AFTER", "1h");
    let pod = Pod::of(scene.command("demo").args(["run", "--demo"]).start().unwrap()).await;
    has_price(&pod).await;
    pod.reaches(RECORDS).await;
    (scene, pod)
}

/// A directory with the two programs: `probe` from the directory next to this file, and `example` from the page.
fn folder_with(pod: &Pod, language: &str, ending: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let example = block(&page(), language);
    assert!(example.contains(DOCUMENTED_URL), "{example}");
    let example = example.replace(DOCUMENTED_URL, &pod.url);
    fs::write(folder.path().join(format!("example.{ending}")), example).unwrap();
    let probe = programs().join(format!("probe.{ending}"));
    fs::copy(probe, folder.path().join(format!("probe.{ending}"))).unwrap();
    folder
}

/// Checks what the programs print. `run` makes the command that runs a program, without the program's arguments.
async fn reads_what_the_pod_sends(pod: &Pod, folder: &Path, run: impl Fn(&str) -> Command) {
    let newest = pod.get("/v1/prices").await.found();
    let sequence = newest["items"].as_array().unwrap().iter().map(|item| item["sequence"].as_u64().unwrap());
    let sequence = sequence.max().unwrap();
    let page = pod.get("/v1/prices/BTC-USD/history?order=asc&limit=3").await.found();
    let third = &page["items"][2];
    let (tick, from) = (third["sequence"].to_string(), third["slot"].as_str().unwrap());

    let mut probe = run("probe");
    probe.args([&pod.url, &sequence.to_string(), &tick, from]);
    let said = succeeds(&mut probe, folder).await;
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    for (call, path) in CALLS {
        let path = path.replace("{from}", from).replace("{tick}", &tick);
        let mark = if path.contains('?') { '&' } else { '?' };
        let sent = pod.get(&format!("{path}{mark}at_sequence={sequence}")).await.found();
        assert_eq!(with_times(&said[call]), with_times(&sent), "{call}");
    }

    let said = succeeds(&mut run("example"), folder).await;
    let said = String::from_utf8(said.stdout).unwrap();
    let price = said.split_whitespace().next().unwrap();
    let page = pod.get("/v1/prices/BTC-USD/history?limit=1000").await.found();
    let sent = page["items"].as_array().unwrap().iter().any(|tick| tick["price"] == price);
    assert!(sent, "{price} is not a price of the pod: {said}");
}

/// The value with each time as a number, because languages write times differently.
fn with_times(value: &Value) -> Value {
    match value {
        Value::String(text) if text.contains('T') && text.contains(':') => {
            json!(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
        }
        Value::Array(items) => items.iter().map(with_times).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), with_times(value))).collect()
        }
        other => other.clone(),
    }
}

/// The page with the examples.
fn page() -> String {
    fs::read_to_string(workspace().join("docs/clients.md")).unwrap()
}

/// The only block of code in this language on a page.
fn block(page: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    let mut blocks = page.split(&fence).skip(1);
    let block = blocks.next().unwrap().split("```").next().unwrap().to_owned();
    assert!(blocks.next().is_none(), "two blocks of {language}");
    block
}

async fn succeeds(command: &mut Command, folder: &Path) -> Output {
    let output = command.current_dir(folder).kill_on_drop(true).output().await.unwrap();
    let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{command:?}: {text}");
    output
}

fn document() -> PathBuf {
    workspace().join("docs/openapi.json")
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/typed_clients")
}

/// Where the Rust client is built. It is kept, because the dependencies compile for a minute.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("rust_client")
}

fn search_path() -> Vec<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect()
}
