//! Events, which are sent to stream clients: one for each tick and each gap, in log order.
//!
//! The newest events are kept in memory with their snapshot; older ones are read from the store. An event is
//! serialised once, when the first client needs it, and all clients receive the same bytes.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use common::domain::{Origin, Pair};

use crate::{position::Position, store::TickOrGap};

/// The number of events in memory: about an hour and a half of two pairs at ten-second intervals. Clients that are
/// further behind are served from the store.
const MAX_RECENT: usize = 1_024;

/// A tick or gap as it is sent to clients.
#[derive(Debug)]
pub struct Event {
    /// The position right after the event.
    pub position: Position,
    /// The tick or gap.
    pub tick_or_gap: TickOrGap,
    /// Where the price comes from.
    pub origin: Origin,
    frame: OnceLock<Frame>,
}

/// A serialised server-sent event. Other transports send parts of it.
#[derive(Debug)]
pub struct Frame {
    bytes: Bytes,
    json: Range<usize>,
}

impl Event {
    /// Creates the event of a tick or a gap.
    pub fn new(position: Position, tick_or_gap: TickOrGap, origin: Origin) -> Self {
        Self { position, tick_or_gap, origin, frame: OnceLock::new() }
    }

    /// The pair.
    pub fn pair(&self) -> Pair {
        match self.tick_or_gap {
            TickOrGap::Tick(pair, _) | TickOrGap::Gap(pair, _) => pair,
        }
    }

    /// The serialised event. `write` serialises it the first time this is called.
    pub fn frame(&self, write: impl FnOnce(&Self) -> Frame) -> &Frame {
        self.frame.get_or_init(|| write(self))
    }
}

impl Frame {
    /// Serialises an event. Its id, kind and JSON must not contain line breaks.
    pub fn new(id: &str, kind: &str, json: &str) -> Self {
        let head = format!("id: {id}\nevent: {kind}\ndata: ");
        let begin = head.len();
        Self { bytes: Bytes::from([&head, json, "\n\n"].concat()), json: begin..begin + json.len() }
    }

    /// The server-sent event.
    pub fn server_sent(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The JSON with a line break.
    pub fn line(&self) -> Bytes {
        self.bytes.slice(self.json.start..self.json.end + 1)
    }

    /// The JSON.
    pub fn json(&self) -> Bytes {
        self.bytes.slice(self.json.clone())
    }
}

/// The newest events of a log. None between the first and the last one is missing.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    /// Every event after this position is in `events`.
    since: Position,
    events: VecDeque<Arc<Event>>,
}

impl Recent {
    /// An empty list that starts at a position.
    pub fn since(position: Position) -> Self {
        Self { since: position, events: VecDeque::new() }
    }

    /// Adds the newest event.
    pub fn push(&mut self, event: Event) {
        if self.events.len() == MAX_RECENT
            && let Some(oldest) = self.events.pop_front()
        {
            self.since = oldest.position;
        }
        self.events.push_back(Arc::new(event));
    }

    /// The events after a position. `None` if some of them are no longer in memory.
    pub fn after(&self, position: Position) -> Option<impl Iterator<Item = &Arc<Event>>> {
        let begin = self.events.partition_point(|event| event.position <= position);
        (position >= self.since).then(|| self.events.range(begin..))
    }
}
