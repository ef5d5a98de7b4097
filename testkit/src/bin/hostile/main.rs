//! Shows what hostile clients do to the real binary, in a memory limit like that of the Kubernetes manifests.
//!
//! 1. [`stage`]: the process with its history, its limit and its sources.
//! 2. [`attacks`]: the kinds of hostile clients.
//! 3. [`trial`]: runs each kind once, with polite clients beside them. [`soak`]: cycles through all of them, with restarts.

mod attacks;
mod soak;
mod stage;
mod trial;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Runs hostile clients against a process in a memory limit.
#[derive(Debug, Parser)]
struct Arguments {
    /// The tickwell binary. Measure a release build.
    #[arg(long)]
    binary: PathBuf,
    /// The memory limit of the process, in MiB.
    #[arg(long, default_value_t = 512)]
    memory: u64,
    /// How many days of history the process has, with a price for each minute.
    #[arg(long, default_value_t = 350)]
    days: u32,
    /// An environment variable for the process, such as MALLOC_ARENA_MAX=2. May be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, String)>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run each kind of hostile clients once.
    Trial {
        /// How long each kind runs.
        #[arg(long, default_value_t = 15)]
        seconds: u64,
        /// Run only the kinds whose name contains this text.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Cycle through all kinds, and restart the process after each cycle.
    Soak {
        #[arg(long, default_value_t = 60)]
        minutes: u64,
    },
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    testkit::trial::exit_code("hostile", run(Arguments::parse())).await
}

/// Returns whether the process survived and every polite client was served.
async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    // Fails if a provider is already installed, which is fine.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let binary = arguments.binary.canonicalize().with_context(|| arguments.binary.display().to_string())?;
    let mut stage = stage::Stage::new(binary, arguments.memory, arguments.days, arguments.variables).await?;
    match arguments.what {
        What::Trial { seconds, only } => trial::run(&mut stage, Duration::from_secs(seconds), &only).await,
        What::Soak { minutes } => soak::run(&mut stage, Duration::from_secs(minutes * 60)).await,
    }
}

fn variable(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once('=').context("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
