//! The table: one line per pair and one for the connection, fitted to the size of the terminal.
//!
//! If there is little room, the most important facts come first: that a price is simulated, missing or late. A price is
//! never truncated: it is shown completely or not at all.

use std::cmp::Ordering;

use common::{
    domain::{Price, Timestamp},
    text::one_line,
};
use tokio::time::Instant;

use super::{
    event::Body,
    state::{Row, State, Tick},
    text::{change, connection, is_of_now, label},
};

/// A price is late if more than this number of intervals has passed since its slot.
const LATE_AFTER: u32 = 3;

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

impl Size {
    /// The size to use if the terminal does not report one.
    pub(super) const USUAL: Self = Self { columns: 80, lines: 24 };
}

/// How much of a pair is shown. Each level leaves out more than the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    /// Everything.
    Full,
    /// Times are shown without their date.
    ShortTimes,
    /// Also leaves out the slot, and makes columns as narrow as possible.
    NoSlot,
    /// Also leaves out the change of the price and the cause of a gap.
    NoChange,
    /// Shows the price last, and only if there is room for it.
    Minimal,
}

impl Detail {
    const ALL: [Self; 5] = [Self::Full, Self::ShortTimes, Self::NoSlot, Self::NoChange, Self::Minimal];

    fn has_wide_columns(self) -> bool {
        self <= Self::ShortTimes
    }
}

/// The widths of the columns.
#[derive(Debug, Clone, Copy)]
struct Widths {
    pair: usize,
    price: usize,
    change: usize,
}

impl Widths {
    /// Wide columns, which do not move when the length of a price changes.
    const WIDE: Self = Self { pair: 9, price: 14, change: 12 };

    fn of(rows: &[Row], detail: Detail) -> Self {
        let least =
            if detail.has_wide_columns() { Self::WIDE } else { Self { pair: 0, price: 0, change: 0 } };
        rows.iter().fold(least, |widths, row| {
            let tick = |text: fn(Tick) -> String| row.tick.map_or(0, |tick| width(&text(tick)));
            Self {
                pair: widths.pair.max(width(&row.pair.to_string())),
                price: widths.price.max(tick(|tick| tick.price.to_string())),
                change: widths.change.max(tick(|tick| change(tick.before, tick.price))),
            }
        })
    }
}

/// One part of a line.
struct Part {
    text: String,
    colour: Option<&'static str>,
}

impl Part {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), colour: None }
    }

    fn painted(text: impl Into<String>, colour: &'static str) -> Self {
        Self { text: text.into(), colour: Some(colour) }
    }
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const DIM: &str = "2";

/// The lines of the table. None is wider than the terminal, and they leave one line free for the cursor.
pub(super) fn table(state: &State, now: Timestamp, size: Size, colour: bool) -> Vec<String> {
    let room = size.lines.saturating_sub(1).max(1);
    let has_room = state.rows.len() < room;
    let shown = if has_room { state.rows.len() } else { room.saturating_sub(2) };
    let rows: Vec<Line> = Detail::ALL
        .into_iter()
        .map(|detail| Line::all(&state.rows, now, detail))
        .find(|lines| lines.iter().all(|line| line.width() <= size.columns))
        .unwrap_or_else(|| Line::all(&state.rows, now, Detail::Minimal));
    let mut lines: Vec<String> =
        rows.iter().take(shown).map(|line| line.text(size.columns, colour)).collect();
    if !has_room {
        lines.push(cut(&format!("… {} more do not fit", state.rows.len() - shown), size.columns));
    }
    if state.rows.is_empty() {
        lines.push(cut("waiting for the first record of any pair", size.columns));
    }
    lines.push(cut(&connection(&state.connection, Instant::now()), size.columns));
    lines.truncate(room);
    lines
}

/// The line of one pair.
struct Line {
    parts: Vec<Part>,
    /// The separator between parts.
    between: &'static str,
}

impl Line {
    fn all(rows: &[Row], now: Timestamp, detail: Detail) -> Vec<Self> {
        let widths = Widths::of(rows, detail);
        let between = if detail == Detail::Minimal { " " } else { "  " };
        rows.iter().map(|row| Self { parts: parts(row, now, detail, widths), between }).collect()
    }

    fn width(&self) -> usize {
        let between = self.between.len() * self.parts.len().saturating_sub(1);
        self.parts.iter().map(|part| width(&part.text)).sum::<usize>() + between
    }

    /// Returns the parts that fit, followed by an ellipsis if some parts do not fit.
    fn text(&self, columns: usize, colour: bool) -> String {
        let room = if self.width() <= columns { columns } else { columns.saturating_sub(2) };
        let (mut text, mut taken) = (String::new(), 0);
        for (number, part) in self.parts.iter().enumerate() {
            let between = if number == 0 { "" } else { self.between };
            if number > 0 && taken + between.len() + width(&part.text) > room {
                text.push_str(&cut(" …", columns.saturating_sub(taken)));
                break;
            }
            let shown = cut(&part.text, columns);
            taken += between.len() + width(&shown);
            text.push_str(between);
            match part.colour.filter(|_| colour) {
                Some(code) => text.push_str(&format!("\x1b[{code}m{shown}\x1b[0m")),
                None => text.push_str(&shown),
            }
        }
        text
    }
}

/// The parts of a pair's line.
fn parts(row: &Row, now: Timestamp, detail: Detail, widths: Widths) -> Vec<Part> {
    let pair = Part::new(format!("{:<1$}", row.pair.to_string(), widths.pair));
    let Some(newest) = &row.newest else { return vec![pair, Part::new("waiting for a price")] };
    // A recording has its own time, so its times are compared with its newest slot.
    let today = if is_of_now(newest) { now } else { newest.slot };
    let label = label(newest).map(Part::new);
    let cause = match &newest.body {
        Body::Gap { cause, .. } => Some(cause),
        Body::Tick(_) => None,
    };
    let price = row.tick.map(|tick| {
        let text = format!("{:>1$}", tick.price.to_string(), widths.price);
        if cause.is_some() { Part::painted(text, DIM) } else { Part::new(text) }
    });
    let notice = match (cause, row.tick) {
        (Some(cause), tick) => {
            // Without a tick, the gap says since when the feed runs, not since when there is no price.
            Some(Part::painted(no_price(tick.and(row.since), cause, today, detail), YELLOW))
        }
        (None, Some(tick)) if is_of_now(newest) => age(tick, now, detail),
        (None, _) => None,
    };
    if detail == Detail::Minimal {
        return [Some(pair), label, notice, price].into_iter().flatten().collect();
    }
    // The change and slot of an old price do not matter while there is no new one.
    let tick = row.tick.filter(|_| cause.is_none());
    let change = tick.filter(|_| detail < Detail::NoChange).map(|tick| changed(tick, widths.change));
    let slot = tick.and_then(|tick| match detail {
        Detail::Full => Some(Part::new(tick.slot.to_string())),
        Detail::ShortTimes => Some(Part::new(short(tick.slot, today))),
        _ => None,
    });
    [Some(pair), price, change, label, notice, slot].into_iter().flatten().collect()
}

/// The notice that there is no price: since when, or that there never was one, and the cause of the newest gap.
fn no_price(since: Option<Timestamp>, cause: &str, today: Timestamp, detail: Detail) -> String {
    let text = match since {
        None => "no price yet".to_owned(),
        Some(_) if detail == Detail::Minimal => "no price".to_owned(),
        Some(since) if detail == Detail::Full => format!("no price since {since}"),
        Some(since) => format!("no price since {}", short(since, today)),
    };
    if detail < Detail::NoChange { format!("{text}, now {}", one_line(cause)) } else { text }
}

/// The age of a price. With minimal detail, the age is only shown if the price is late.
fn age(tick: Tick, now: Timestamp, detail: Detail) -> Option<Part> {
    let age = now.since(tick.slot);
    let words = in_words(age.as_secs());
    match (age > tick.interval.duration() * LATE_AFTER, detail) {
        (true, Detail::Minimal) => Some(Part::painted(format!("{words} late"), YELLOW)),
        (true, _) => Some(Part::painted(format!("{words} ago late"), YELLOW)),
        (false, Detail::Minimal) => None,
        (false, _) => Some(Part::new(format!("{words} ago"))),
    }
}

fn changed(tick: Tick, width: usize) -> Part {
    let text = format!("{:<1$}", change(tick.before, tick.price), width);
    match tick.before.map(|before: Price| before.cmp(&tick.price)) {
        Some(Ordering::Less) => Part::painted(text, GREEN),
        Some(Ordering::Greater) => Part::painted(text, RED),
        _ => Part::new(text),
    }
}

/// The time of a slot if its date is today, otherwise its date.
fn short(slot: Timestamp, today: Timestamp) -> String {
    let (slot, today) = (slot.to_string(), today.to_string());
    let date = |text: &str| text.split_once('T').map(|(date, _)| date.to_owned());
    match slot.split_once('T') {
        Some((day, time)) if date(&today).as_deref() == Some(day) => {
            format!("{}Z", time.chars().take_while(|sign| !['.', 'Z'].contains(sign)).collect::<String>())
        }
        Some((day, _)) => day.to_owned(),
        None => slot,
    }
}

/// A number of seconds in the largest unit that fits.
fn in_words(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60)];
    let largest = units.into_iter().find(|(_, length)| seconds >= *length);
    largest.map_or_else(|| format!("{seconds}s"), |(unit, length)| format!("{}{unit}", seconds / length))
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// As much of a text as fits, with an ellipsis if it is truncated.
fn cut(text: &str, columns: usize) -> String {
    match width(text) <= columns {
        true => text.to_owned(),
        false => text.chars().take(columns.saturating_sub(1)).chain(['…']).take(columns).collect(),
    }
}

#[cfg(test)]
mod tests;
