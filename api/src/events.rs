//! Events: what the clients of a stream are sent, one for each tick and each gap, in the order of the log.
//!
//! The newest ones are in memory, with the snapshot that they belong to; all others are read from the store. An
//! event is written out once, when the first client needs it, and all clients are sent those bytes.

use std::{
    collections::VecDeque,
    fmt,
    ops::Range,
    str::FromStr,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use common::{
    bus::LogIdentity,
    domain::{Interval, Origin, Pair, Sequence, Slot},
};
use poem_openapi::types::ToJSON;

use crate::{
    dto::{EventItem, PairText, PriceText, SpanText, TimeText},
    store::Covering,
};

/// Events in memory: an hour of two pairs at ten seconds. Whoever is further behind reads from the store.
const MAX_RECENT: usize = 1_024;

common::words! {
    /// How events get to a client.
    pub enum Transport ("transport") {
        /// Server-sent events.
        Sse = "sse",
        /// Lines of JSON.
        Ndjson = "ndjson",
        /// A WebSocket.
        WebSocket = "websocket",
    }
}

common::words! {
    /// Why a stream ended that the client did not end.
    pub enum StreamEnd ("end of a stream") {
        /// The process is about to stop.
        ShuttingDown = "shutting_down",
        /// The log is another one now, or the pod's copy is built anew.
        LogReplaced = "log_replaced",
        /// The client takes less than there is, and falls ever further behind.
        TooSlow = "too_slow",
        /// The stream is a day old. Balancers need a chance to move it.
        TooLong = "too_long",
        /// The store does not answer, and the client needs what is only there.
        StoreUnavailable = "store_unavailable",
    }
}

impl StreamEnd {
    /// What it means, and what to do.
    pub fn detail(self) -> &'static str {
        match self {
            Self::ShuttingDown => "this pod is about to stop; go on at another, behind the last event",
            Self::LogReplaced => {
                "the log is another one now: ask again, and if the cursor is unknown, without it"
            }
            Self::TooSlow => "events come faster than you take them; go on behind the last one",
            Self::TooLong => "this stream is a day old; go on behind the last event",
            Self::StoreUnavailable => {
                "history is not at hand here for the moment; go on at another pod, or later"
            }
        }
    }
}

/// A place in the log, between two events. Every event is told by the place right behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The record that it lies beside.
    pub sequence: Sequence,
    side: Side,
}

/// On which side of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Side {
    /// Before it, but behind the gap for what the log had lost in front of it.
    Before,
    #[default]
    Behind,
}

impl Position {
    /// Right behind a record.
    pub const fn behind(sequence: Sequence) -> Self {
        Self { sequence, side: Side::Behind }
    }

    /// Right before a record, behind the gap for what the log had lost in front of it.
    pub const fn before(sequence: Sequence) -> Self {
        Self { sequence, side: Side::Before }
    }

    /// The last record that lies before it.
    pub fn last(self) -> Sequence {
        match self.side {
            Side::Before => Sequence(self.sequence.0.saturating_sub(1)),
            Side::Behind => self.sequence,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.side {
            Side::Before => write!(formatter, "before-{}", self.sequence),
            Side::Behind => self.sequence.fmt(formatter),
        }
    }
}

/// Where a client wants to go on, as it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The log that it means; missing where it gave a sequence alone.
    pub log: Option<String>,
    /// The place in it.
    pub position: Position,
}

/// Why a text is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is neither the id of an event nor a sequence; leave it out to begin with the newest")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.log {
            Some(log) => write!(formatter, "{log}-{}", self.position),
            None => self.position.fmt(formatter),
        }
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (log, place) = match text.split_once('-') {
            Some((log, place)) => (Some(log), place),
            None => (None, text),
        };
        let sequence = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse().map(Sequence).map_err(|_| CursorError),
            false => Err(CursorError),
        };
        let position = match place.strip_prefix("before-") {
            Some(digits) if log.is_some() => Position::before(sequence(digits)?),
            _ => Position::behind(sequence(place)?),
        };
        Ok(Self { log: log.map(str::to_owned), position })
    }
}

/// One tick or gap, as it is sent.
#[derive(Debug)]
pub struct Event {
    /// The place right behind it.
    pub position: Position,
    /// The pair.
    pub pair: Pair,
    covering: Covering,
    origin: Origin,
    frame: OnceLock<Frame>,
}

/// An event as a server-sent one. Other transports are sent parts of it.
#[derive(Debug)]
struct Frame {
    bytes: Bytes,
    json: Range<usize>,
}

impl Event {
    /// The event of a tick or a gap.
    pub fn new(position: Position, covering: Covering, origin: Origin) -> Self {
        let pair = match covering {
            Covering::Tick(pair, _) | Covering::Gap(pair, _) => pair,
        };
        Self { position, pair, covering, origin, frame: OnceLock::new() }
    }

    /// As a server-sent event.
    pub fn server_sent(&self, log: &LogIdentity) -> Bytes {
        self.frame(log).bytes.clone()
    }

    /// As a line of JSON, with its end.
    pub fn line(&self, log: &LogIdentity) -> Bytes {
        let Frame { bytes, json } = self.frame(log);
        bytes.slice(json.start..json.end + 1)
    }

    /// As JSON.
    pub fn json(&self, log: &LogIdentity) -> Bytes {
        let Frame { bytes, json } = self.frame(log);
        bytes.slice(json.clone())
    }

    fn frame(&self, log: &LogIdentity) -> &Frame {
        self.frame.get_or_init(|| {
            let item = self.item(log);
            let (id, kind, json) = (&item.id, &item.kind, item.to_json_string());
            let head = format!("id: {id}\nevent: {kind}\ndata: ");
            let json_range = head.len()..head.len() + json.len();
            Frame { bytes: Bytes::from([head.as_str(), &json, "\n\n"].concat()), json: json_range }
        })
    }

    fn item(&self, log: &LogIdentity) -> EventItem {
        let common = |kind: &str, slot: Slot, interval: Interval| EventItem {
            id: format!("{log}-{}", self.position),
            kind: kind.to_owned(),
            pair: PairText(self.pair),
            sequence: None,
            slot: TimeText(slot.start()),
            from: None,
            interval: SpanText(interval.span()),
            epoch: None,
            origin: self.origin.to_string(),
            price: None,
            cause: None,
        };
        match self.covering {
            Covering::Tick(_, tick) => EventItem {
                sequence: Some(tick.sequence.0),
                epoch: Some(tick.epoch.0),
                price: Some(PriceText(tick.price)),
                ..common("tick", tick.slot, tick.interval)
            },
            Covering::Gap(_, gap) => EventItem {
                sequence: gap.recorded.map(|(sequence, _)| sequence.0),
                epoch: gap.recorded.map(|(_, epoch)| epoch.0),
                from: Some(TimeText(gap.from.start())),
                cause: Some(gap.cause.to_string()),
                ..common("gap", gap.slot, gap.interval)
            },
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_ids_are_written() {
        for position in [Position::behind(Sequence(12)), Position::before(Sequence(12))] {
            let cursor: Cursor = format!("abc1-{position}").parse().unwrap();
            assert_eq!(cursor, Cursor { log: Some("abc1".into()), position });
        }
        let plain = Cursor { log: None, position: Position::behind(Sequence(7)) };
        assert_eq!("7".parse(), Ok(plain));
        for text in ["", "x", "-", "abc-", "abc-x", "1-+2", "1.5", "abc-before-", "99999999999999999999"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_place_before_a_record_lies_behind_the_one_before_it() {
        let (before, behind) = (Position::before(Sequence(5)), Position::behind(Sequence(5)));
        assert!(Position::behind(Sequence(4)) < before && before < behind);
        assert_eq!((before.last(), behind.last()), (Sequence(4), Sequence(5)));
    }
}
