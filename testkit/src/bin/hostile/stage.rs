//! The process under attack.

use std::{fmt::Write as _, fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, SecondsFormat};
use tempfile::TempDir;
use testkit::{
    clock::now_ms,
    hostile::cgroup::MemoryLimit,
    market::WalkMarket,
    process::{Tickwell, TickwellCommand},
    upstream::FakeUpstream,
    usage::{Usage, cpu_time, usage},
    wait::poll_until,
};

/// The pair with the history.
pub(crate) const PAIR: &str = "BTC-USD";

/// The interval between slots. It is shorter than the default, so that a short run has many.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

/// The variables of the allocator in the image.
const ALLOCATOR: [(&str, &str); 2] =
    [("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")];

/// A limit that a working process does not reach.
const PATIENCE: Duration = Duration::from_secs(120);

const MINUTE_MS: i64 = 60_000;

const MINUTES_A_DAY: i64 = 1_440;

/// A process with its sources. It is not running until [`Stage::start`].
pub(crate) struct Stage {
    binary: PathBuf,
    variables: Vec<(String, String)>,
    upstream: FakeUpstream,
    process: Option<Tickwell>,
    limit: Option<MemoryLimit>,
    folder: TempDir,
}

impl Stage {
    /// Creates the history and the memory limit.
    pub(crate) async fn new(
        binary: PathBuf,
        mebibytes: u64,
        days: u32,
        variables: Vec<(String, String)>,
    ) -> anyhow::Result<Self> {
        let upstream = FakeUpstream::start(Arc::new(WalkMarket::new(7, INTERVAL)?), "127.0.0.1:0").await?;
        let name = format!("tickwell-hostile-{}", std::process::id());
        let limit = match MemoryLimit::create(&name, mebibytes * 1_024 * 1_024) {
            Ok(limit) => Some(limit),
            Err(error) => {
                println!("without a memory limit, because it cannot be set: {error:#}");
                None
            }
        };
        let stage = Self { binary, variables, upstream, process: None, limit, folder: tempfile::tempdir()? };
        stage.import(days).await?;
        Ok(stage)
    }

    /// Imports a price for each minute of these days.
    async fn import(&self, days: u32) -> anyhow::Result<()> {
        let (now, minutes) = (now_ms() / MINUTE_MS * MINUTE_MS, i64::from(days) * MINUTES_A_DAY);
        let mut text = "time,price\n".to_owned();
        for minute in (1..=minutes).rev() {
            let time = DateTime::from_timestamp_millis(now - minute * MINUTE_MS).context("a time")?;
            let time = time.to_rfc3339_opts(SecondsFormat::Secs, true);
            writeln!(text, "{time},{}.{:02}", 97_000 + minute % 977, minute % 89)?;
        }
        let file = self.folder.path().join("history.csv");
        fs::write(&file, text)?;
        let command = self.command(&self.binary.display().to_string());
        let mut import = command.args(["import", "--pair", PAIR]).arg(&file).start()?;
        let status = import.wait_exit(PATIENCE * 5).await?;
        ensure!(status.success(), "{}", import.lines().join("\n"));
        Ok(())
    }

    fn command(&self, program: &str) -> TickwellCommand {
        Tickwell::command(program, self.folder.path())
            .envs(self.upstream.environment())
            .env("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD")
            .env("TICKWELL__FEED__SOURCES", "kraken,coinbase,bitstamp")
            .env("TICKWELL__FEED__INTERVAL", format!("{}ms", INTERVAL.as_millis()))
            .env("TICKWELL__API__LISTEN", "127.0.0.1:0")
            .env("TICKWELL__STORE__PATH", self.folder.path().join("store"))
            .envs(ALLOCATOR)
            .envs(self.variables.clone())
    }

    /// Starts the process, and waits until it has a price of now.
    pub(crate) async fn start(&mut self) -> anyhow::Result<SocketAddr> {
        self.process = None;
        let entrance = self.limit.as_ref().map_or_else(|| "/dev/null".into(), MemoryLimit::entrance);
        let shell = self.command("/bin/sh").args(["-c", "echo $$ >\"$0\"; exec \"$@\""]).arg(entrance);
        let process = shell.arg(&self.binary).arg("run").start()?;
        let url = process.url(PATIENCE).await?;
        let server = url.trim_start_matches("http://").parse()?;
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let price = format!("{url}/v1/prices/{PAIR}?max_age=10s");
        let fresh = async || client.get(&price).send().await.ok().filter(|answer| answer.status() == 200);
        poll_until(PATIENCE, fresh).await.with_context(|| process.lines().join("\n"))?;
        self.process = Some(process);
        Ok(server)
    }

    /// Ends the process with a signal, or kills it.
    pub(crate) async fn end(&mut self, gently: bool) -> anyhow::Result<()> {
        let mut process = self.process.take().context("a process")?;
        if gently {
            process.signal("TERM")?;
            let status = process.wait_exit(PATIENCE).await?;
            ensure!(status.success(), "after SIGTERM: {status}\n{}", process.lines().join("\n"));
        } else {
            process.kill();
        }
        Ok(())
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let process = self.process.as_ref().context("a process")?;
        usage(process.id()).with_context(|| process.lines().join("\n"))
    }

    /// The CPU time that the process has used.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        cpu_time(self.process.as_ref().context("a process")?.id())
    }

    /// How often the kernel has killed the process, as far as there is a limit.
    pub(crate) fn kills(&self) -> anyhow::Result<u64> {
        self.limit.as_ref().map_or(Ok(0), MemoryLimit::kills)
    }

    /// The most memory that the process and its files have used, in MiB.
    pub(crate) fn peak(&self) -> anyhow::Result<u64> {
        Ok(self.limit.as_ref().map_or(Ok(0), MemoryLimit::peak)? / 1_024 / 1_024)
    }
}
