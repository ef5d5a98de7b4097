//! How it looks, and where it goes.
//!
//! On a terminal there is the [table](super::table), drawn over itself again and again. Anywhere else there is one line an event on standard output, and how the connection stands on standard error.

use std::io::{self, IsTerminal, Write};

use common::domain::Timestamp;
use tokio::time::Instant;

use super::{
    state::{Shown, State},
    table::{Size, table},
    text::{connection, line},
};

/// How it is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// A line a pair, in colour or not.
    Table { colour: bool },
    /// A line an event.
    Plain,
    /// The events as they come.
    Json,
}

impl Look {
    /// What fits this process: standard output tells, and `NO_COLOR` where it is set and not empty.
    pub(super) fn of_process(plain: bool, json: bool) -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        match (json, plain || !io::stdout().is_terminal()) {
            (true, _) => Self::Json,
            (false, true) => Self::Plain,
            (false, false) => Self::Table { colour },
        }
    }
}

/// Where it is shown.
pub(super) struct Screen {
    look: Look,
    /// For what was asked for.
    output: Box<dyn Write + Send>,
    /// For how it goes, where that is not on the table.
    notes: Box<dyn Write + Send>,
    /// What the terminal has room for now.
    size: Box<dyn Fn() -> Size + Send>,
    /// Lines of the table that are there now, and the room that they were drawn in.
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

    /// An event has come.
    pub(super) fn event(&mut self, shown: &Shown, data: &str) -> io::Result<()> {
        match self.look {
            Look::Table { .. } => Ok(()),
            Look::Plain => self.put(&format!("{}\n", line(shown))),
            Look::Json => self.put(&format!("{data}\n")),
        }
    }

    /// The connection is another one, or none.
    pub(super) fn status(&mut self, state: &State) {
        if !matches!(self.look, Look::Table { .. }) {
            // Who cannot see it misses no event.
            let _ = writeln!(self.notes, "tickwell: {}", connection(&state.connection, Instant::now()));
        }
    }

    /// Draws the table again, where there is one.
    pub(super) fn redraw(&mut self, state: &State, now: Timestamp) -> io::Result<()> {
        let Look::Table { colour } = self.look else { return Ok(()) };
        let size = (self.size)();
        let lines = table(state, now, size, colour);
        // A line is a line without wrapping, even one with characters that are wider than others.
        let mut text = "\x1b[?7l".to_owned();
        match self.drawn {
            Some((drawn, before)) if before == size => text.push_str(&format!("\x1b[{drawn}A")),
            // Where a terminal has put what was there, once it has another size, nobody knows.
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
