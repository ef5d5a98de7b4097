//! What is known, and what an event or a lost connection changes of it.

use common::domain::{Pair, Price, Span, Timestamp};
use tokio::time::Instant;

use super::event::{Body, Event};

/// So many refusals in a row mean that nobody knows the place. Fewer may come from pods that are a little behind.
const MAX_REFUSALS: u32 = 4;

/// Everything that can be shown.
pub(super) struct State {
    pub(super) rows: Vec<Row>,
    pub(super) connection: Connection,
    last: Option<String>,
    /// How often in a row the place was refused.
    refusals: u32,
    events: u64,
    has_been_connected: bool,
}

/// What is known of a pair.
pub(super) struct Row {
    pub(super) pair: Pair,
    /// Its newest tick, and the price before it.
    pub(super) tick: Option<Tick>,
    /// The first slot without a price since that tick, however many gaps there were.
    pub(super) since: Option<Timestamp>,
    /// Its newest slot: a tick's, or the last one of a gap.
    pub(super) newest: Option<Event>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Tick {
    pub(super) price: Price,
    pub(super) before: Option<Price>,
    pub(super) slot: Timestamp,
    pub(super) interval: Span,
}

/// An event with what is known through those before it.
pub(super) struct Shown {
    pub(super) event: Event,
    /// The price of the tick before.
    pub(super) before: Option<Price>,
}

/// How the connection stands.
pub(super) enum Connection {
    /// Nothing has been tried yet.
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

    /// The id of the last event, behind which to go on.
    pub(super) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// How many events have come.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn has_been_connected(&self) -> bool {
        self.has_been_connected
    }

    /// Takes in an event. Answers how it is to be shown; one that was shown already is not shown again.
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
                // Of several gaps behind a tick, who has just come is told of the newest alone.
                let behind = row.tick.map(|tick| tick.slot.plus(tick.interval.duration()));
                row.since = row.since.or(behind).map_or(Some(from), |since| Some(since.min(from)));
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

    /// The place was refused. Forgets it, and says so, where asking again is of no use.
    pub(super) fn refused(&mut self, for_good: bool) -> bool {
        self.refusals += 1;
        let gives_up = for_good || self.refusals >= MAX_REFUSALS;
        if gives_up {
            (self.last, self.refusals) = (None, 0);
        }
        gives_up
    }
}
