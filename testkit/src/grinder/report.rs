//! The report of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::audit::Findings;

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How long the run took.
    pub took: Duration,
    /// How many times each step was performed, by the name of the step.
    pub done: BTreeMap<String, usize>,
    /// What the log contained at the end.
    pub log: Findings,
    /// The number of records that were the same on every server at the last check.
    pub replicated: usize,
    /// How many responses of pods were compared with the log.
    pub compared: usize,
    /// How many checks there were.
    pub checks: usize,
    /// Descriptions of what was wrong.
    pub failures: Vec<String>,
}

impl Report {
    /// Counts a step.
    pub(super) fn count(&mut self, what: &str) {
        self.add(what, 1);
    }

    /// Counts several steps.
    pub(super) fn add(&mut self, what: &str, times: usize) {
        if times > 0 {
            *self.done.entry(what.to_owned()).or_default() += times;
        }
    }

    /// The number of performed steps whose names begin with this text.
    #[must_use]
    pub fn total(&self, begins: &str) -> usize {
        self.done.iter().filter(|(what, _)| what.starts_with(begins)).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { ticks, gaps, leads, leaders, slots } = self.log;
        writeln!(formatter, "seed {}, {:.0} s", self.seed, self.took.as_secs_f64())?;
        for (what, count) in &self.done {
            writeln!(formatter, "  {count:>6}  {what}")?;
        }
        writeln!(
            formatter,
            "log: {slots} slots covered, by {ticks} ticks and {gaps} gaps; {leads} leads, {leaders} changes of leader"
        )?;
        writeln!(
            formatter,
            "checks: {}; responses of pods compared with the log: {}; records that are the same on every server: {}",
            self.checks, self.compared, self.replicated
        )?;
        match self.failures.as_slice() {
            [] => write!(formatter, "nothing was wrong"),
            failures => {
                writeln!(formatter, "{} FAILURES", failures.len())?;
                failures.iter().try_for_each(|failure| writeln!(formatter, "- {failure}"))
            }
        }
    }
}
