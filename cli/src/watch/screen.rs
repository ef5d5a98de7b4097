//! How it looks, and where it goes.
//!
//! On a terminal there is the [table](super::table), drawn over itself again and again. Anywhere else there is one line an event on standard output, and how the connection stands on standard error.

use std::io::{self, IsTerminal, Write};

use common::domain::{Origin, Price, Timestamp, Words};
use tokio::time::Instant;

use super::{
    event::{Body, Event},
    state::{Connection, Shown, State},
    table::{Size, table},
};

/// Longer reasons are cut off; a line has to be read at a glance.
const MAX_REASON: usize = 100;

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

/// An event on one line.
pub(super) fn line(shown: &Shown) -> String {
    let event = &shown.event;
    let mut parts = vec![event.slot.to_string(), event.pair.to_string()];
    match &event.body {
        Body::Tick(price) => {
            parts.push(price.to_string());
            parts.extend(Some(change(shown.before, *price)).filter(|change| !change.is_empty()));
        }
        Body::Gap { from, cause } => parts.push(format!("gap {} from {from}", clean(cause))),
    }
    parts.extend(label(event));
    parts.join(" ")
}

/// How the connection stands.
pub(super) fn connection(connection: &Connection, now: Instant) -> String {
    match connection {
        Connection::Beginning => "connecting".to_owned(),
        Connection::Connected { url } => format!("connected to {url}"),
        Connection::Lost { why, next, until } => {
            let why: String = clean(why).chars().take(MAX_REASON).collect();
            let left = until.saturating_duration_since(now);
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            format!("not connected; next try in {seconds}s at {next}; reason: {why}")
        }
    }
}

/// A text of a stranger's, without what a terminal would obey.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect()
}

/// How far a price is from the one before, by arrow and sign.
pub(super) fn change(before: Option<Price>, price: Price) -> String {
    let Some(before) = before else { return String::new() };
    let difference = price.decimal() - before.decimal();
    match before.cmp(&price) {
        std::cmp::Ordering::Less => format!("▲ +{difference}"),
        std::cmp::Ordering::Greater => format!("▼ −{}", difference.abs()),
        std::cmp::Ordering::Equal => "= 0".to_owned(),
    }
}

/// What must be said of prices that are not of a market.
pub(super) fn label(event: &Event) -> Option<String> {
    (event.origin != Origin::Live.as_str()).then(|| clean(&event.origin))
}

/// Whether the wall clock says how old it is. A recording has its own time.
pub(super) fn is_of_now(event: &Event) -> bool {
    event.origin != Origin::Replay.as_str()
}
