//! What is known of each pair and of the connection.

use common::domain::{Pair, Price, Span, Timestamp};
use tokio::time::Instant;

use super::event::{Body, Event};

/// After this number of refusals in a row, the cursor is given up. Fewer refusals may only mean that a pod is a little
/// behind.
const MAX_REFUSALS: u32 = 4;

/// Everything that is needed to draw the screen and to resume.
pub(super) struct State {
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

impl State {
    pub(super) fn new(pairs: Vec<Pair>) -> Self {
        let rows =
            pairs.into_iter().map(|pair| Row { pair, tick: None, since: None, newest: None }).collect();
        Self {
            rows,
            connection: Connection::Beginning,
            last: None,
            refusals: 0,
            events: 0,
            has_been_connected: false,
        }
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = Pair> {
        self.rows.iter().map(|row| row.pair)
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
        let row = self.rows.iter_mut().find(|row| row.pair == event.pair)?;
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
        Some(Shown { event, before })
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
