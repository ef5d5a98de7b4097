//! The grinder from the command line: kills, pauses, damages and misdates a whole feed at random, and tells
//! whether its log and its pods' answers came through.

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use testkit::grinder::{self, Options};

/// Grinds a feed of a nats-server, two pollers and some pods, over a fake upstream.
///
/// The same seed does the same things in the same order. Exits with 1 if anything was wrong; the processes' logs
/// and stores are then kept.
#[derive(Debug, Parser)]
struct Arguments {
    /// For so many minutes.
    minutes: u32,
    /// What happens is drawn from it.
    seed: u64,
    /// The tickwell binary.
    #[arg(long)]
    binary: PathBuf,
    /// Three nats-servers and three replicas instead of one.
    #[arg(long)]
    cluster: bool,
    /// Creates the stream with this compression before the pollers start. With s2 a cluster must fail.
    #[arg(long, value_parser = ["none", "s2"])]
    compression: Option<String>,
    /// How many pods.
    #[arg(long, default_value_t = 3)]
    pods: usize,
    /// Steps from one check of everything to the next.
    #[arg(long, default_value_t = 100)]
    steps: usize,
    /// Kinds of steps to leave out: kill, pause, restart, delete, corrupt, jump.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Instead of these steps, so many rounds (or as many as the minutes allow) in which two of three servers get
    /// older copies of their stores back. Needs --cluster.
    #[arg(long, value_name = "ROUNDS", requires = "cluster")]
    rollback: Option<usize>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("grind: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let Arguments { minutes, seed, binary, cluster, compression, pods, steps, without, rollback } = arguments;
    // Kept until all is known to be well: a panic must not take the traces with it.
    let folder = tempfile::Builder::new().prefix("tickwell-grind-").tempdir()?.keep();
    let options = Options {
        binary,
        folder: folder.clone(),
        seed,
        duration: Duration::from_secs(60) * minutes,
        steps_between_checks: steps,
        cluster,
        compression,
        pods,
        without,
        rollback,
    };
    let report = grinder::run(options, |line| {
        // Whoever reads may stop reading; the grinding goes on.
        let _told = writeln!(stdout(), "{line}");
    })
    .await?;
    writeln!(stdout(), "\n{report}")?;
    if report.failures.is_empty() {
        std::fs::remove_dir_all(folder)?;
        return Ok(true);
    }
    writeln!(stdout(), "logs and stores are in {}", folder.display())?;
    Ok(false)
}
