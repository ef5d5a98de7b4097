//! The events of streams.

use poem_openapi::Object;
use serde::Serialize;

use super::{Nullable, PairText, PriceText, SpanText, TimeText};

/// One tick or gap in a stream. As long as history is kept, an event has the same content whenever a client requests
/// it. The quotes behind an event are at `/v1/ticks/{sequence}`.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Event")]
pub struct EventItem {
    /// The event's cursor. Send it as `Last-Event-ID` or `after` to continue with the next event, on any pod.
    pub id: String,
    /// `tick` or `gap`.
    pub kind: String,
    /// The pair.
    pub pair: PairText,
    /// The record's position in the log. Null if the log no longer had the records of these slots when this pod read
    /// the log.
    pub sequence: Nullable<u64>,
    /// The slot of a tick, or the last slot of a gap.
    pub slot: TimeText,
    /// Only for a gap: its first slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<TimeText>,
    /// The distance between slots.
    pub interval: SpanText,
    /// The term of the poller that wrote the record. Null if `sequence` is null.
    pub epoch: Nullable<u64>,
    /// `live`, `replay` or `simulated`.
    pub origin: String,
    /// Only for a tick: the agreed price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceText>,
    /// Only for a gap: why there is no tick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// True if the event is about slots before the pair's first live one. Absent otherwise. A stream has such events only
    /// if it was requested from an earlier position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfilled: Option<bool>,
}
