//! The processes of a trial, and what can be done to them.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use testkit::{
    Venue,
    fault::Fault,
    market::WalkMarket,
    nats::{NatsCluster, NatsServer},
    process::Tickwell,
    upstream::FakeUpstream,
    wait::poll_until,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::prometheus::{Prometheus, free_port};

const INTERVAL: Duration = Duration::from_secs(1);

const PATIENCE: Duration = Duration::from_secs(120);

/// Two pollers, two pods, their log and their sources, and the Prometheus that watches them.
pub(crate) struct Stage {
    pub(crate) prometheus: Prometheus,
    pub(crate) upstream: FakeUpstream,
    pub(crate) nats: NatsServer,
    pub(crate) processes: BTreeMap<&'static str, Tickwell>,
    /// Whether `pod-2` can reach the log.
    pub(crate) is_connected: watch::Sender<bool>,
    binary: PathBuf,
    folder: TempDir,
    /// The address of the log for each process.
    logs: BTreeMap<&'static str, String>,
    /// The ports of the admin and the API listener of each process. They stay the same when it is restarted.
    ports: BTreeMap<&'static str, [u16; 2]>,
    settings: BTreeMap<&'static str, Vec<(&'static str, String)>>,
    pub(crate) client: reqwest::Client,
}

impl Stage {
    pub(crate) async fn start(binary: PathBuf, prometheus: Prometheus) -> anyhow::Result<Self> {
        let upstream = FakeUpstream::start(Arc::new(WalkMarket::new(7, INTERVAL)?), "127.0.0.1:0").await?;
        let nats = NatsServer::start().await?;
        let (is_connected, connected) = watch::channel(true);
        let cable = TcpListener::bind("127.0.0.1:0").await?;
        let (direct, indirect) = (nats.url(), format!("nats://{}", cable.local_addr()?));
        tokio::spawn(forward(cable, direct.trim_start_matches("nats://").to_owned(), connected));
        let logs = [("poller-1", &direct), ("poller-2", &direct), ("pod-1", &direct), ("pod-2", &indirect)];
        let logs = logs.map(|(name, url)| (name, url.clone())).into();
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let mut stage = Self {
            prometheus,
            upstream,
            nats,
            processes: BTreeMap::new(),
            is_connected,
            binary,
            folder: tempfile::tempdir()?,
            logs,
            ports: BTreeMap::new(),
            settings: BTreeMap::new(),
            client,
        };
        for name in ["poller-1", "poller-2", "pod-1", "pod-2"] {
            stage.launch(name).await?;
        }
        let leads = "tickwell_lead_state{state=\"leading\"} == 1";
        let seen = async || stage.prometheus.has(leads).await.ok().filter(|leads| *leads);
        poll_until(PATIENCE, seen).await.context("Prometheus sees no leader")?;
        stage.is_well().await?;
        Ok(stage)
    }

    /// Adds a process with its own log and settings, and starts it.
    pub(crate) async fn add(
        &mut self,
        name: &'static str,
        log: String,
        settings: Vec<(&'static str, String)>,
    ) -> anyhow::Result<()> {
        self.logs.insert(name, log);
        self.settings.insert(name, settings);
        self.launch(name).await
    }

    /// Kills a process that was added, and stops scraping it.
    pub(crate) fn remove(&mut self, name: &'static str) -> anyhow::Result<()> {
        self.processes.remove(name);
        self.prometheus.forget(name)
    }

    /// Starts a process, or starts it again.
    pub(crate) async fn launch(&mut self, name: &'static str) -> anyhow::Result<()> {
        self.processes.remove(name);
        if !self.ports.contains_key(name) {
            self.ports.insert(name, [free_port()?, free_port()?]);
        }
        let [admin, api] = self.ports[name];
        let mode = if name.contains("poller") { "poller" } else { "api" };
        // A limit on the size of files sends this signal, which would kill the process.
        let command = Tickwell::command("/bin/sh", self.folder.path())
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(&self.binary)
            .arg(mode)
            .envs(self.upstream.environment())
            .env("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD")
            .env("TICKWELL__FEED__SOURCES", "kraken,coinbase,bitstamp")
            .env("TICKWELL__FEED__INTERVAL", "1s")
            .env("TICKWELL__AGGREGATE__FROZEN_AFTER", "3s")
            .env("TICKWELL__WINDOWS__STALE_AFTER", "5s")
            .env("TICKWELL__BUS__URL", &self.logs[name])
            .env("TICKWELL__BUS__LEASE", "2s")
            .env("TICKWELL__API__RATE_LIMIT", "off")
            .env("TICKWELL__API__LISTEN", format!("127.0.0.1:{api}"))
            .env("TICKWELL__ADMIN__LISTEN", format!("127.0.0.1:{admin}"))
            .env("TICKWELL__STORE__PATH", self.folder.path().join(name))
            .envs(self.settings.get(name).cloned().unwrap_or_default());
        let process = command.start()?;
        let has_started = |line: &str| line.contains("\"admin_listening\"");
        process.wait_for_line(has_started, PATIENCE).await?;
        self.processes.insert(name, process);
        self.prometheus.scrape(name, &format!("127.0.0.1:{admin}"))
    }

    /// Waits until no alert fires.
    pub(crate) async fn is_well(&self) -> anyhow::Result<()> {
        let quiet = async || self.prometheus.firing().await.ok().filter(|firing| firing.is_empty()).map(drop);
        if poll_until(PATIENCE, quiet).await.is_none() {
            anyhow::bail!("still firing: {:?}", self.prometheus.firing().await?);
        }
        Ok(())
    }

    pub(crate) fn fault(&self, fault: Option<&str>) -> anyhow::Result<()> {
        let fault: Option<Fault> = fault.map(str::parse).transpose()?;
        self.upstream.set_fault(Venue::Kraken, fault);
        Ok(())
    }

    pub(crate) fn signal(&mut self, name: &str, signal: &str) -> anyhow::Result<()> {
        self.processes.get_mut(name).context("no such process")?.signal(signal)
    }

    pub(crate) fn kill(&mut self, name: &str) {
        if let Some(process) = self.processes.get_mut(name) {
            process.kill();
        }
    }

    /// Changes a resource limit of a running process, with an argument of prlimit.
    pub(crate) fn limit(&self, name: &str, limit: &str) -> anyhow::Result<()> {
        let process = self.processes.get(name).context("no such process")?;
        let done = Command::new("prlimit").args(["--pid", &process.id().to_string(), limit]).status()?;
        ensure!(done.success(), "prlimit {limit} failed");
        Ok(())
    }

    /// How many files a process has open.
    pub(crate) fn open_files(&self, name: &str) -> anyhow::Result<usize> {
        let process = self.processes.get(name).context("no such process")?;
        Ok(fs::read_dir(format!("/proc/{}/fd", process.id()))?.count())
    }

    /// The directory of a pod's store.
    pub(crate) fn store(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The address of a pod's API.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}", self.ports[name][1])
    }

    /// Creates keys of all roles, and returns their directory.
    pub(crate) fn keys(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.path().join(name);
        let made = Command::new(&self.binary).args(["log", "keys"]).arg(&folder).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Ok(folder)
    }

    /// Adds a poller whose log is on three servers.
    pub(crate) async fn add_cluster(&mut self) -> anyhow::Result<NatsCluster> {
        let cluster = NatsCluster::start().await?;
        let settings = vec![
            ("TICKWELL__BUS__REPLICAS", "3".to_owned()),
            ("TICKWELL__BUS__STREAM", "OTHER".to_owned()),
            ("TICKWELL__BUS__SUBJECT_PREFIX", "other".to_owned()),
        ];
        self.add("poller-3", cluster.url(), settings).await?;
        Ok(cluster)
    }
}

/// Forwards connections to the log while they are allowed. Otherwise, existing connections are cut.
async fn forward(listener: TcpListener, to: String, connected: watch::Receiver<bool>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let (to, mut connected) = (to.clone(), connected.clone());
        tokio::spawn(async move {
            if !*connected.borrow() {
                return;
            }
            let Ok(mut server) = TcpStream::connect(to).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = connected.wait_for(|connected| !connected) => {}
            }
        });
    }
}
