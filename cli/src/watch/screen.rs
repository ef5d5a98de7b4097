//! Writes to the terminal.
//!
//! On a terminal, the [table](super::table) is redrawn in place. Otherwise each event is a line on standard output, and
//! changes of the connection are lines on standard error.

use std::io::{self, IsTerminal, Write};

use common::domain::Timestamp;
use tokio::time::Instant;

use super::{
    state::{Shown, State},
    table::{Size, table},
    text::{connection, line},
};

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// A table with one line per pair.
    Table { colour: bool },
    /// One line per event.
    Plain,
    /// The events as received, one JSON object per line.
    Json,
}

impl Look {
    /// The look for this process: a table if standard output is a terminal, without colour if `NO_COLOR` is set.
    pub(super) fn of_process(plain: bool, json: bool) -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        match (json, plain || !io::stdout().is_terminal()) {
            (true, _) => Self::Json,
            (false, true) => Self::Plain,
            (false, false) => Self::Table { colour },
        }
    }
}

/// The outputs.
pub(super) struct Screen {
    look: Look,
    /// For events and the table.
    output: Box<dyn Write + Send>,
    /// For the state of the connection, if there is no table.
    notes: Box<dyn Write + Send>,
    /// The current size of the terminal.
    size: Box<dyn Fn() -> Size + Send>,
    /// The number of lines drawn last, and the size of the terminal at that time.
    drawn: Option<(usize, Size)>,
}

impl Screen {
    pub(super) fn new(
        look: Look,
        output: Box<dyn Write + Send>,
        notes: Box<dyn Write + Send>,
        size: Box<dyn Fn() -> Size + Send>,
    ) -> Self {
        Self { look, output, notes, size, drawn: None }
    }

    /// Shows an event, unless there is a table.
    pub(super) fn event(&mut self, shown: &Shown, data: &str) -> io::Result<()> {
        match self.look {
            Look::Table { .. } => Ok(()),
            Look::Plain => self.put(&format!("{}\n", line(shown))),
            Look::Json => self.put(&format!("{data}\n")),
        }
    }

    /// Reports a change of the connection, unless there is a table.
    pub(super) fn status(&mut self, state: &State) {
        if !matches!(self.look, Look::Table { .. }) {
            // Continue even if standard error is closed: the events matter more.
            let _ = writeln!(self.notes, "tickwell: {}", connection(&state.connection, Instant::now()));
        }
    }

    /// Draws the table, if there is one.
    pub(super) fn redraw(&mut self, state: &State, now: Timestamp) -> io::Result<()> {
        let Look::Table { colour } = self.look else { return Ok(()) };
        let size = (self.size)();
        let lines = table(state, now, size, colour);
        // Turn off line wrapping, so that wide characters cannot break a line in two.
        let mut text = "\x1b[?7l".to_owned();
        match self.drawn {
            Some((drawn, before)) if before == size => text.push_str(&format!("\x1b[{drawn}A")),
            // After a resize, the position of the old lines is unknown, so clear the screen.
            Some(_) => text.push_str("\x1b[H\x1b[2J"),
            None => {}
        }
        for line in &lines {
            text.push_str(&format!("\r\x1b[K{line}\n"));
        }
        text.push_str("\x1b[J\x1b[?7h");
        self.drawn = Some((lines.len(), size));
        self.put(&text)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.output.write_all(text.as_bytes())?;
        self.output.flush()
    }
}
