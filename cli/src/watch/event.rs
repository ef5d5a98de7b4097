//! The events that a pod sends.

use common::domain::{Pair, Price, Span, Timestamp};
use serde::Deserialize;

/// The longest id of an event. Those of pods have about 40 characters.
const MAX_ID_BYTES: usize = 200;

/// A parsed line of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// A tick or a gap.
    Event(Event),
    /// The pod ends the stream. The text is the reason.
    End(String),
    /// A kind that this version does not know.
    Other,
}

/// A tick or a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The cursor of the event, with which a stream can be resumed.
    pub(super) id: String,
    pub(super) pair: Pair,
    pub(super) slot: Timestamp,
    pub(super) interval: Span,
    /// Where the prices come from, such as `live` or `simulated`.
    pub(super) origin: String,
    pub(super) body: Body,
}

/// A tick's price, or a gap's cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Tick(Price),
    Gap { from: Timestamp, cause: String },
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

#[derive(Deserialize)]
struct Sent {
    id: String,
    pair: String,
    slot: String,
    interval: String,
    origin: String,
    price: Option<String>,
    from: Option<String>,
    cause: Option<String>,
}

#[derive(Deserialize)]
struct End {
    detail: String,
}

impl Message {
    /// Parses the JSON of an event.
    pub(super) fn read(json: &str) -> Result<Self, String> {
        let Kind { kind } = members(json)?;
        match kind.as_str() {
            "tick" | "gap" => members::<Sent>(json)?.read(&kind).map(Self::Event),
            "end" => Ok(Self::End(members::<End>(json)?.detail)),
            _ => Ok(Self::Other),
        }
    }
}

fn members<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

impl Sent {
    fn read(self, kind: &str) -> Result<Event, String> {
        let body = match (kind, self.price, self.from, self.cause) {
            ("tick", Some(price), _, _) => Body::Tick(parse("price", &price)?),
            ("gap", _, Some(from), Some(cause)) => Body::Gap { from: parse("from", &from)?, cause },
            _ => return Err(format!("a {kind} event lacks a member")),
        };
        // The id is sent back in a header when the stream is resumed.
        let is_id = (1..=MAX_ID_BYTES).contains(&self.id.len())
            && self.id.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_id {
            return Err("id: this is not the id of an event".to_owned());
        }
        Ok(Event {
            id: self.id,
            pair: parse("pair", &self.pair)?,
            slot: parse("slot", &self.slot)?,
            interval: parse("interval", &self.interval)?,
            origin: self.origin,
            body,
        })
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{name}: {error}"))
}
