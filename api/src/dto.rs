//! The shapes of responses: what they look like in JSON and in the OpenAPI document.
//!
//! Members have the order in which the structs declare them, both in responses and in the document. Prices are strings
//! with the digits of the log, derived values are strings with at least eight decimal places, and times are RFC
//! 3339 with milliseconds. Nothing is computed here; [`crate::routes`] fills the structs in.

mod at;
mod conversion;
mod event;
mod flag;
mod json;
mod list;
mod nullable;
mod number;
mod schema;
mod sources;
mod text;

use common::domain::{Basis, GapCause, Origin, PriceRule, Verdict};
use poem_openapi::Object;
use serde::Serialize;

pub use crate::word::{CheckCondition, Outcome, RecordKind, Word};
pub use at::{MAX_TIMES, PriceAtItem, PricesAt, TimesParameter};
pub use conversion::{Conversion, LegItem};
pub use event::{EndEvent, EndKind, EventItem, GapEvent, GapKind, TickEvent, TickKind};
pub use flag::FlagParameter;
pub use json::Json;
pub use list::WindowLength;
pub use nullable::Nullable;
pub use number::WholeNumber;
pub use schema::sequence_schema;
pub use sources::{SourceItem, SourcePairItem, Sources};
pub use text::{
    AmountParameter, AmountText, AssetText, CandleIntervalParameter, CauseParameter, CoverageParameter,
    CursorParameter, DerivedText, FromAssetText, LastEventIdParameter, PageCursorParameter, PairParameter,
    PairText, PairsParameter, PriceText, RateText, RatioParameter, SequenceParameter, SpanText, SpansText,
    TimeText, TimestampParameter, ToAssetText, WindowText,
};

/// The pairs in the log.
#[derive(Debug, Object, Serialize)]
pub struct Pairs {
    /// One item per pair, sorted by name.
    pub items: Vec<PairItem>,
}

/// One pair in the log.
#[derive(Debug, Object, Serialize)]
pub struct PairItem {
    /// The pair.
    pub pair: PairText,
    /// The pair's newest slot, whether it has a tick or is part of a gap.
    pub slot: TimeText,
    /// The position of that slot's record in the log.
    pub sequence: u64,
    /// The distance between slots.
    pub interval: SpanText,
    /// Where the records of the log come from.
    pub origin: Word<Origin>,
    /// Whether the newest tick is too old to count as the current price.
    pub stale: bool,
}

/// The newest prices.
#[derive(Debug, Object, Serialize)]
pub struct Prices {
    /// One item for each pair that has a price, sorted by name. With the parameter `pairs`, one item for each requested
    /// pair, in the order of the request.
    pub items: Vec<PriceItem>,
}

/// The newest price of a pair.
#[derive(Debug, Object, Serialize)]
pub struct PriceItem {
    /// The pair.
    pub pair: PairText,
    /// The agreed price.
    pub price: PriceText,
    /// The slot that the price belongs to.
    pub slot: TimeText,
    /// The tick's position in the log. `/v1/ticks/{sequence}` shows how the price was computed.
    pub sequence: u64,
    /// The term of the poller that wrote the tick.
    pub epoch: u64,
    /// Where the records of the log come from.
    pub origin: Word<Origin>,
    /// The sources whose quotes the price was computed from.
    pub sources: Vec<String>,
    /// The spread of the quotes that the price was computed from: (max − min) / price.
    pub spread: DerivedText,
    /// The change over the 24 hours before `slot`, as a ratio of the earlier price. The earlier price is that of the
    /// tick 24 hours before `slot` or, if there is none, of the last tick before that time, unless that time is more than
    /// three of that tick's intervals later. Null if there is no such tick.
    pub change_24h: Nullable<DerivedText>,
    /// Whether the price is too old to count as the current price.
    pub stale: bool,
    /// True if the pair has no live price yet, so that this one was added afterwards, from the sources' candles or from
    /// prices that a user imported. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfilled: Option<bool>,
    /// When the pair's next record is due.
    pub next_slot: TimeText,
}

/// Averages of a pair over one or more windows.
#[derive(Debug, Object, Serialize)]
pub struct Averages {
    /// The pair.
    pub pair: PairText,
    /// The slot that every window ends with: the pair's newest one, or its newest one at or before `to`.
    pub as_of: TimeText,
    /// The position of that slot's record in the log. Null if the log has no record of the slot; see `sequence` of a gap.
    pub sequence: Nullable<u64>,
    /// One item for each requested window, in the order of the request.
    pub windows: Vec<WindowItem>,
}

/// Averages over one window `(from, to]`. In a window without ticks the averages are null.
#[derive(Debug, Object, Serialize)]
pub struct WindowItem {
    /// The requested length, as the request has it.
    pub window: WindowText,
    /// Where the window begins. A tick at exactly this time is not included.
    pub from: TimeText,
    /// Where the window ends. A tick at exactly this time is included.
    pub to: TimeText,
    /// The mean of the ticks.
    pub mean: Nullable<DerivedText>,
    /// The time-weighted mean. Each tick is weighted by the time until the next tick, or by one interval if the next
    /// tick is more than three intervals later. The last tick is weighted by one interval.
    pub twap: Nullable<DerivedText>,
    /// The median price: the middle price, or the mean of the two middle prices. Also null if the window has more than
    /// 100,000 ticks.
    pub median: Nullable<DerivedText>,
    /// The exponential moving average with α = 2 / (`expected` + 1). It starts with the first tick and skips missing
    /// slots. Also null if the window has more than 100,000 ticks.
    pub ema: Nullable<DerivedText>,
    /// The lowest price.
    pub min: Nullable<PriceText>,
    /// The highest price.
    pub max: Nullable<PriceText>,
    /// The first price.
    pub open: Nullable<PriceText>,
    /// The last price.
    pub close: Nullable<PriceText>,
    /// `close` minus `open`, exact.
    pub change: Nullable<DerivedText>,
    /// `change` as a ratio of `open`. Also null if it is above 10²⁰.
    pub change_ratio: Nullable<DerivedText>,
    /// The population standard deviation of the ticks.
    pub stddev: Nullable<DerivedText>,
    /// The number of slots in the window at the current interval.
    pub expected: u64,
    /// The number of ticks in the window.
    pub observed: u64,
    /// How many of these ticks were added afterwards, for slots before the pair's first live one.
    pub backfilled: u64,
    /// The share of the window that is covered by ticks, from 0 to 1.
    pub coverage: DerivedText,
    /// The longest part of the window without ticks. Null if no slot is missing.
    pub largest_gap: Nullable<SpanText>,
    /// Whether every slot of the window has a tick.
    pub complete: bool,
}

/// Candles of a pair.
#[derive(Debug, Object, Serialize)]
pub struct Candles {
    /// One item for each bucket that has a tick.
    pub items: Vec<CandleItem>,
    /// The `cursor` of the next page. Null if there are no more candles now.
    pub next_cursor: Nullable<String>,
}

/// One bucket `[start, start + interval)`. There is no volume because prices are polled.
#[derive(Debug, Object, Serialize)]
pub struct CandleItem {
    /// Where the bucket begins. A tick at exactly this time is included.
    pub start: TimeText,
    /// The first price.
    pub open: PriceText,
    /// The highest price.
    pub high: PriceText,
    /// The lowest price.
    pub low: PriceText,
    /// The last price.
    pub close: PriceText,
    /// The number of ticks in the bucket.
    pub samples: u64,
    /// How many of these ticks were added afterwards, for slots before the pair's first live one.
    pub backfilled: u64,
    /// Whether the bucket has ended and every slot of it has a tick.
    pub complete: bool,
}

/// Ticks of a pair.
#[derive(Debug, Object, Serialize)]
pub struct History {
    /// One item per tick.
    pub items: Vec<HistoryItem>,
    /// The `cursor` of the next page. Null if there are no more ticks now.
    pub next_cursor: Nullable<String>,
}

/// One tick.
#[derive(Debug, Object, Serialize)]
pub struct HistoryItem {
    /// The slot that the price belongs to.
    pub slot: TimeText,
    /// The agreed price.
    pub price: PriceText,
    /// The tick's position in the log. `/v1/ticks/{sequence}` shows how the price was computed.
    pub sequence: u64,
    /// Whether the tick was added afterwards, for a slot before the pair's first live one: from the sources' candles, or
    /// from prices that a user imported.
    pub backfilled: bool,
}

/// Gaps of a pair.
#[derive(Debug, Object, Serialize)]
pub struct Gaps {
    /// One item per gap record. With `merge=true`, consecutive gap records are one item.
    pub items: Vec<GapItem>,
    /// The `cursor` of the next page. Null if there are no more gaps now.
    pub next_cursor: Nullable<String>,
}

/// Consecutive slots of a pair that have no tick. If the item was merged from several gap records, `from` is from the
/// first and `to` from the last of them, `slots` is the number of all their slots, and `interval`, `cause`, `sequence`,
/// `epoch` and `sources` are those of the first record.
#[derive(Debug, Object, Serialize)]
pub struct GapItem {
    /// The first slot of the gap.
    pub from: TimeText,
    /// The last slot of the gap.
    pub to: TimeText,
    /// The number of slots in the gap.
    pub slots: u64,
    /// The distance between slots.
    pub interval: SpanText,
    /// Why there is no tick.
    pub cause: Word<GapCause>,
    /// Whether the gap is about slots before the pair's first live one.
    pub backfilled: bool,
    /// The gap's position in the log; `/v1/ticks/{sequence}` shows the record. Null if the log has no record of the
    /// gap. Then `cause` says why: the records of these slots had expired before this pod read them (`retention`), were
    /// lost (`log_lost`), or could not be read (`unreadable`).
    pub sequence: Nullable<u64>,
    /// The term of the poller that wrote the gap. Null if `sequence` is null.
    pub epoch: Nullable<u64>,
    /// How many sources were asked. Null if no source was asked.
    pub sources: Nullable<u32>,
    /// Only with `merge=true`: the number of gap records in this item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Only with `merge=true`: the causes of these records, those with the most slots first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causes: Option<Vec<GapCauseItem>>,
}

/// A cause of a merged gap.
#[derive(Debug, Object, Serialize)]
pub struct GapCauseItem {
    /// Why there is no tick.
    pub cause: Word<GapCause>,
    /// The number of slots with this cause.
    pub slots: u64,
}

/// One record of the log with everything in it. Which members are present depends on `kind`.
#[derive(Debug, Object, Serialize)]
pub struct RecordItem {
    /// The record's position in the log.
    pub sequence: u64,
    /// What kind of record it is.
    pub kind: Word<RecordKind>,
    /// The pair.
    pub pair: PairText,
    /// The slot of a tick, or the last slot of a gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<TimeText>,
    /// Only for a gap: its first slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<TimeText>,
    /// Only for a lead: the last slot of this pair for which the log already had a tick or a gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered: Option<TimeText>,
    /// Only for a lead: the poller process that leads from here on, as named in its logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The distance between slots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<SpanText>,
    /// The term of the poller that wrote the record.
    pub epoch: u64,
    /// Where the records of the log come from.
    pub origin: Word<Origin>,
    /// Only for a tick: the agreed price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceText>,
    /// Only for a tick whose quotes are still kept: the spread of the quotes used, (max − min) / price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<DerivedText>,
    /// True if the record is about slots before the pair's first live one and was added afterwards, from the sources'
    /// candles or from prices that a user imported. A lead has this member if it continues after such a record. Absent
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfilled: Option<bool>,
    /// Only for a gap: why there is no tick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Word<GapCause>>,
    /// The rules that were applied to the quotes. Absent if no source was asked or the quotes have expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyItem>,
    /// The quote and verdict of every source. Null if no source was asked or the quotes have expired.
    pub quotes: Nullable<Vec<QuoteItem>>,
    /// Whether the record had quotes that are no longer returned because they are past their retention.
    pub quotes_expired: bool,
}

/// The rules by which a price is computed from quotes.
#[derive(Debug, Object, Serialize)]
pub struct PolicyItem {
    /// The number of the rules themselves. It changes when the same quotes and policy would give another result.
    pub rules: u32,
    /// Which price of a quote counts if the source returns both.
    pub price: Word<PriceRule>,
    /// The minimum number of quotes that must agree on a price.
    pub min_sources: u32,
    /// How far a quote may be from the median, and how far the used quotes may be from each other.
    pub max_deviation: DerivedText,
    /// The maximum age of a quote, by the source's own time.
    pub max_quote_age: SpanText,
    /// How far the source's own time may be ahead of the poller's clock.
    pub max_clock_skew: SpanText,
    /// How long a quote may stay unchanged before it counts as frozen, if the median of the other live sources is
    /// further from it than a tenth of `max_deviation`.
    pub frozen_after: SpanText,
    /// `slot` if the age of a quote is measured at the slot, which is the rule for prices of the past. Absent if it is
    /// measured at `observed_at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aged_at: Option<String>,
}

/// One source's quote.
#[derive(Debug, Object, Serialize)]
pub struct QuoteItem {
    /// The source.
    pub source: String,
    /// The price that counts. Null if the source gave none.
    pub price: Nullable<PriceText>,
    /// Where the price comes from: `mid`, `last`, `candle_close` or `imported`. Null if there is no quote.
    pub basis: Nullable<Word<Basis>>,
    /// The price of the last trade. Null if the source gave none.
    pub last: Nullable<PriceText>,
    /// The highest price that a buyer offers. Null if the source gave none.
    pub bid: Nullable<PriceText>,
    /// The lowest price at which a seller offers. Null if the source gave none.
    pub ask: Nullable<PriceText>,
    /// When the poller received the quote. Null if there is no quote.
    pub observed_at: Nullable<TimeText>,
    /// The source's own time of the price that counts. Null if it gives none.
    pub source_time: Nullable<TimeText>,
    /// Since when the source has returned exactly the same prices and the same time. Null if there is no quote.
    pub unchanged_since: Nullable<TimeText>,
    /// The maximum age of this source's quotes. Absent if the `max_quote_age` of the policy applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_quote_age: Option<SpanText>,
    /// `used`, or why the quote was not used.
    pub verdict: Word<Verdict>,
}
