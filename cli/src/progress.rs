//! How far a long piece of work has come, for whoever sits at a terminal.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use tokio::time::Instant;

/// How often progress is shown.
const PAUSE: Duration = Duration::from_millis(200);

/// The unit in which sizes are shown.
pub(crate) const MEGABYTE: u64 = 1_000_000;

/// One line on standard error that is written over and over. Says nothing where that is no terminal.
pub(crate) struct Progress {
    is_terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { is_terminal: stderr().is_terminal(), shown: None }
    }

    /// Shows how far the work is, if it is time again.
    pub(crate) fn show(&mut self, far: impl FnOnce() -> String) {
        if self.is_terminal && self.shown.is_none_or(|shown| shown.elapsed() >= PAUSE) {
            // Who cannot see it misses nothing.
            let _ = write!(stderr(), "\r\x1b[K{}", far());
            self.shown = Some(Instant::now());
        }
    }

    /// Takes the line away, so that something else can be said.
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
