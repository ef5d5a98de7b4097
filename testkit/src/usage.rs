//! The memory and the descriptors of a process, from `/proc`.

use std::{fs, time::Duration};

use anyhow::Context as _;

/// The kernel counts CPU time in hundredths of a second, on every architecture that Tickwell runs on.
const MILLIS_A_TICK: u64 = 10;

/// What a process uses at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory without the pages of files, in bytes.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Usage {
    /// The higher memory and the higher number of descriptors of two moments.
    #[must_use]
    pub fn highest(self, other: Self) -> Self {
        let (memory, descriptors) = (self.memory.max(other.memory), self.descriptors.max(other.descriptors));
        Self { memory, descriptors }
    }
}

/// Reads what a process uses.
///
/// # Errors
///
/// Fails if the process has exited, or belongs to another user.
pub fn usage(process: u32) -> anyhow::Result<Usage> {
    Ok(Usage { memory: kilobytes(process, "RssAnon")? * 1_024, descriptors: descriptors(process)? })
}

/// Reads a kind of memory of a process, by its name in `/proc/PID/status`.
///
/// # Errors
///
/// Fails if the process has exited, or the kernel does not report this kind.
pub fn kilobytes(process: u32, kind: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'));
    Ok(value.with_context(|| kind.to_owned())?.trim().trim_end_matches(" kB").parse()?)
}

/// Reads the CPU time that a process has used.
///
/// # Errors
///
/// Fails if the process has exited.
pub fn cpu_time(process: u32) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the process, in parentheses, may contain spaces. After it, the times are the 12th and the 13th field.
    let (_, fields) = text.rsplit_once(')').context("the name of the process")?;
    let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = times.collect::<Result<Vec<_>, _>>()?.iter().sum();
    Ok(Duration::from_millis(ticks * MILLIS_A_TICK))
}

/// Counts the open descriptors of a process.
///
/// # Errors
///
/// Fails if the process has exited, or belongs to another user.
pub fn descriptors(process: u32) -> anyhow::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{process}/fd"))?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_descriptors() {
        let before = usage(std::process::id()).unwrap();
        let held = (vec![1_u8; 64 * 1_024 * 1_024], fs::File::open("/proc/self/status").unwrap());
        let after = usage(std::process::id()).unwrap();
        assert!(after.memory > before.memory + 32 * 1_024 * 1_024, "{before:?} {after:?}");
        assert!(after.descriptors > 0 && held.0.iter().all(|byte| *byte == 1));
    }
}
