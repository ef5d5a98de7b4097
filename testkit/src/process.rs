//! Runs the real binary as an operator does: starts it with settings, sends it signals and reads its log lines.
//!
//! Every error contains the output of the process. If a test panics while a process is running, the output of the
//! process is printed.

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

/// The prefixes of Tickwell's settings and of those of OpenTelemetry. Settings in the environment of the test run must not
/// reach the binary under test.
const SETTINGS_PREFIXES: [&str; 2] = ["TICKWELL__", "OTEL_"];

/// The setting that says how much of the past is published first.
const BACKFILL_SPAN: &str = "TICKWELL__BACKFILL__SPAN";

/// The signals that [`Tickwell::signal`] sends.
const SIGNALS: [&str; 5] = ["TERM", "INT", "HUP", "STOP", "CONT"];

/// A process that is not started yet, created by [`Tickwell::command`].
#[derive(Debug)]
pub struct TickwellCommand {
    command: Command,
}

/// A running process. Dropping this kills the process.
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
    /// Fails if the program or its working directory does not exist.
    pub fn start(mut self) -> anyhow::Result<Tickwell> {
        let mut child = self.command.spawn().with_context(|| format!("starting {:?}", self.command))?;
        let log = Arc::new(LineLog::default());
        log::read_lines(&log, child.stdout.take().context("stdout is piped")?);
        log::read_lines(&log, child.stderr.take().context("stderr is piped")?);
        Ok(Tickwell { child, log })
    }
}

impl Tickwell {
    /// A command that runs `binary` (a test's `env!("CARGO_BIN_EXE_tickwell")`) in a working directory.
    ///
    /// It inherits the environment of the test, except for Tickwell's settings and the log filter. Nothing is backfilled,
    /// unless the command is given another span.
    #[must_use]
    pub fn command(binary: impl AsRef<OsStr>, working_directory: &Path) -> TickwellCommand {
        let mut command = Command::new(binary);
        command.current_dir(working_directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let is_setting = |name: &OsString| {
            SETTINGS_PREFIXES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix))
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name) || name == "RUST_LOG") {
            command.env_remove(name);
        }
        // Most tests expect that the first record of a log is a live one. Tests of the past set another span.
        command.env(BACKFILL_SPAN, "off");
        TickwellCommand { command }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The newest 20,000 lines written to stdout and stderr, in the order in which they were read.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Waits for a line that `wanted` accepts. Lines that were written before are included.
    ///
    /// # Errors
    ///
    /// Fails if the deadline passes or the output ends before there is such a line. The error contains the log.
    pub async fn wait_for_line(
        &self,
        wanted: impl Fn(&str) -> bool,
        deadline: Duration,
    ) -> anyhow::Result<String> {
        let mut next = 0;
        let outcome = poll_until(deadline, async || {
            // Check this before reading the lines. If the output is already complete here, no line is missed below.
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

    /// Kills the process as a crash would (SIGKILL), and returns when it has exited. Does nothing if it has already
    /// exited.
    pub fn kill(&mut self) {
        // Both fail only if the process has already exited.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// Sends `TERM`, `INT`, `STOP` or `CONT`.
    ///
    /// # Errors
    ///
    /// Fails if the signal is not one of these, if the process has exited, or if the signal cannot be sent.
    pub fn signal(&mut self, signal: &str) -> anyhow::Result<()> {
        ensure!(SIGNALS.contains(&signal), "{signal:?} is not one of {SIGNALS:?}");
        if let Some(status) = self.child.try_wait()? {
            // Do not send the signal, because another process may have the same id by now.
            bail!("the process has ended with {status}; it wrote:\n{}", self.log);
        }
        send_signal(self.id(), signal)
    }

    /// Whether the process has not exited yet.
    ///
    /// # Errors
    ///
    /// Fails if the operating system does not return the status of the process.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until the process has exited and its output has ended. [`Tickwell::lines`] is then complete.
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
    // Use the shell's built-in `kill`, because some systems do not have `kill` as a program.
    let status = Command::new("/bin/sh").arg("-c").arg(format!("kill -s {signal} {id}")).status()?;
    ensure!(status.success(), "kill -s {signal}: {status}");
    Ok(())
}

/// The address in a log line with the event `serving`; `None` for other lines. Its fields may be nested in `fields`.
fn serving_url(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let field = |name: &str| line.get(name).or_else(|| line.get("fields")?.get(name));
    (field("event")? == "serving").then(|| field("url")?.as_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests;
