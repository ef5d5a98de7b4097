//! Events: what the clients of a stream are sent, one for each tick and each gap, in the order of the log.
//!
//! The newest ones are in memory, with the snapshot that they belong to; all others are read from the store. An
//! event is written out once, when the first client needs it, and all clients are sent those bytes.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use common::domain::{Origin, Pair};

use crate::{position::Position, store::Covering};

/// Events in memory: an hour of two pairs at ten seconds. Whoever is further behind reads from the store.
const MAX_RECENT: usize = 1_024;

/// One tick or gap, as it is sent.
#[derive(Debug)]
pub struct Event {
    /// The place right behind it.
    pub position: Position,
    /// What happened.
    pub covering: Covering,
    /// Where its price comes from.
    pub origin: Origin,
    frame: OnceLock<Frame>,
}

/// An event as a server-sent one. Other transports are sent parts of it.
#[derive(Debug)]
pub struct Frame {
    bytes: Bytes,
    json: Range<usize>,
}

impl Event {
    /// The event of a tick or a gap.
    pub fn new(position: Position, covering: Covering, origin: Origin) -> Self {
        Self { position, covering, origin, frame: OnceLock::new() }
    }

    /// The pair.
    pub fn pair(&self) -> Pair {
        match self.covering {
            Covering::Tick(pair, _) | Covering::Gap(pair, _) => pair,
        }
    }

    /// The event as it is sent, which is written the first time that anybody asks.
    pub fn frame(&self, write: impl FnOnce(&Self) -> Frame) -> &Frame {
        self.frame.get_or_init(|| write(self))
    }
}

impl Frame {
    /// An event with an id, a kind and its JSON, all of them without line breaks.
    pub fn new(id: &str, kind: &str, json: &str) -> Self {
        let head = format!("id: {id}\nevent: {kind}\ndata: ");
        let begin = head.len();
        Self { bytes: Bytes::from([&head, json, "\n\n"].concat()), json: begin..begin + json.len() }
    }

    /// As a server-sent event.
    pub fn server_sent(&self) -> Bytes {
        self.bytes.clone()
    }

    /// As a line of JSON, with its end.
    pub fn line(&self) -> Bytes {
        self.bytes.slice(self.json.start..self.json.end + 1)
    }

    /// As JSON.
    pub fn json(&self) -> Bytes {
        self.bytes.slice(self.json.clone())
    }
}

/// The newest events of a log, without a hole.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    /// Every event behind here is among them.
    since: Position,
    events: VecDeque<Arc<Event>>,
}

impl Recent {
    /// None yet, of those behind a position.
    pub fn since(position: Position) -> Self {
        Self { since: position, events: VecDeque::new() }
    }

    /// Takes in the newest event.
    pub fn push(&mut self, event: Event) {
        if self.events.len() == MAX_RECENT
            && let Some(oldest) = self.events.pop_front()
        {
            self.since = oldest.position;
        }
        self.events.push_back(Arc::new(event));
    }

    /// The events behind a position; nothing where they are not all in memory.
    pub fn behind(&self, position: Position) -> Option<impl Iterator<Item = &Arc<Event>>> {
        let begin = self.events.partition_point(|event| event.position <= position);
        (position >= self.since).then(|| self.events.range(begin..))
    }
}
