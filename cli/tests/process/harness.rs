//! Starts processes and sends requests to them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use reqwest::header::HeaderMap;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{
    market::WalkMarket,
    nats::NatsServer,
    process::{Tickwell, TickwellCommand},
    upstream::FakeUpstream,
    wait_until,
};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_tickwell");

/// A limit that no passing test reaches, however slow the machine is.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// The default interval of tests. It is short, so that a few slots pass quickly.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);

/// A directory and the settings that the processes of one test share. Dropping it deletes the directory.
pub(crate) struct Scene {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

/// A process with an HTTP listener, and a client of it. Dropping it kills the process.
pub(crate) struct Pod {
    pub(crate) process: Tickwell,
    pub(crate) url: String,
    client: reqwest::Client,
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Scene {
    /// A scene without sources: one pair, slots of `interval`, a free port, no rate limit.
    pub(crate) fn new(interval: Duration) -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap(), environment: Vec::new() };
        scene
            .with("TICKWELL__FEED__PAIRS", "BTC-USD")
            .with("TICKWELL__FEED__INTERVAL", &format!("{}ms", interval.as_millis()))
            .with("TICKWELL__API__LISTEN", "127.0.0.1:0")
            .with("TICKWELL__API__RATE_LIMIT", "off")
            // Long enough that no price becomes stale between the requests to two pods.
            .with("TICKWELL__WINDOWS__STALE_AFTER", "1h")
            // Long enough that a running leader never loses its lease, even on a slow machine.
            .with("TICKWELL__BUS__LEASE", "60s")
    }

    /// The scene with another setting.
    pub(crate) fn with(mut self, variable: &str, value: &str) -> Self {
        self.environment.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// The scene with `upstream` as its sources.
    pub(crate) fn asking(mut self, upstream: &FakeUpstream) -> Self {
        self.environment.extend(upstream.environment());
        self
    }

    /// The scene with a short lease, so that a standby soon takes over. On a slow machine, even a running leader may
    /// lose a short lease, so tests must not depend on which poller leads.
    pub(crate) fn with_short_lease(self) -> Self {
        self.with("TICKWELL__BUS__LEASE", "2s")
    }

    /// The scene with its log on `nats`.
    pub(crate) fn over(self, nats: &NatsServer) -> Self {
        self.with("TICKWELL__BUS__URL", &nats.url())
    }

    /// The working directory of the scene's processes.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The store of the process with this name.
    pub(crate) fn store(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The binary with the scene's settings and a store of its own.
    pub(crate) fn command(&self, name: &str) -> TickwellCommand {
        self.dressed(Tickwell::command(BINARY, self.folder()), name)
    }

    /// A command with the scene's settings and a store of its own.
    pub(crate) fn dressed(&self, command: TickwellCommand, name: &str) -> TickwellCommand {
        command
            .env("RUST_BACKTRACE", "0")
            .envs(self.environment.clone())
            .env("TICKWELL__STORE__PATH", self.store(name))
    }

    /// Starts a poller, and waits until it leads.
    pub(crate) async fn poller(&self) -> Tickwell {
        let process = self.command("poller").arg("poller").start().unwrap();
        process.wait_for_line(|line| has_event(line, "leading"), DEADLINE).await.unwrap();
        process
    }

    /// Starts a poller, and waits until it stands by because another one leads.
    pub(crate) async fn standby(&self) -> Tickwell {
        let process = self.command("standby").arg("poller").start().unwrap();
        let stands_by = |line: &str| has_event(line, "standing_by");
        process.wait_for_line(stands_by, DEADLINE).await.unwrap();
        process
    }

    /// Starts a pod with the store of that name, and waits until it serves.
    pub(crate) async fn pod(&self, name: &str) -> Pod {
        Pod::of(self.command(name).arg("api").start().unwrap()).await
    }

    /// Starts a pod with the store of that name, and waits until it listens. The pod may still be waiting for its log.
    pub(crate) async fn waiting_pod(&self, name: &str) -> Pod {
        Pod::listening(self.command(name).arg("api").start().unwrap()).await
    }

    /// Starts poller and API in one process with the store of that name, and waits until it serves.
    pub(crate) async fn standalone(&self, name: &str) -> Pod {
        Pod::of(self.command(name).arg("run").start().unwrap()).await
    }
}

impl Pod {
    /// Waits until a started process serves.
    pub(crate) async fn of(process: Tickwell) -> Self {
        let url = process.url(DEADLINE).await.unwrap();
        Self::at(process, url)
    }

    /// Waits until a started process listens. The process may still be waiting for its log.
    pub(crate) async fn listening(process: Tickwell) -> Self {
        let line = process.wait_for_line(|line| has_event(line, "listening"), DEADLINE).await.unwrap();
        let url = field(&line, "url").unwrap();
        Self::at(process, url)
    }

    /// A started process that listens at `url`.
    pub(crate) fn at(process: Tickwell, url: String) -> Self {
        // Fails if another test has already installed the provider, which is fine.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        // Do not decompress, because tests compare bodies as they are sent. Do not use the environment's proxy.
        let client = reqwest::Client::builder().timeout(DEADLINE).no_gzip().no_proxy().build().unwrap();
        Self { process, url, client }
    }

    /// Sends a request, and returns the response whatever its status is. Panics if there is no response.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        match self.try_get(path).await {
            Ok(answer) => answer,
            Err(error) => {
                let log = self.process.lines().join("\n");
                panic!("GET {path}: {error:?}; the process wrote:\n{log}")
            }
        }
    }

    /// Sends a request to a process that may have exited.
    pub(crate) async fn try_get(&self, path: &str) -> reqwest::Result<Answer> {
        let response = self.client.get(format!("{}{path}", self.url)).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
    }

    /// The newest sequence that the pod has.
    pub(crate) async fn sequence(&self) -> u64 {
        self.get("/v1/pairs").await.sequence()
    }

    /// Waits until the pod has `sequence` or a later one. Returns the pod's newest sequence.
    pub(crate) async fn reaches(&self, sequence: u64) -> u64 {
        let what = format!("{} reaches sequence {sequence}", self.url);
        wait_until(&what, DEADLINE, async || Some(self.sequence().await).filter(|now| *now >= sequence)).await
    }

    /// Waits until the pod has `count` more records than now. Returns the pod's newest sequence.
    pub(crate) async fn takes_in(&self, count: u64) -> u64 {
        self.reaches(self.sequence().await + count).await
    }

    /// The value of the metric with this name and labels.
    pub(crate) async fn metric(&self, line_start: &str) -> u64 {
        let text = self.get("/metrics").await.text();
        let value = text.lines().find_map(|line| line.strip_prefix(line_start)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no metric {line_start} in:\n{text}")).parse().unwrap()
    }
}

impl Answer {
    /// The sequence of the newest record that the response is based on.
    pub(crate) fn sequence(&self) -> u64 {
        self.headers["x-tickwell-sequence"].to_str().unwrap().parse().unwrap()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body of a successful response as JSON.
    pub(crate) fn found(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }
}

/// A log server, sources whose prices move, and a scene that uses both.
pub(crate) async fn world() -> (NatsServer, FakeUpstream, Scene) {
    let nats = NatsServer::start().await.unwrap();
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).over(&nats);
    (nats, upstream, scene)
}

/// Waits until a pod has a price.
pub(crate) async fn has_price(pod: &Pod) {
    wait_until("a price", DEADLINE, async || (pod.get("/v1/prices").await.status == 200).then_some(())).await;
}

/// A market in BTC-USD and ETH-USD whose prices move with every slot.
pub(crate) async fn moving_upstream(interval: Duration) -> FakeUpstream {
    let market = WalkMarket::new(7, interval).unwrap();
    FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await.unwrap()
}

/// Whether a line of the log reports this event.
pub(crate) fn has_event(line: &str, event: &str) -> bool {
    field(line, "event").is_some_and(|found| found == event)
}

/// A field of a line of the log, as text.
pub(crate) fn field(line: &str, name: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    match line.get(name)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Waits until this many slots have passed.
pub(crate) async fn slots_pass(count: u32, interval: Duration) {
    let until = testkit::clock::now_ms() + i64::try_from((interval * count).as_millis()).unwrap();
    let passed = async || (testkit::clock::now_ms() > until).then_some(());
    wait_until("slots pass", interval * count + DEADLINE, passed).await;
}

/// The readiness check with this name, or null if there is none.
pub(crate) fn check(ready: &Value, name: &str) -> Value {
    let mut checks = ready["checks"].as_array().into_iter().flatten();
    checks.find(|check| check["name"] == name).cloned().unwrap_or_default()
}
