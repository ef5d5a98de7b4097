//! One poller or pod: a process that is started repeatedly with the same store and clock.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::time::Instant;

use crate::faketime::{self, FakeClock};
use crate::process::Tickwell;

/// How long a process may take to exit after SIGTERM. The limit that the process sets itself is shorter.
const END_DEADLINE: Duration = Duration::from_secs(60);

/// The role of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Poller,
    Pod,
}

/// Settings that all members share.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) binary: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) environment: Vec<(String, String)>,
}

/// A poller or pod, running or not.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) role: Role,
    setting: Setting,
    clock: Option<FakeClock>,
    pub(super) process: Option<Tickwell>,
    pub(super) paused: bool,
    /// When the process was last started or resumed.
    pub(super) undisturbed_since: Instant,
    /// The damage to the member's store since the last check that passed.
    pub(super) damage: Option<String>,
}

impl Member {
    pub(super) fn new(name: String, role: Role, setting: Setting, clock: Option<FakeClock>) -> Self {
        let undisturbed_since = Instant::now();
        Self { name, role, setting, clock, process: None, paused: false, undisturbed_since, damage: None }
    }

    /// The directory of the member's store.
    pub(super) fn data(&self) -> PathBuf {
        self.setting.folder.join(&self.name)
    }

    /// Starts the process unless it is running.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        if self.process.is_none() {
            let command = match self.role {
                Role::Poller => "poller",
                Role::Pod => "api",
            };
            let clock = self.clock.iter().flat_map(FakeClock::environment);
            let process = Tickwell::command(&self.setting.binary, &self.setting.folder)
                .arg(command)
                .env("RUST_BACKTRACE", "0")
                .envs(self.setting.environment.iter().map(|(name, value)| (name, value)))
                .env("TICKWELL__STORE__PATH", self.data())
                .envs(clock);
            self.process = Some(process.start()?);
            self.undisturbed_since = Instant::now();
        }
        Ok(())
    }

    /// Kills the process. Returns whether it was running.
    pub(super) fn kill(&mut self) -> anyhow::Result<bool> {
        let Some(mut process) = self.process.take() else { return Ok(false) };
        process.kill();
        self.save_output(&process, "killed")?;
        Ok(true)
    }

    /// Terminates the process and waits until it has exited. The exit must be successful. Returns whether it was
    /// running.
    pub(super) async fn end(&mut self) -> anyhow::Result<bool> {
        self.resume()?;
        let Some(mut process) = self.process.take() else { return Ok(false) };
        let ended = async {
            process.signal("TERM")?;
            let status = process.wait_exit(END_DEADLINE).await?;
            // A process that has not written its second log line yet does not handle signals, so SIGTERM kills it.
            let lines = process.lines();
            ensure!(status.success() || lines.len() < 2, "{status} after SIGTERM:\n{}", tail(&lines));
            Ok(())
        };
        let ended = ended.await.with_context(|| format!("{} received SIGTERM", self.name));
        self.save_output(&process, "ended")?;
        ended.map(|()| true)
    }

    /// Pauses the process. Returns whether it was running.
    pub(super) fn pause(&mut self) -> anyhow::Result<bool> {
        let Some(process) = self.process.as_mut().filter(|_| !self.paused) else { return Ok(false) };
        process.signal("STOP")?;
        self.paused = true;
        Ok(true)
    }

    /// Resumes the process if it was paused.
    pub(super) fn resume(&mut self) -> anyhow::Result<()> {
        if let Some(process) = self.process.as_mut().filter(|_| self.paused) {
            process.signal("CONT")?;
        }
        self.paused = false;
        self.undisturbed_since = Instant::now();
        Ok(())
    }

    /// Sets the member's clock. Returns whether the clock can be set.
    pub(super) fn set_clock(&self, ahead_seconds: i64) -> anyhow::Result<bool> {
        self.clock.as_ref().map_or(Ok(false), |clock| clock.set(ahead_seconds).map(|()| true))
    }

    /// Fails if the process has exited unexpectedly. A process whose store was damaged may exit because it refuses the
    /// store. In this case, deletes the store, starts the process again and returns `true`.
    pub(super) fn look_after(&mut self) -> anyhow::Result<bool> {
        let Some(process) = self.process.as_mut() else { return Ok(false) };
        if process.is_running()? {
            return Ok(false);
        }
        let lines = process.lines();
        if let Some(process) = self.process.take() {
            self.save_output(&process, "ended unexpectedly")?;
        }
        let panicked = lines.iter().any(|line| line.contains("panicked at"));
        match self.damage.take() {
            Some(_) if !panicked => {
                std::fs::remove_dir_all(self.data())?;
                self.start()?;
                Ok(true)
            }
            damage => bail!(
                "{} ended unexpectedly{}; its last lines:\n{}",
                self.name,
                damage.map(|damage| format!(", its store {damage}")).unwrap_or_default(),
                tail(&lines)
            ),
        }
    }

    /// The URL at which the process listens; `None` until the process has logged the URL.
    pub(super) fn url(&self) -> Option<String> {
        let says = |line: &String| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line.get("event")? == "listening").then(|| line.get("url")?.as_str().map(str::to_owned))?
        };
        self.process.as_ref()?.lines().iter().find_map(says)
    }

    /// The last log lines of the running process.
    pub(super) fn tail(&self) -> String {
        self.process.as_ref().map_or_else(String::new, |process| tail(&process.lines()))
    }

    /// Saves the output of a process, and removes what libfaketime left behind for it.
    fn save_output(&mut self, process: &Tickwell, how: &str) -> anyhow::Result<()> {
        self.paused = false;
        faketime::forget(process.id());
        let mut file =
            OpenOptions::new().create(true).append(true).open(log_file(&self.setting, &self.name))?;
        for line in process.lines() {
            writeln!(file, "{line}")?;
        }
        writeln!(file, "-- {} {how}", process.id())?;
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Ignore errors, because this member is not used any more.
        let _killed = self.kill();
    }
}

fn log_file(setting: &Setting, name: &str) -> PathBuf {
    Path::new(&setting.folder).join(format!("{name}.log"))
}

fn tail(lines: &[String]) -> String {
    const SHOWN_LINES: usize = 15;
    lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or(lines).join("\n")
}
