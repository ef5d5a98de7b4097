//! The command line of the grinder. The grinder kills and pauses the processes of a feed, damages their stores and
//! changes their clocks, all at random. It checks the log and the pods' responses.

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use testkit::grinder::{self, Options};

/// Runs a nats-server, two pollers and some pods with a fake upstream, and disturbs them at random.
///
/// The same seed repeats the same steps in the same order. If anything is wrong, the exit code is 1, and the logs and
/// stores of the processes are kept.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many minutes to run.
    minutes: u32,
    /// The seed of the random steps.
    seed: u64,
    /// The tickwell binary.
    #[arg(long)]
    binary: PathBuf,
    /// Use three nats-servers and three replicas instead of one.
    #[arg(long)]
    cluster: bool,
    /// Create the NATS stream with this compression before the pollers start. With s2, a run with --cluster is
    /// expected to find damage.
    #[arg(long, value_parser = ["none", "s2"])]
    compression: Option<String>,
    /// How many pods to run.
    #[arg(long, default_value_t = 3)]
    pods: usize,
    /// How many steps there are between two checks of everything.
    #[arg(long, default_value_t = 100)]
    steps: usize,
    /// Kinds of steps to leave out: kill, pause, restart, delete, corrupt, jump.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Run up to this many rounds of rollbacks instead of random steps. In each round, two of the three servers get
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
    // The directory is deleted only after a successful run, so that it is still there after a panic.
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
        // Writing fails if nobody reads the output any more. The run continues nevertheless.
        let _printed = writeln!(stdout(), "{line}");
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
