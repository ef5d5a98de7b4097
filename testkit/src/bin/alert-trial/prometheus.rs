//! A Prometheus with the alerts, whose durations are shortened.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::wait::poll_until;

/// Every duration in the alerts is divided by this.
const SHORTER: u64 = 20;

/// The shortest duration. Prometheus scrapes every second, and a rate needs two values.
const SHORTEST_SECONDS: u64 = 3;

const PATIENCE: Duration = Duration::from_secs(60);

const SETTINGS: &str = "\
global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
rule_files: [alerts.yaml]
scrape_configs:
  - job_name: tickwell
    file_sd_configs: [{ files: [targets.json], refresh_interval: 1s }]
";

/// A running Prometheus. Dropping it kills the process.
pub(crate) struct Prometheus {
    folder: TempDir,
    url: String,
    client: reqwest::Client,
    child: Child,
    targets: BTreeMap<String, String>,
}

impl Prometheus {
    pub(crate) async fn start(binary: &Path, alerts: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let text = fs::read_to_string(alerts).with_context(|| alerts.display().to_string())?;
        fs::write(folder.path().join("alerts.yaml"), shortened(&text))?;
        fs::write(folder.path().join("prometheus.yaml"), SETTINGS)?;
        fs::write(folder.path().join("targets.json"), "[]")?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let child = Command::new(binary)
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--log.level=error"])
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .spawn()?;
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let prometheus =
            Self { folder, url: format!("http://{address}"), client, child, targets: BTreeMap::new() };
        let started = poll_until(PATIENCE, async || prometheus.firing().await.ok()).await;
        started.context("Prometheus does not respond")?;
        Ok(prometheus)
    }

    /// Scrapes a process at this address from now on, under this name.
    pub(crate) fn scrape(&mut self, name: &str, address: &str) -> anyhow::Result<()> {
        self.targets.insert(name.to_owned(), address.to_owned());
        self.write_targets()
    }

    /// No longer scrapes a process.
    pub(crate) fn forget(&mut self, name: &str) -> anyhow::Result<()> {
        self.targets.remove(name);
        self.write_targets()
    }

    fn write_targets(&self) -> anyhow::Result<()> {
        let target = |(name, address): (&String, &String)| json!({ "targets": [address], "labels": { "instance": name } });
        let all: Vec<Value> = self.targets.iter().map(target).collect();
        // Prometheus may read the file at any time, so it must never see a part of it.
        let part = self.folder.path().join("targets.json.part");
        fs::write(&part, Value::from(all).to_string())?;
        Ok(fs::rename(part, self.folder.path().join("targets.json"))?)
    }

    /// Whether an expression has a result at the moment.
    pub(crate) async fn has(&self, expression: &str) -> anyhow::Result<bool> {
        let request = self.client.get(format!("{}/api/v1/query", self.url)).query(&[("query", expression)]);
        let body: Value = serde_json::from_slice(&request.send().await?.bytes().await?)?;
        let found = body.pointer("/data/result").and_then(Value::as_array);
        Ok(!found.context("no result")?.is_empty())
    }

    /// The alerts that fire at the moment.
    pub(crate) async fn firing(&self) -> anyhow::Result<BTreeSet<String>> {
        let response = self.client.get(format!("{}/api/v1/alerts", self.url)).send().await?;
        let body: Value = serde_json::from_slice(&response.bytes().await?)?;
        let alerts = body.pointer("/data/alerts").and_then(Value::as_array).context("no alerts")?;
        let firing = alerts.iter().filter(|alert| alert.get("state").is_some_and(|state| state == "firing"));
        let name = |alert: &Value| Some(alert.pointer("/labels/alertname")?.as_str()?.to_owned());
        Ok(firing.filter_map(name).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of 127.0.0.1 that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The alerts with durations for a trial. The age of a price and the lag of a pod are compared with 6 s instead of 60 s,
/// because there is a slot every second.
fn shortened(alerts: &str) -> String {
    let alerts = alerts.replace(" > 60\n", " > 6\n");
    let mut shortened = String::new();
    for line in alerts.lines() {
        let line = match line.trim().strip_prefix("for: ").and_then(seconds) {
            Some(seconds) => line.replace(line.trim(), &format!("for: {}s", shorter(seconds))),
            None => line.split_inclusive('[').map(with_shorter_range).collect::<String>(),
        };
        shortened.push_str(&with_shorter_offset(&line));
        shortened.push('\n');
    }
    shortened
}

/// Replaces the range at the beginning of a text, such as `5m]`.
fn with_shorter_range(text: &str) -> String {
    let range = text.split_once(']').and_then(|(range, rest)| Some((seconds(range)?, rest)));
    range.map_or_else(|| text.to_owned(), |(seconds, rest)| format!("{}s]{rest}", shorter(seconds)))
}

/// Replaces the duration after `offset`.
fn with_shorter_offset(line: &str) -> String {
    let offset = line.split_once("offset ").and_then(|(before, after)| {
        let (duration, rest) = after.split_once(' ')?;
        Some(format!("{before}offset {}s {rest}", shorter(seconds(duration)?)))
    });
    offset.unwrap_or_else(|| line.to_owned())
}

fn shorter(seconds: u64) -> u64 {
    (seconds / SHORTER).max(SHORTEST_SECONDS)
}

fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_durations_are_shortened() {
        let text = "a: |\n  rate(x{reason=~\"http_(403|4xx)\"}[5m]) / rate(y[1h]) > 0.5\n  z > 60\n  - (a offset 10m or b)\nfor: 10m\nfor: 1m\n";
        let short = "a: |\n  rate(x{reason=~\"http_(403|4xx)\"}[15s]) / rate(y[180s]) > 0.5\n  z > 6\n  - (a offset 30s or b)\nfor: 30s\nfor: 3s\n";
        assert_eq!(shortened(text), short);
    }
}
