//! What was done in a run, and what was found.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::audit::Findings;

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How long it took.
    pub took: Duration,
    /// How often each thing was done.
    pub done: BTreeMap<String, usize>,
    /// What the log held at the end.
    pub log: Findings,
    /// Records that the last check found to be the same on every server.
    pub replicated: usize,
    /// How many answers and claims of pods were held against the log.
    pub compared: usize,
    /// How often log and pods were checked at rest.
    pub checks: usize,
    /// What was wrong.
    pub failures: Vec<String>,
}

impl Report {
    /// Counts something that was done.
    pub(super) fn count(&mut self, what: &str) {
        self.add(what, 1);
    }

    /// Counts something that was done so often.
    pub(super) fn add(&mut self, what: &str, times: usize) {
        if times > 0 {
            *self.done.entry(what.to_owned()).or_default() += times;
        }
    }

    /// How often that was done, over everything whose name begins so.
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
            "log: {slots} slots covered, by {ticks} ticks and {gaps} gaps; {leads} terms, {leaders} changes of leader"
        )?;
        writeln!(
            formatter,
            "checks: {} at rest, {} answers and claims of pods held against the log, {} records the same on every server",
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
