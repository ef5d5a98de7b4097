//! How it looks, and where it goes.
//!
//! On a terminal there is one line a pair, written over and over, and below it how the connection stands. Anywhere
//! else there is one line an event on standard output, and how the connection stands on standard error.

use std::io::{self, IsTerminal, Write};

use common::domain::{Origin, Price, Timestamp, Words};
use tokio::time::Instant;

use super::{
    event::{Body, Event},
    state::{Connection, Row, Shown, State},
};

/// A price is stale when so many intervals have passed since its slot.
const STALE_AFTER: u32 = 3;

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
    /// Lines of the table that are there now.
    drawn: usize,
}

impl Screen {
    pub(super) fn new(look: Look, output: Box<dyn Write + Send>, notes: Box<dyn Write + Send>) -> Self {
        Self { look, output, notes, drawn: 0 }
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
        let mut lines: Vec<String> = state.rows.iter().map(|row| table_line(row, now, colour)).collect();
        lines.push(connection(&state.connection, Instant::now()));
        // Without wrapping, a line of the table is one of the terminal, however narrow it is.
        let mut text = "\x1b[?7l".to_owned();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for line in &lines {
            text.push_str(&format!("\r\x1b[K{line}\n"));
        }
        text.push_str("\x1b[?7h");
        self.drawn = lines.len();
        self.put(&text)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.output.write_all(text.as_bytes())?;
        self.output.flush()
    }
}

/// A pair on one line.
pub(super) fn table_line(row: &Row, now: Timestamp, colour: bool) -> String {
    let pair = format!("{:<9}", row.pair.to_string());
    let Some(newest) = &row.newest else { return format!("{pair}  waiting for a price") };
    let mut parts = vec![pair];
    if let Some(tick) = row.tick {
        parts.push(format!("{:>14}", tick.price.to_string()));
        parts.push(painted(
            &format!("{:<12}", change(tick.before, tick.price)),
            tick.before,
            tick.price,
            colour,
        ));
        parts.push(tick.slot.to_string());
        if is_of_now(newest) {
            let age = now.since(tick.slot);
            let stale = age > tick.interval.duration() * STALE_AFTER;
            parts.push(format!("{} ago{}", in_words(age.as_secs()), if stale { "  stale" } else { "" }));
        }
    }
    if let Body::Gap { from, cause } = &newest.body {
        parts.push(format!("no price since {from}: {cause}"));
    }
    parts.extend(label(newest));
    parts.join("  ")
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
        Body::Gap { from, cause } => parts.push(format!("gap {cause} from {from}")),
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
            let why: String = why.chars().take(MAX_REASON).collect();
            let left = until.saturating_duration_since(now);
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            format!("not connected: {why}; trying {next} in {seconds}s")
        }
    }
}

/// How far a price is from the one before, by arrow and sign.
fn change(before: Option<Price>, price: Price) -> String {
    let Some(before) = before else { return String::new() };
    let difference = price.decimal() - before.decimal();
    match before.cmp(&price) {
        std::cmp::Ordering::Less => format!("▲ +{difference}"),
        std::cmp::Ordering::Greater => format!("▼ −{}", difference.abs()),
        std::cmp::Ordering::Equal => "= 0".to_owned(),
    }
}

fn painted(text: &str, before: Option<Price>, price: Price, colour: bool) -> String {
    match before.map(|before| before.cmp(&price)) {
        Some(std::cmp::Ordering::Less) if colour => format!("\x1b[32m{text}\x1b[0m"),
        Some(std::cmp::Ordering::Greater) if colour => format!("\x1b[31m{text}\x1b[0m"),
        _ => text.to_owned(),
    }
}

/// What must be said of prices that are not of a market.
fn label(event: &Event) -> Option<String> {
    (event.origin != Origin::Live.as_str()).then(|| event.origin.clone())
}

/// Whether the wall clock says how old it is. A recording has its own time.
fn is_of_now(event: &Event) -> bool {
    event.origin != Origin::Replay.as_str()
}

/// A number of seconds in its largest units.
fn in_words(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60)];
    let largest = units.into_iter().find(|(_, length)| seconds >= *length);
    largest.map_or_else(|| format!("{seconds}s"), |(unit, length)| format!("{}{unit}", seconds / length))
}
