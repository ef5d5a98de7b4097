//! What is known of each pair and of the connection.

use common::domain::{Pair, Price, Span, Timestamp};
use tokio::time::Instant;

use super::event::{Body, Event};

/// After this number of refusals in a row, the cursor is given up. Fewer refusals may only mean that a pod is a little
/// behind.
const MAX_REFUSALS: u32 = 4;

/// The maximum number of pairs of which something is known. Events of further pairs are shown, but not kept.
const MAX_ROWS: usize = 1_000;

/// Everything that is needed to draw the screen and to resume.
pub(super) struct State {
    /// The pairs that the user named. If there are none, all pairs are watched.
    named: Vec<Pair>,
    pub(super) rows: Vec<Row>,
    pub(super) connection: Connection,
    last: Option<String>,
    /// How many times in a row the cursor was refused.
    refusals: u32,
    events: u64,
    has_been_connected: bool,
}

/// What is known of one pair.
pub(super) struct Row {
    pub(super) pair: Pair,
    /// The newest tick.
    pub(super) tick: Option<Tick>,
    /// The first slot without a price after that tick, even if several gaps have followed since then.
    pub(super) since: Option<Timestamp>,
    /// The newest event, a tick or a gap.
    pub(super) newest: Option<Event>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Tick {
    pub(super) price: Price,
    /// The price of the previous tick.
    pub(super) before: Option<Price>,
    pub(super) slot: Timestamp,
    pub(super) interval: Span,
}

/// An event to be shown.
pub(super) struct Shown {
    pub(super) event: Event,
    /// The price of the previous tick.
    pub(super) before: Option<Price>,
    /// Whether the pair has had no tick so far. A pod begins with the newest tick of each pair, however old it is.
    pub(super) never: bool,
}

/// The state of the connection.
pub(super) enum Connection {
    /// Connecting for the first time.
    Beginning,
    Connected {
        url: String,
    },
    Lost {
        why: String,
        next: String,
        until: Instant,
    },
}

impl Row {
    fn new(pair: Pair) -> Self {
        Self { pair, tick: None, since: None, newest: None }
    }
}

impl State {
    /// What is known before the first event. Without `pairs`, all pairs are watched.
    pub(super) fn new(pairs: Vec<Pair>) -> Self {
        Self {
            rows: pairs.iter().copied().map(Row::new).collect(),
            named: pairs,
            connection: Connection::Beginning,
            last: None,
            refusals: 0,
            events: 0,
            has_been_connected: false,
        }
    }

    /// The pairs that the user named.
    pub(super) fn named(&self) -> &[Pair] {
        &self.named
    }

    /// The id of the last event, after which to resume.
    pub(super) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// The number of events received.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn has_been_connected(&self) -> bool {
        self.has_been_connected
    }

    /// Updates the state with an event. Returns what to show, or `None` if the event was already shown or its pair is
    /// not being watched.
    pub(super) fn take(&mut self, event: Event) -> Option<Shown> {
        self.events += 1;
        self.refusals = 0;
        self.last = Some(event.id.clone());
        let row = self.row(event.pair)?;
        if row.newest.as_ref().is_some_and(|newest| newest.id == event.id) {
            return None;
        }
        let before = row.tick.map(|tick| tick.price);
        match event.body {
            Body::Tick(price) => {
                row.tick = Some(Tick { price, before, slot: event.slot, interval: event.interval });
                row.since = None;
            }
            Body::Gap { from, .. } => {
                // A new client only gets the newest tick and the newest gap, and there may be other gaps between them.
                // So the time without a price begins right after the tick.
                let after = row.tick.map(|tick| tick.slot.plus(tick.interval.duration()));
                row.since = row.since.or(after).map_or(Some(from), |since| Some(since.min(from)));
            }
        }
        row.newest = Some(event.clone());
        Some(Shown { event, before, never: row.tick.is_none() })
    }

    /// The row of a pair, in alphabetical order if all pairs are watched. None if the pair is not watched.
    fn row(&mut self, pair: Pair) -> Option<&mut Row> {
        let known = self.rows.iter().position(|row| row.pair == pair);
        let number = known.or_else(|| {
            (self.named.is_empty() && self.rows.len() < MAX_ROWS).then(|| {
                let number = self.rows.partition_point(|row| row.pair < pair);
                self.rows.insert(number, Row::new(pair));
                number
            })
        });
        self.rows.get_mut(number?)
    }

    pub(super) fn connected(&mut self, url: String) {
        self.has_been_connected = true;
        self.connection = Connection::Connected { url };
    }

    pub(super) fn lost(&mut self, why: String, next: String, until: Instant) {
        self.connection = Connection::Lost { why, next, until };
    }

    /// Counts a refusal of the cursor. Returns whether the cursor was given up, because the refusal is final or there
    /// were too many.
    pub(super) fn refused(&mut self, is_final: bool) -> bool {
        self.refusals += 1;
        let gives_up = is_final || self.refusals >= MAX_REFUSALS;
        if gives_up {
            (self.last, self.refusals) = (None, 0);
        }
        gives_up
    }
}
