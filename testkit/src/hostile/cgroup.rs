//! A limit on the memory of a process, by a control group of version 1 or 2. Only root may create one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Where the groups that limit memory are, by version: the directory, the file with the limit, the file with the number of
/// kills, and the file with the maximum usage.
const VERSIONS: [(&str, &str, &str, &str); 2] = [
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control", "memory.max_usage_in_bytes"),
    ("/sys/fs/cgroup", "memory.max", "memory.events", "memory.peak"),
];

/// A group with a limit. Dropping it removes it, if its processes have exited.
#[derive(Debug)]
pub struct MemoryLimit {
    folder: PathBuf,
    kills: &'static str,
    peak: &'static str,
}

impl MemoryLimit {
    /// Creates a group.
    ///
    /// # Errors
    ///
    /// Fails if this system or user cannot create such groups.
    pub fn create(name: &str, bytes: u64) -> anyhow::Result<Self> {
        let is_first = Path::new(VERSIONS[0].0).is_dir();
        let (root, limit, kills, peak) = if is_first { VERSIONS[0] } else { VERSIONS[1] };
        if !is_first {
            // Fails if memory is already controlled here, or cannot be. Writing the limit shows which.
            let _enabled = fs::write(Path::new(root).join("cgroup.subtree_control"), "+memory");
        }
        let folder = Path::new(root).join(name);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::write(folder.join(limit), bytes.to_string()),
        }
        .with_context(|| format!("limiting the memory in {}", folder.display()))?;
        Ok(Self { folder, kills, peak })
    }

    /// The file to which a process writes its id in order to enter the group.
    #[must_use]
    pub fn entrance(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// How many processes the kernel has killed, because the group had no memory left.
    ///
    /// # Errors
    ///
    /// Fails if the kernel does not report it.
    pub fn kills(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(self.folder.join(self.kills))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(count.context("the line oom_kill")?.trim().parse()?)
    }

    /// The most memory that the group has used, with the pages of files that the kernel may drop.
    ///
    /// # Errors
    ///
    /// Fails if the kernel does not report it.
    pub fn peak(&self) -> anyhow::Result<u64> {
        Ok(fs::read_to_string(self.folder.join(self.peak))?.trim().parse()?)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let _removed = fs::remove_dir(&self.folder);
    }
}
