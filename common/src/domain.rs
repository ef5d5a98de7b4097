//! The words of the project, one type each.
//!
//! A value of these types is valid: fields are private, and the only doors are the constructors that
//! check. None of them serializes itself; log bytes belong to [`crate::wire`], HTTP shapes to the API.

mod pair;
mod price;
mod quote;
mod ratio;
mod record;
mod slot;
mod time;
mod words;

pub use pair::{Asset, AssetError, Pair, PairError};
pub use price::{Price, PriceError};
pub use quote::{Failure, Judged, Observation, Quote, SourceName, SourceNameError, Verdict};
pub use ratio::{Ratio, RatioError};
pub use record::{
    Body, Epoch, Evidence, Gap, GapCause, Lead, LeaderId, LeaderIdError, Origin, Policy, Record, Sequence,
    Tick,
};
pub use slot::{Interval, IntervalError, Slot};
pub use time::{Span, SpanError, Timestamp, TimestampError};
pub use words::{UnknownWord, Words, nearest};
