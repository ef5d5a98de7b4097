//! Tests of what operators watch: the metrics of real processes, the alerts and the dashboard.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Stdio,
};

use serde_json::{Value, json};
use testkit::require_nats;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    harness::{DEADLINE, Pod, field, has_event, has_price, world},
    tools::{promtool, workspace},
};

/// What promtool prints: nothing, if it has nothing to complain about. `None` if it is not installed.
async fn promtool_says(arguments: &[&str], folder: &Path, input: &str) -> Option<String> {
    let mut command = Command::new(promtool()?);
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Some(if output.status.success() && !arguments.contains(&"metrics") { String::new() } else { said })
}

#[tokio::test]
async fn every_alert_fires_and_clears_as_its_unit_test_says() {
    let folder = workspace().join("container/monitoring");
    for arguments in [
        ["check", "rules", "--lint-fatal", "alerts.yaml"].as_slice(),
        &["check", "config", "prometheus.yaml"],
        &["test", "rules", "alerts.test.yaml"],
    ] {
        let Some(said) = promtool_says(arguments, &folder, "").await else { return };
        assert_eq!(said, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn prometheus_can_parse_every_expression_of_the_dashboard() {
    let text = std::fs::read_to_string(workspace().join("container/monitoring/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let rules: Vec<Value> = targets
        .enumerate()
        .map(|(number, target)| {
            let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
            json!({ "record": format!("dashboard:{number}"), "expr": expression })
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    // JSON is valid YAML.
    let groups = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    std::fs::write(folder.path().join("rules.yaml"), groups.to_string()).unwrap();
    let Some(said) = promtool_says(&["check", "rules", "rules.yaml"], folder.path(), "").await else {
        return;
    };
    assert_eq!(said, "");
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "the ids of panels are unique");
}

/// The metrics in a text in Prometheus's format, with the names of their labels.
fn exported(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let histograms: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram")).collect();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once(['{', ' ']).unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let name = base.filter(|base| histograms.contains(base)).unwrap_or(name);
        let has_labels = line.contains('{');
        let labels = labels.split('"').step_by(2).filter_map(|part| part.strip_suffix('='));
        let labels =
            labels.map(|label| label.trim_start_matches(',').to_owned()).filter(|label| label != "le");
        metrics.entry(name.to_owned()).or_default().extend(labels.filter(|_| has_labels));
    }
    metrics
}

/// The metrics in the tables of `docs/metrics.md`, with the names of their labels.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let page = std::fs::read_to_string(workspace().join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let labels = cells[2].split("; ").filter_map(|label| label.strip_prefix('`')?.split('`').next());
        (cells[0].trim_end_matches('`').to_owned(), labels.map(str::to_owned).collect())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poller_and_pod_export_what_is_documented_and_promtool_accepts_it() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let scene = scene.with("TICKWELL__ADMIN__LISTEN", "127.0.0.1:0");
    let (poller, pod) = (scene.poller().await, scene.pod("pod").await);
    has_price(&pod).await;
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for process in [poller, pod.process] {
        let line = process.wait_for_line(|line| has_event(line, "admin_listening"), DEADLINE).await.unwrap();
        let operators = Pod::at(process, field(&line, "url").unwrap());
        let text = operators.get("/metrics").await.text();
        for (name, labels) in exported(&text) {
            all.entry(name).or_default().extend(labels);
        }
        let price = "tickwell_price_timestamp_seconds{pair=\"BTC-USD\"} 1";
        assert!(text.contains(price), "{text}");
        if let Some(said) = promtool_says(&["check", "metrics"], Path::new("/"), &text).await {
            assert_eq!(said, "");
        }
    }
    assert_eq!(all, documented());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_on_the_admin_listener_and_a_poller_without_one_warns() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let silent = scene.poller().await;
    silent.wait_for_line(|line| has_event(line, "metrics_not_served"), DEADLINE).await.unwrap();
    let alone = scene.pod("alone").await;
    assert_eq!(alone.get("/metrics").await.status, 200);

    let scene = scene.with("TICKWELL__ADMIN__LISTEN", "127.0.0.1:0");
    let poller = scene.standby().await;
    let line = poller.wait_for_line(|line| has_event(line, "admin_listening"), DEADLINE).await.unwrap();
    assert!(!poller.lines().iter().any(|line| has_event(line, "metrics_not_served")));
    let poller = Pod::at(poller, field(&line, "url").unwrap());
    // A standby has published nothing, but its pairs are known.
    let text = poller.get("/metrics").await.text();
    assert!(text.contains("tickwell_price_timestamp_seconds{pair=\"BTC-USD\"} 0\n"), "{text}");
    assert!(text.contains("tickwell_lead_state{state=\"standby\"} 1\n"), "{text}");

    let pod = scene.pod("pod").await;
    let refused = pod.get("/metrics").await;
    assert_eq!((refused.status, &refused.json()["code"]), (404, &"not_found".into()));
    assert_eq!(pod.get("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_that_never_reaches_the_log_exports_its_pairs_without_a_price() {
    require_nats!();
    let (mut nats, _upstream, scene) = world().await;
    nats.kill();
    let scene = scene.with("TICKWELL__ADMIN__LISTEN", "127.0.0.1:0");
    let process = scene.command("poller").arg("poller").start().unwrap();
    process.wait_for_line(|line| has_event(line, "nats_unreachable"), DEADLINE).await.unwrap();
    let line = process.wait_for_line(|line| has_event(line, "admin_listening"), DEADLINE).await.unwrap();
    let text = Pod::at(process, field(&line, "url").unwrap()).get("/metrics").await.text();
    for line in [
        "tickwell_price_timestamp_seconds{pair=\"BTC-USD\"} 0\n",
        "tickwell_lead_state{state=\"leading\"} 0\n",
        "tickwell_ready{check=\"log\"} 0\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}
