//! What the clients of streams are sent.

use poem_openapi::Object;

use super::{PairText, PriceText, SpanText, TimeText};

/// One tick or gap, as streams tell of it. It is the same for as long as history is kept; what each source said
/// is at `/v1/ticks/{sequence}`.
#[derive(Debug, Object)]
#[oai(rename = "Event")]
pub struct EventItem {
    /// What to send as `Last-Event-ID`, or `after`, to go on right behind it, on any pod.
    pub id: String,
    /// `tick` or `gap`.
    pub kind: String,
    /// The pair.
    pub pair: PairText,
    /// Its record's position in the log. Null where the log had lost the records of these slots when they were
    /// read.
    pub sequence: Option<u64>,
    /// The slot it stands for; of a gap, the last one it covers.
    pub slot: TimeText,
    /// Of a gap: the first slot it covers.
    #[oai(skip_serializing_if_is_none)]
    pub from: Option<TimeText>,
    /// The distance between slots.
    pub interval: SpanText,
    /// The term of the poller that wrote it; null where there is no sequence.
    pub epoch: Option<u64>,
    /// `live`, `replay` or `simulated`.
    pub origin: String,
    /// Of a tick: the agreed price.
    #[oai(skip_serializing_if_is_none)]
    pub price: Option<PriceText>,
    /// Of a gap: why there is no tick.
    #[oai(skip_serializing_if_is_none)]
    pub cause: Option<String>,
}
