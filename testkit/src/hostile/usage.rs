//! The memory and the descriptors of a process, from `/proc`.

use std::{fs, path::Path};

use anyhow::Context as _;

/// What a process uses at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory without the pages of files, in bytes.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

/// Reads what a process uses.
///
/// # Errors
///
/// Fails if the process has exited, or belongs to another user.
pub fn usage(process: u32) -> anyhow::Result<Usage> {
    let folder = Path::new("/proc").join(process.to_string());
    let status = fs::read_to_string(folder.join("status"))?;
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes: u64 = anonymous.context("RssAnon")?.trim().trim_end_matches(" kB").parse()?;
    Ok(Usage { memory: kilobytes * 1_024, descriptors: fs::read_dir(folder.join("fd"))?.count() })
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
