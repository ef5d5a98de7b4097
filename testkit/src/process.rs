//! The real binary, as an operator runs it: settings in, log lines out, signals.
//!
//! What a process wrote is in every error from here, and a test that panics while it runs prints it.

mod log;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::Value;

use crate::wait::poll_until;
use log::LineLog;

/// Settings of Tickwell begin so. The ones of whoever runs the tests must not reach the binary under test.
const SETTINGS_PREFIX: &str = "TICKWELL__";

/// The signals that [`Tickwell::signal`] sends.
const SIGNALS: [&str; 4] = ["TERM", "INT", "STOP", "CONT"];

/// What will be started; made by [`Tickwell::command`].
#[derive(Debug)]
pub struct TickwellCommand {
    command: Command,
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Tickwell {
    child: Child,
    log: Arc<LineLog>,
}

impl TickwellCommand {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Sets environment variables.
    #[must_use]
    pub fn envs(mut self, pairs: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>) -> Self {
        self.command.envs(pairs);
        self
    }

    /// Starts the process.
    ///
    /// # Errors
    ///
    /// Fails if the program or its working directory is not there.
    pub fn start(mut self) -> anyhow::Result<Tickwell> {
        let mut child = self.command.spawn().with_context(|| format!("starting {:?}", self.command))?;
        let log = Arc::new(LineLog::default());
        log::read_lines(&log, child.stdout.take().context("stdout is piped")?);
        log::read_lines(&log, child.stderr.take().context("stderr is piped")?);
        Ok(Tickwell { child, log })
    }
}

impl Tickwell {
    /// Prepares to run `binary` (a test's `env!("CARGO_BIN_EXE_tickwell")`) in a working directory.
    ///
    /// The environment is the test's own, without the settings and the log filter of whoever runs it.
    #[must_use]
    pub fn command(binary: impl AsRef<OsStr>, working_directory: &Path) -> TickwellCommand {
        let mut command = Command::new(binary);
        command.current_dir(working_directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let is_setting = |name: &OsString| name.to_string_lossy().starts_with(SETTINGS_PREFIX);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name) || name == "RUST_LOG") {
            command.env_remove(name);
        }
        TickwellCommand { command }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines written so far to stdout and stderr, in the order they were read, the newest 20,000.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Waits for a line that `wanted` accepts, among those already written and those to come.
    ///
    /// # Errors
    ///
    /// Fails if the deadline passes or the process ends its output first. The error contains the log.
    pub async fn wait_for_line(
        &self,
        wanted: impl Fn(&str) -> bool,
        deadline: Duration,
    ) -> anyhow::Result<String> {
        let mut next = 0;
        let outcome = poll_until(deadline, async || {
            // Asked before the lines are looked at: after it no further line can come.
            let is_complete = self.log.is_complete();
            let (lines, end) = self.log.lines_since(next);
            next = end;
            match lines.into_iter().find(|line| wanted(line)) {
                Some(line) => Some(Ok(line)),
                None => is_complete.then(|| Err(anyhow!("the output ended"))),
            }
        })
        .await;
        outcome
            .unwrap_or_else(|| Err(anyhow!("waited {deadline:?}")))
            .with_context(|| format!("no such line; the process wrote:\n{}", self.log))
    }

    /// Waits for the line `{"event":"serving","url":…}` and returns its `url`.
    ///
    /// # Errors
    ///
    /// Fails like [`Tickwell::wait_for_line`].
    pub async fn url(&self, deadline: Duration) -> anyhow::Result<String> {
        let line = self.wait_for_line(|line| serving_url(line).is_some(), deadline).await?;
        serving_url(&line).context("the line just found")
    }

    /// Kills the process as a crash would (SIGKILL), and returns when it is gone. Does nothing to a dead one.
    pub fn kill(&mut self) {
        // Both fail only for a process that is gone already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// Sends `TERM`, `INT`, `STOP` or `CONT`.
    ///
    /// # Errors
    ///
    /// Fails if the signal is none of these, the process has ended, or it cannot be sent.
    pub fn signal(&mut self, signal: &str) -> anyhow::Result<()> {
        ensure!(SIGNALS.contains(&signal), "{signal:?} is not one of {SIGNALS:?}");
        if let Some(status) = self.child.try_wait()? {
            // Its id may be another process's by now.
            bail!("the process has ended with {status}; it wrote:\n{}", self.log);
        }
        send_signal(self.id(), signal)
    }

    /// Whether the process is still there.
    ///
    /// # Errors
    ///
    /// Fails if the system does not say.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until the process has ended, and its output too, so that [`Tickwell::lines`] is complete.
    ///
    /// # Errors
    ///
    /// Fails if the deadline passes first. The error contains the log.
    pub async fn wait_exit(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let (child, log) = (&mut self.child, &self.log);
        let outcome = poll_until(deadline, async || match child.try_wait() {
            Ok(status) => status.filter(|_| log.is_complete()).map(Ok),
            Err(error) => Some(Err(anyhow::Error::from(error))),
        })
        .await;
        outcome
            .unwrap_or_else(|| Err(anyhow!("waited {deadline:?}")))
            .with_context(|| format!("no exit; the process wrote:\n{}", self.log))
    }
}

impl Drop for Tickwell {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("process {} wrote:\n{}", self.id(), self.log);
        }
    }
}

/// Sends a signal to a process that has not been waited for.
pub(crate) fn send_signal(id: u32, signal: &str) -> anyhow::Result<()> {
    // The shell's own `kill`, for not every system has the program.
    let status = Command::new("/bin/sh").arg("-c").arg(format!("kill -s {signal} {id}")).status()?;
    ensure!(status.success(), "kill -s {signal}: {status}");
    Ok(())
}

/// The address in a line that says the process is serving. JSON loggers differ in where they put fields.
fn serving_url(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let field = |name: &str| line.get(name).or_else(|| line.get("fields")?.get(name));
    (field("event")? == "serving").then(|| field("url")?.as_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests;
