//! The grinder disturbs the processes of a feed at random, reproducibly by a seed, and checks that the log and every
//! pod's responses are correct.
//!
//! In reading order:
//!
//! 1. [`Options`]: what to run, and for how long.
//! 2. `plan`: chooses the next step. The choice depends only on the seed.
//! 3. `stage`: the servers and processes, and what can be done to them; `member` is one process.
//! 4. `play`: the main loop, which performs steps, undoes them when they are due, observes the pods, and starts checks.
//! 5. `log`: the log, read directly from the server.
//! 6. `probe`: responses of pods between checks; `answers`: what they should have been.
//! 7. `check`: repairs everything, and compares the log with all responses; `servers`: restarts the servers and
//!    compares their copies of the log.
//! 8. `rollback`: runs rounds instead of the plan. In each round, servers of a cluster get older copies of their stores
//!    back. `round` makes the random choices of a round.
//! 9. [`Report`]: what was done, and what was wrong.
//!
//! The first failure ends the run, because further steps would only hide its cause.

mod answers;
mod check;
mod log;
mod member;
mod plan;
mod play;
mod probe;
mod report;
mod rollback;
mod round;
mod servers;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

pub use report::Report;

/// What to run, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// The tickwell binary.
    pub binary: PathBuf,
    /// The directory for stores, clocks and logs of the processes. It must exist, and is not deleted.
    pub folder: PathBuf,
    /// The seed of all random choices.
    pub seed: u64,
    /// How long to run. The steps before a check, and the check, are always completed, so that even a slow machine
    /// performs some.
    pub duration: Duration,
    /// How many steps there are between two checks.
    pub steps_between_checks: usize,
    /// Run three servers instead of one.
    pub cluster: bool,
    /// Create the NATS stream with this compression before the pollers start. If `None`, the pollers create the stream.
    pub compression: Option<String>,
    /// The number of pods.
    pub pods: usize,
    /// Kinds of steps to leave out, such as `kill` or `jump`.
    pub without: Vec<String>,
    /// If set, run up to this many rounds instead of steps. In each round, two of three servers lose their newest
    /// records.
    pub rollback: Option<usize>,
}

/// Runs the grinder. Calls `tell` with a line for each step.
///
/// # Errors
///
/// Fails if the grinder cannot start, for example without nats-server. Later failures are in the report.
pub async fn run(options: Options, mut tell: impl FnMut(&str)) -> anyhow::Result<Report> {
    play::Play::start(options, &mut tell).await?.run(&mut tell).await
}
