//! Starts the processes of one experiment and prints what happens.

use std::io::{Write as _, stdout};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use testkit::fault::Assignment;
use testkit::market::WalkMarket;
use testkit::process::Tickwell;
use testkit::upstream::FakeUpstream;
use testkit::wait::poll_until;
use testkit::{Venue, clock};

use super::{Arguments, metrics, table};

/// The pair that is polled. There is only one, so that each slot is one line of output.
const PAIR: &str = "BTC-USD";

/// After how many slots an unchanged price gets the verdict `frozen`. The number is low, so that the verdict appears
/// even in a short run.
const FROZEN_AFTER_SLOTS: u32 = 3;

/// Added to every deadline, because the machine may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running Tickwell process, and a client for requests to it.
struct Subject {
    process: Tickwell,
    url: String,
    client: reqwest::Client,
}

/// Runs the experiment and prints it. Fails if the reader of the output stops reading, for example `head`.
pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let market = WalkMarket::new(clock::now_ms().unsigned_abs(), arguments.interval())?;
    let upstream = FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await?;
    let sources = arguments.sources();
    writeln!(stdout(), "starting {}", arguments.binary.display())?;
    let subject = Subject::start(arguments, &upstream, folder.path()).await?;

    writeln!(stdout(), "\n{}", table::header(&sources))?;
    let healthy = subject.watch(1, arguments.healthy, arguments, &sources).await?;
    let metrics_before = metrics::read(&subject.get("/metrics").await?.1);
    let began_ms = clock::now_ms();
    for Assignment { venue, fault } in &arguments.faults {
        upstream.set_fault(*venue, *fault);
        writeln!(stdout(), "  -- from now on {venue} has the fault {fault}")?;
    }
    let watched = arguments.slots - arguments.healthy;
    let next = subject.watch(healthy, watched, arguments, &sources).await?;

    let (_, last) = subject.get(&format!("/v1/ticks/{}", next - 1)).await?;
    writeln!(stdout(), "\nThe last record, /v1/ticks/{}:\n{}", next - 1, pretty(&last))?;
    writeln!(stdout(), "\nMetrics that moved since the faults began:")?;
    for line in metrics::moved(&metrics_before, &metrics::read(&subject.get("/metrics").await?.1)) {
        writeln!(stdout(), "{line}")?;
    }
    let (status, ready) = subject.get("/readyz?verbose").await?;
    writeln!(stdout(), "\n/readyz?verbose returns {status}:\n{}", pretty(&ready))?;
    writeln!(stdout(), "\nRequests:  before the faults  after they began")?;
    for venue in sources {
        let requests = upstream.requests_to(venue);
        let before = requests.iter().filter(|request| request.time_ms < began_ms).count();
        writeln!(stdout(), "  {:<10} {before:>15}  {:>16}", venue.name(), requests.len() - before)?;
    }
    Ok(())
}

impl Subject {
    async fn start(
        arguments: &Arguments,
        upstream: &FakeUpstream,
        folder: &std::path::Path,
    ) -> anyhow::Result<Self> {
        let binary = arguments
            .binary
            .canonicalize()
            .with_context(|| format!("the binary {}", arguments.binary.display()))?;
        let names: Vec<&str> = arguments.sources().into_iter().map(Venue::name).collect();
        let interval = arguments.interval();
        let mut command = Tickwell::command(binary, folder)
            .arg("run")
            .envs(upstream.environment())
            .env("TICKWELL__FEED__PAIRS", PAIR)
            .env("TICKWELL__FEED__SOURCES", names.join(","))
            .env("TICKWELL__FEED__INTERVAL", format!("{}ms", interval.as_millis()))
            .env(
                "TICKWELL__AGGREGATE__FROZEN_AFTER",
                format!("{}ms", (interval * FROZEN_AFTER_SLOTS).as_millis()),
            )
            .env("TICKWELL__API__LISTEN", "127.0.0.1:0")
            .env("TICKWELL__API__RATE_LIMIT", "off")
            .env("TICKWELL__STORE__PATH", folder.join("store"));
        for Assignment { venue, .. } in &arguments.faults {
            // Make each source with a fault a primary source. A fallback is polled only if the other sources do not
            // agree, so its fault might not be seen.
            command =
                command.env(format!("TICKWELL__SOURCES__{}__ROLE", venue.name().to_uppercase()), "primary");
        }
        for setting in &arguments.settings {
            command = command.arg("--set").arg(setting);
        }
        let process = command.start()?;
        let url = process.url(PATIENCE).await?;
        // Fails if a provider is already installed, which is fine.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        Ok(Self { process, url, client })
    }

    /// Prints a line for each of this many slots with quotes, beginning with the record at `first`.
    /// Returns the sequence after the last one.
    async fn watch(
        &self,
        first: u64,
        slots: usize,
        arguments: &Arguments,
        sources: &[Venue],
    ) -> anyhow::Result<u64> {
        let mut next = first;
        let mut seen = 0;
        while seen < slots {
            let record = poll_until(arguments.interval() * 10 + PATIENCE, async || {
                self.record(next).await.transpose()
            });
            let record = record.await.unwrap_or_else(|| {
                anyhow::bail!("no record {next}; tickwell wrote:\n{}", self.process.lines().join("\n"))
            })?;
            next += 1;
            if let Some(row) = table::row(&record, sources) {
                writeln!(stdout(), "{row}")?;
                seen += 1;
            }
        }
        Ok(next)
    }

    /// The record at a sequence; `None` if it does not exist yet.
    async fn record(&self, sequence: u64) -> anyhow::Result<Option<Value>> {
        let (status, body) = self.get(&format!("/v1/ticks/{sequence}")).await?;
        if status == 200 { Ok(Some(serde_json::from_str(&body)?)) } else { Ok(None) }
    }

    async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let response = self.client.get(format!("{}{path}", self.url)).send().await;
        let response = response
            .with_context(|| format!("GET {path}; tickwell wrote:\n{}", self.process.lines().join("\n")))?;
        Ok((response.status().as_u16(), response.text().await?))
    }
}

/// Indents JSON. Other text is returned unchanged.
fn pretty(text: &str) -> String {
    let parsed = serde_json::from_str::<Value>(text).and_then(|json| serde_json::to_string_pretty(&json));
    parsed.unwrap_or_else(|_| text.to_owned())
}
