//! The grinder: everything that can happen to the processes of a feed, at random, from a seed, for as long as
//! one likes; and then whether the log and every pod's answers are what they must be.
//!
//! In reading order:
//!
//! 1. [`Options`]: what is ground, and for how long.
//! 2. `plan`: what happens next. It depends on the seed alone.
//! 3. `stage`: the servers and the processes, and what can be done to them; `member` is one process.
//! 4. `play`: the loop: a step of the plan, what has fallen due, a look at the pods, and now and then a check.
//! 5. `log`: the log, read straight from the server.
//! 6. `probe`: answers that pods gave in the middle of it all; `answers`: what they must have been.
//! 7. `check`: everything is put right, the log comes to rest, and is compared with all that is said of it;
//!    `servers`: what the servers must come through before that.
//! 8. `rollback`: instead of the plan, rounds in which servers of a cluster get older copies of their stores back;
//!    `round` is what happens in one of them.
//! 9. [`Report`]: what was done, and what was found.
//!
//! A failure ends the run: what follows from it would only hide it.

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

/// What is ground, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// The tickwell binary.
    pub binary: PathBuf,
    /// Stores, clocks and logs of the processes go here. It must exist, and stays.
    pub folder: PathBuf,
    /// What happens is drawn from it.
    pub seed: u64,
    /// No step begins after so long; the last check does.
    pub duration: Duration,
    /// Steps from one check to the next.
    pub steps_between_checks: usize,
    /// Three servers instead of one.
    pub cluster: bool,
    /// The stream is created with this compression before the pollers start; without it, the pollers create it.
    pub compression: Option<String>,
    /// How many pods.
    pub pods: usize,
    /// Kinds of steps that are left out, by their names in the report.
    pub without: Vec<String>,
    /// Instead of these steps, so many rounds in which two of three servers lose their newest records.
    pub rollback: Option<usize>,
}

/// Grinds. Each step is told as a line.
///
/// # Errors
///
/// When it could not be begun: no server, no binary. What goes wrong later is in the report.
pub async fn run(options: Options, mut tell: impl FnMut(&str)) -> anyhow::Result<Report> {
    play::Play::start(options, &mut tell).await?.run(&mut tell).await
}
