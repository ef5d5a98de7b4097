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
    usage::descriptors,
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

/// The size of a small file system. A new store takes less than a megabyte.
const SMALL_DISK: &str = "size=48m";

/// Two pollers, two pods, their log and their sources, and the Prometheus that watches them.
pub(crate) struct Stage {
    pub(crate) prometheus: Prometheus,
    pub(crate) upstream: FakeUpstream,
    pub(crate) nats: NatsServer,
    /// Whether `pod-2` can reach the log.
    pub(crate) is_connected: watch::Sender<bool>,
    pub(crate) client: reqwest::Client,
    /// Streams that are open.
    pub(crate) streams: Vec<reqwest::Response>,
    members: BTreeMap<&'static str, Member>,
    binary: PathBuf,
    folder: TempDir,
}

/// A process that can be restarted.
struct Member {
    /// The address of its log.
    log: String,
    /// The ports of its listeners. They stay the same when it is restarted.
    admin: u16,
    api: u16,
    settings: Vec<(&'static str, String)>,
    process: Option<Tickwell>,
}

impl Stage {
    pub(crate) async fn start(binary: PathBuf, prometheus: Prometheus) -> anyhow::Result<Self> {
        let upstream = FakeUpstream::start(Arc::new(WalkMarket::new(7, INTERVAL)?), "127.0.0.1:0").await?;
        let nats = NatsServer::start().await?;
        let (is_connected, connected) = watch::channel(true);
        let cable = TcpListener::bind("127.0.0.1:0").await?;
        let (direct, indirect) = (nats.url(), format!("nats://{}", cable.local_addr()?));
        tokio::spawn(forward(cable, direct.trim_start_matches("nats://").to_owned(), connected));
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let (members, streams, folder) = (BTreeMap::new(), Vec::new(), tempfile::tempdir()?);
        let mut stage =
            Self { prometheus, upstream, nats, is_connected, client, streams, members, binary, folder };
        for name in ["poller-1", "poller-2", "pod-1"] {
            stage.add(name, direct.clone(), Vec::new()).await?;
        }
        stage.add("pod-2", indirect, Vec::new()).await?;
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
        let (admin, api) = (free_port()?, free_port()?);
        self.members.insert(name, Member { log, admin, api, settings, process: None });
        self.prometheus.scrape(name, &format!("127.0.0.1:{admin}"))?;
        self.launch(name).await
    }

    /// Kills a process that was added, and stops scraping it.
    pub(crate) fn remove(&mut self, name: &'static str) -> anyhow::Result<()> {
        self.members.remove(name);
        self.prometheus.forget(name)
    }

    /// Starts a process, or starts it again.
    pub(crate) async fn launch(&mut self, name: &'static str) -> anyhow::Result<()> {
        let member = self.members.get_mut(name).context("no such process")?;
        // Kills the process if it still runs.
        member.process = None;
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
            // The prices of the fake upstream move slowly, and a source is only frozen if the others have moved away.
            .env("TICKWELL__AGGREGATE__MAX_DEVIATION", "0.3%")
            .env("TICKWELL__WINDOWS__STALE_AFTER", "5s")
            .env("TICKWELL__BUS__URL", &member.log)
            .env("TICKWELL__BUS__LEASE", "2s")
            .env("TICKWELL__API__RATE_LIMIT", "off")
            .env("TICKWELL__API__LISTEN", format!("127.0.0.1:{}", member.api))
            .env("TICKWELL__ADMIN__LISTEN", format!("127.0.0.1:{}", member.admin))
            .env("TICKWELL__STORE__PATH", self.folder.path().join(name))
            .envs(member.settings.clone());
        let process = command.start()?;
        process.wait_for_line(|line| line.contains("\"admin_listening\""), PATIENCE).await?;
        member.process = Some(process);
        Ok(())
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

    fn process(&mut self, name: &str) -> anyhow::Result<&mut Tickwell> {
        let member = self.members.get_mut(name);
        member.and_then(|member| member.process.as_mut()).context("no such process")
    }

    pub(crate) fn signal(&mut self, name: &str, signal: &str) -> anyhow::Result<()> {
        self.process(name)?.signal(signal)
    }

    pub(crate) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.process(name)?.kill();
        Ok(())
    }

    /// Changes a resource limit of a running process, with an argument of prlimit.
    pub(crate) fn limit(&mut self, name: &str, limit: &str) -> anyhow::Result<()> {
        let process = self.process(name)?.id().to_string();
        let done = Command::new("prlimit").args(["--pid", &process, limit]).status()?;
        ensure!(done.success(), "prlimit {limit} failed");
        Ok(())
    }

    /// Opens streams of a pod.
    pub(crate) async fn open_streams(&mut self, name: &str, count: usize) -> anyhow::Result<()> {
        let url = format!("{}/v1/stream", self.url(name)?);
        for _stream in 0..count {
            self.streams.push(self.client.get(&url).send().await?);
        }
        Ok(())
    }

    /// How many files a process has open.
    pub(crate) fn open_files(&mut self, name: &str) -> anyhow::Result<usize> {
        descriptors(self.process(name)?.id())
    }

    /// The directory of a pod's store.
    pub(crate) fn store(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Mounts a small file system for the store of a pod. Returns whether that is allowed, which it is for root.
    pub(crate) fn mount_disk(&self, name: &str) -> anyhow::Result<bool> {
        fs::create_dir_all(self.store(name))?;
        let options = ["-t", "tmpfs", "-o", SMALL_DISK, "tmpfs"];
        Ok(Command::new("mount").args(options).arg(self.store(name)).status()?.success())
    }

    /// Removes the small file system again.
    pub(crate) fn unmount_disk(&self, name: &str) -> anyhow::Result<()> {
        let done = Command::new("umount").arg("--lazy").arg(self.store(name)).status()?;
        ensure!(done.success(), "umount failed");
        Ok(())
    }

    /// The address of a pod's API.
    pub(crate) fn url(&self, name: &str) -> anyhow::Result<String> {
        let member = self.members.get(name).context("no such process")?;
        Ok(format!("http://127.0.0.1:{}", member.api))
    }

    /// Creates keys of all roles, and returns their directory.
    pub(crate) fn keys(&self) -> anyhow::Result<PathBuf> {
        let folder = self.folder.path().join("keys");
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
