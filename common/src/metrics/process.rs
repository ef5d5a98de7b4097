//! The process's use of CPU, memory and files, with the names that Prometheus' client libraries use. The values come from
//! `/proc`, so there are none on other systems than Linux.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use prometheus::{
    Counter, IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::{DefineError, count};

/// The length of the kernel's clock ticks in `/proc`. Linux has 100 ticks per second on every architecture that we build
/// for, whatever its internal timer does.
const TICK: Duration = Duration::from_millis(10);

/// The kernel reports a limit of at least this size if there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// Reads `/proc` whenever the metrics are scraped.
pub(super) struct Process {
    cpu: Counter,
    /// How much CPU time, in ticks, the counter already has.
    counted: AtomicU64,
    start: IntGauge,
    gauges: Vec<Measured>,
}

/// A gauge, and the function that reads its value.
type Measured = (IntGauge, fn() -> Option<u64>);

impl Process {
    pub(super) fn new() -> Result<Self, DefineError> {
        let gauge = |name: &str, help: &str, read: fn() -> Option<u64>| {
            Ok::<Measured, DefineError>((IntGauge::new(name, help)?, read))
        };
        let gauges = vec![
            gauge("process_resident_memory_bytes", "Memory that is in RAM", || memory("VmRSS:"))?,
            gauge("process_virtual_memory_bytes", "Address space", || memory("VmSize:"))?,
            gauge("process_threads", "Threads", || status("Threads:"))?,
            gauge("process_open_fds", "Open file descriptors", open_files)?,
            gauge("process_max_fds", "The largest allowed number of open file descriptors", max_open_files)?,
            gauge(
                "tickwell_memory_limit_bytes",
                "The memory limit of the container (control group) that the process runs in; 0 if there is none",
                memory_limit,
            )?,
        ];
        let start = IntGauge::new(
            "process_start_time_seconds",
            "When the process started, in seconds since the Unix epoch",
        )?;
        // Read only once, because the result changes when the clock is adjusted, which would look like a restart.
        start.set(count(start_time().unwrap_or_default()));
        let cpu =
            Counter::new("process_cpu_seconds_total", "CPU time of the process, in user and system mode")?;
        Ok(Self { cpu, counted: AtomicU64::new(0), start, gauges })
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let others = [self.cpu.desc(), self.start.desc()].concat();
        self.gauges.iter().flat_map(|(gauge, _)| gauge.desc()).chain(others).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let measured = self.gauges.iter().filter_map(|(gauge, read)| {
            gauge.set(count(read()?));
            Some(gauge.collect())
        });
        let mut families: Vec<MetricFamily> = measured.flatten().collect();
        if let Some(ticks) = cpu_ticks() {
            let new = ticks.saturating_sub(self.counted.fetch_max(ticks, Ordering::Relaxed));
            self.cpu.inc_by(time(new).as_secs_f64());
            families.extend([self.cpu.collect(), self.start.collect()].concat());
        }
        families
    }
}

fn time(ticks: u64) -> Duration {
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// A field of `/proc/self/stat`, by its number in proc(5). Works only for fields after the program's name.
fn stat(number: usize) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name is in parentheses, and may contain spaces and parentheses itself. It is the second field.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_ticks() -> Option<u64> {
    let (user, system) = (stat(14)?, stat(15)?);
    Some(user + system)
}

fn start_time() -> Option<u64> {
    let booted = field(&fs::read_to_string("/proc/stat").ok()?, "btime")?;
    Some(booted + time(stat(22)?).as_secs())
}

fn status(name: &str) -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, name)
}

fn memory(name: &str) -> Option<u64> {
    status(name).map(|kilobytes| kilobytes * 1_024)
}

fn open_files() -> Option<u64> {
    let files = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that is being read.
    u64::try_from(files).ok()?.checked_sub(1)
}

fn max_open_files() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/limits").ok()?, "Max open files")
}

/// The number after a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The limit of this process's control group. Inside a container, that group is the root of the file system.
fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let limit = |folder: &str| fs::read_to_string(format!("/sys/fs/cgroup{folder}/memory.max")).ok();
    let of_version_1 = || fs::read_to_string("/sys/fs/cgroup/memory/memory.limit_in_bytes").ok();
    let text = limit(own).or_else(|| limit("")).or_else(of_version_1).unwrap_or_default();
    // Without a limit, the file says `max`, or contains a very large number.
    Some(text.trim().parse().ok().filter(|bytes| *bytes < NO_LIMIT).unwrap_or_default())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    #[test]
    fn the_numbers_of_this_process_are_plausible() {
        let file = fs::File::open("/proc/self/stat").unwrap();
        let (open, max) = (open_files().unwrap(), max_open_files().unwrap());
        assert!((4..max).contains(&open), "{open} of {max}");
        // Other tests run in the same process and open files too, so the number may have grown meanwhile.
        drop(file);
        let (resident, size) = (memory("VmRSS:").unwrap(), memory("VmSize:").unwrap());
        assert!((1 << 20..size).contains(&resident), "{resident} of {size}");
        assert!(status("Threads:").unwrap() >= 1);
        let now = u64::try_from(SystemClock.now().unix_millis() / 1_000).unwrap();
        let start = start_time().unwrap();
        assert!((now - 86_400..=now + 1).contains(&start), "started at {start}, and now is {now}");
    }

    #[test]
    fn cpu_time_is_counted_once() {
        let process = Process::new().unwrap();
        let counted = || {
            process.collect();
            process.cpu.get()
        };
        let mut sum = 0_u64;
        while counted() < 0.05 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let all = time(process.counted.load(Ordering::Relaxed)).as_secs_f64();
        assert_eq!(format!("{:.3}", process.cpu.get()), format!("{all:.3}"));
    }
}
