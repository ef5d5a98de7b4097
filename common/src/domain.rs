//! The domain types.
//!
//! Values of these types are always valid, because their constructors check them. The types do not implement
//! serialization: [`crate::wire`] defines the format of the log, and the API defines its own JSON.

mod decimal;
mod pair;
mod policy;
mod price;
mod quote;
mod ratio;
mod record;
mod slot;
mod time;
mod words;

pub use decimal::Digits;
pub use pair::{Asset, AssetError, Pair, PairError};
pub use policy::{AgeRule, Policy, PriceRule};
pub use price::{Price, PriceError};
pub use quote::{Basis, Failure, Judged, Observation, Quote, Reported, SourceName, SourceNameError, Verdict};
pub use ratio::{Ratio, RatioError};
pub use record::{
    Body, Epoch, Evidence, Gap, GapCause, Lead, LeaderId, LeaderIdError, Origin, Record, Sequence, Tick,
};
pub use slot::{Interval, IntervalError, Slot};
pub use time::{Span, SpanError, Timestamp, TimestampError};
pub use words::{UnknownWord, Words, nearest};
