//! Shows that the alerts fire and clear with real processes.
//!
//! Starts pollers, pods, a nats-server, the fake upstream, and a Prometheus that scrapes the processes and evaluates
//! `container/monitoring/alerts.yaml`. Then it injects one fault after the other, and prints for each alert how long it took
//! to fire and to clear. All durations in the alerts are divided by 20, and the interval between slots is a second.
//!
//! 1. [`prometheus`]: the Prometheus, and its alerts with short durations.
//! 2. [`stage`]: the other processes, and the faults.
//! 3. [`trials`]: which fault must cause which alerts.

mod prometheus;
mod stage;
mod trials;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;

/// Injects faults, and shows how long it takes until the alerts fire and clear. Takes about a quarter of an hour.
#[derive(Debug, Parser)]
struct Arguments {
    /// The tickwell binary.
    #[arg(long)]
    binary: PathBuf,
    /// The Prometheus binary.
    #[arg(long)]
    prometheus: PathBuf,
    /// The file with the alerts.
    #[arg(long)]
    alerts: PathBuf,
    /// Inject only the faults whose name contains this text.
    #[arg(long, default_value = "")]
    only: String,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    testkit::trial::exit_code("alert-trial", run(Arguments::parse())).await
}

/// Returns whether every alert fired and cleared.
async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    // Fails if a provider is already installed, which is fine.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let absolute = |path: &PathBuf| path.canonicalize().with_context(|| path.display().to_string());
    let prometheus =
        prometheus::Prometheus::start(&absolute(&arguments.prometheus)?, &arguments.alerts).await?;
    let stage = stage::Stage::start(absolute(&arguments.binary)?, prometheus).await?;
    trials::run(stage, &arguments.only).await
}
