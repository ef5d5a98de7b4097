//! The shapes of answers. What is documented at `/docs` is what is here.
//!
//! Prices are strings with the digits of the log, derived values strings with eight places, times RFC 3339
//! with milliseconds. Nothing here is computed; [`crate::routes`] fills it in.

mod conversion;
mod event;
mod list;
mod schema;
mod sources;
mod text;

use poem_openapi::Object;

pub use conversion::{Conversion, LegItem};
pub use event::EventItem;
pub use schema::sequence_schema;
pub use sources::{SourceItem, SourcePairItem, Sources};
pub use text::{
    AmountText, AssetText, CandleIntervalParameter, CauseParameter, CursorParameter, DerivedText,
    FromAssetText, PairParameter, PairText, PairsParameter, PriceText, RateText, RatioParameter,
    SequenceParameter, SpanText, SpansText, TimeText, TimestampParameter, ToAssetText,
};

/// The pairs of the log.
#[derive(Debug, Object)]
pub struct Pairs {
    /// One item a pair, by name.
    pub items: Vec<PairItem>,
}

/// One pair of the log.
#[derive(Debug, Object)]
pub struct PairItem {
    /// The pair.
    pub pair: PairText,
    /// Its newest slot, tick or gap.
    pub slot: TimeText,
    /// The position of that slot's record.
    pub sequence: u64,
    /// The distance between its slots.
    pub interval: SpanText,
    /// `live`, `replay` or `simulated`.
    pub origin: String,
    /// Whether its newest tick is too old to be taken for the price now.
    pub stale: bool,
}

/// The newest prices.
#[derive(Debug, Object)]
pub struct Prices {
    /// One item for each pair that has a price, by name; with `pairs`, one for each of these, as asked.
    pub items: Vec<PriceItem>,
}

/// The newest price of a pair.
#[derive(Debug, Object)]
pub struct PriceItem {
    /// The pair.
    pub pair: PairText,
    /// The agreed price.
    pub price: PriceText,
    /// The slot the price stands for.
    pub slot: TimeText,
    /// The tick's position in the log; `/v1/ticks/{sequence}` explains it.
    pub sequence: u64,
    /// The term of the poller that wrote it.
    pub epoch: u64,
    /// `live`, `replay` or `simulated`.
    pub origin: String,
    /// The sources whose quotes made the price.
    pub sources: Vec<String>,
    /// (max − min) / price of those quotes.
    pub spread: DerivedText,
    /// How far the price is from that of 24 hours earlier, in relation to it; null where there is no tick
    /// within three intervals before that instant.
    pub change_24h: Option<DerivedText>,
    /// Whether the price is too old to be taken for the price now.
    pub stale: bool,
    /// When the pair's next record is due.
    pub next_slot: TimeText,
}

/// Averages of a pair over one or more windows.
#[derive(Debug, Object)]
pub struct Averages {
    /// The pair.
    pub pair: PairText,
    /// The slot every window ends with: the pair's newest.
    pub as_of: TimeText,
    /// The position of that slot's record.
    pub sequence: u64,
    /// One item for each window asked for, in that order.
    pub windows: Vec<WindowItem>,
}

/// Averages over one window `(from, to]`. Where it holds no tick, there is nothing to average: null.
#[derive(Debug, Object)]
pub struct WindowItem {
    /// The length that was asked for, in its canonical spelling: the largest unit that is exact, so `60m` is `1h`.
    pub window: SpanText,
    /// Where it begins; a tick at this very instant is not in it.
    pub from: TimeText,
    /// Where it ends; a tick at this very instant is in it.
    pub to: TimeText,
    /// The mean of its ticks.
    pub mean: Option<DerivedText>,
    /// The time-weighted mean: each tick weighs the time until the next one, if that is at most three
    /// intervals, else one interval; the newest weighs one interval.
    pub twap: Option<DerivedText>,
    /// The price in the middle, or the midpoint of the two; null also where the window has more than 100,000
    /// ticks.
    pub median: Option<DerivedText>,
    /// The exponential moving average: α = 2 / (`expected` + 1), seeded by the first tick, missing slots passed
    /// over; null also where the window has more than 100,000 ticks.
    pub ema: Option<DerivedText>,
    /// The lowest price.
    pub min: Option<PriceText>,
    /// The highest price.
    pub max: Option<PriceText>,
    /// The first price.
    pub open: Option<PriceText>,
    /// The last price.
    pub close: Option<PriceText>,
    /// Close less open, exactly.
    pub change: Option<DerivedText>,
    /// Change in relation to open; null also where that is above 10²⁰.
    pub change_ratio: Option<DerivedText>,
    /// The standard deviation of its ticks, as of a whole population.
    pub stddev: Option<DerivedText>,
    /// The slots it has at the present interval.
    pub expected: u64,
    /// The ticks in it.
    pub observed: u64,
    /// How much of it is covered by ticks, from 0 to 1.
    pub coverage: DerivedText,
    /// The longest stretch of it without ticks; null where no slot is missing.
    pub largest_gap: Option<SpanText>,
    /// Whether every slot of it has a tick.
    pub complete: bool,
}

/// Candles of a pair.
#[derive(Debug, Object)]
pub struct Candles {
    /// One item for each bucket with a tick.
    pub items: Vec<CandleItem>,
    /// What to send as `cursor` for the candles after these; null where there are no more now.
    pub next_cursor: Option<String>,
}

/// One bucket `[start, start + interval)`. There is no volume: these are prices that were polled.
#[derive(Debug, Object)]
pub struct CandleItem {
    /// Where it begins; a tick at this very instant is in it.
    pub start: TimeText,
    /// The first price.
    pub open: PriceText,
    /// The highest price.
    pub high: PriceText,
    /// The lowest price.
    pub low: PriceText,
    /// The last price.
    pub close: PriceText,
    /// The ticks in it.
    pub samples: u64,
    /// Whether it is over and every slot of it has a tick.
    pub complete: bool,
}

/// Ticks of a pair.
#[derive(Debug, Object)]
pub struct History {
    /// One item a tick.
    pub items: Vec<HistoryItem>,
    /// What to send as `cursor` for the ticks after these; null where there are no more now.
    pub next_cursor: Option<String>,
}

/// One tick.
#[derive(Debug, Object)]
pub struct HistoryItem {
    /// The slot the price stands for.
    pub slot: TimeText,
    /// The agreed price.
    pub price: PriceText,
    /// The tick's position in the log; `/v1/ticks/{sequence}` explains it.
    pub sequence: u64,
}

/// Gaps of a pair.
#[derive(Debug, Object)]
pub struct Gaps {
    /// One item a gap record.
    pub items: Vec<GapItem>,
    /// What to send as `cursor` for the gaps after these; null where there are no more now.
    pub next_cursor: Option<String>,
}

/// Slots of a pair that have no tick.
#[derive(Debug, Object)]
pub struct GapItem {
    /// The first slot it covers.
    pub from: TimeText,
    /// The last slot it covers.
    pub to: TimeText,
    /// How many slots it covers.
    pub slots: u64,
    /// The distance between its slots.
    pub interval: SpanText,
    /// Why there is no tick.
    pub cause: String,
    /// The gap's position in the log; `/v1/ticks/{sequence}` explains it. Null where the log no longer held
    /// a record of these slots when they were read (`retention`), or lost it (`log_lost`), or holds a message
    /// there that is not a record (`unreadable`).
    pub sequence: Option<u64>,
    /// The term of the poller that wrote it; null likewise.
    pub epoch: Option<u64>,
    /// How many sources were asked; null where nobody was.
    pub sources: Option<u32>,
}

/// One record of the log, explained. Which members it has depends on `kind`.
#[derive(Debug, Object)]
pub struct RecordItem {
    /// Its position in the log.
    pub sequence: u64,
    /// `tick`, `gap` or `lead`.
    pub kind: String,
    /// The pair.
    pub pair: PairText,
    /// The slot it stands for; of a gap, the last one it covers.
    #[oai(skip_serializing_if_is_none)]
    pub slot: Option<TimeText>,
    /// Of a gap: the first slot it covers.
    #[oai(skip_serializing_if_is_none)]
    pub from: Option<TimeText>,
    /// Of a lead: up to which slot the log covered the pair before.
    #[oai(skip_serializing_if_is_none)]
    pub covered: Option<TimeText>,
    /// Of a lead: which poller process leads from here on, as in its own log lines.
    #[oai(skip_serializing_if_is_none)]
    pub leader: Option<String>,
    /// The distance between slots.
    #[oai(skip_serializing_if_is_none)]
    pub interval: Option<SpanText>,
    /// The term of the poller that wrote it.
    pub epoch: u64,
    /// `live`, `replay` or `simulated`.
    pub origin: String,
    /// Of a tick: the agreed price.
    #[oai(skip_serializing_if_is_none)]
    pub price: Option<PriceText>,
    /// Of a tick: (max − min) / price of the quotes used; as long as these are kept.
    #[oai(skip_serializing_if_is_none)]
    pub spread: Option<DerivedText>,
    /// Of a gap: why there is no tick.
    #[oai(skip_serializing_if_is_none)]
    pub cause: Option<String>,
    /// The rules that were in force, as long as the quotes are kept.
    #[oai(skip_serializing_if_is_none)]
    pub policy: Option<PolicyItem>,
    /// What each source said, and what was done with it; null where nobody was asked, or the quotes have
    /// expired.
    pub quotes: Option<Vec<QuoteItem>>,
    /// Whether the quotes are past their retention.
    pub quotes_expired: bool,
}

/// The rules by which quotes became a price.
#[derive(Debug, Object)]
pub struct PolicyItem {
    /// How many quotes a price needs.
    pub min_sources: u32,
    /// How far a quote may lie from the median, and the used quotes from each other.
    pub max_deviation: DerivedText,
    /// How old a quote's own time may be.
    pub max_quote_age: SpanText,
    /// How far a quote's own time may lie ahead of the poller's clock.
    pub max_clock_skew: SpanText,
    /// After how long an unchanged quote counts as frozen, if a peer moved meanwhile.
    pub frozen_after: SpanText,
}

/// One source's quote.
#[derive(Debug, Object)]
pub struct QuoteItem {
    /// The source.
    pub source: String,
    /// Its price; null where it gave none.
    pub price: Option<PriceText>,
    /// When its answer was here.
    pub observed_at: Option<TimeText>,
    /// Its own time for the price, where it gives one.
    pub source_time: Option<TimeText>,
    /// Since when it has been giving this same price.
    pub unchanged_since: Option<TimeText>,
    /// How old its own time may be, where it has a limit of its own and not the policy's.
    #[oai(skip_serializing_if_is_none)]
    pub max_quote_age: Option<SpanText>,
    /// `used`, or why not.
    pub verdict: String,
}
