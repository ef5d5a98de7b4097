//! A progress line on standard error, if that is a terminal.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use common::text::one_line;
use tokio::time::Instant;

/// The shortest time between two updates.
const PAUSE: Duration = Duration::from_millis(200);

/// The unit in which sizes are shown.
pub(crate) const MEGABYTE: u64 = 1_000_000;

/// One line on standard error that is updated in place. Shows nothing if standard error is not a terminal.
pub(crate) struct Progress {
    is_terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { is_terminal: stderr().is_terminal(), shown: None }
    }

    /// Updates the line, unless it was updated a moment ago.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.is_terminal && self.shown.is_none_or(|shown| shown.elapsed() >= PAUSE) {
            // A failure is ignored: the command can do its work without showing progress.
            let _ = write!(stderr(), "\r\x1b[K{}", one_line(&text()));
            self.shown = Some(Instant::now());
        }
    }

    /// Removes the line, so that other output can follow.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How much of something has been copied.
pub(crate) fn far(taken: u64, length: Option<u64>) -> String {
    let megabytes = taken / MEGABYTE;
    match length.filter(|length| *length > 0) {
        Some(length) => {
            let percent = u128::from(taken) * 100 / u128::from(length);
            format!("{percent} %, {megabytes} of {} MB", length / MEGABYTE)
        }
        None => format!("{megabytes} MB"),
    }
}
