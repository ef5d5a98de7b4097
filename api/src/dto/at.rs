//! The prices of a pair at given times.

use std::borrow::Cow;

use common::domain::Timestamp;
use poem_openapi::{
    Object,
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromParameter, ParseResult, Type},
};
use serde::Serialize;

use super::{
    GapItem, HistoryItem, Nullable, Outcome, PairText, PriceText, TimeText, TimestampParameter, Word,
};

/// The maximum number of times in one request. A look-up takes some ten microseconds.
pub const MAX_TIMES: usize = 100;

/// The prices of a pair at the requested times.
#[derive(Debug, Object, Serialize)]
pub struct PricesAt {
    /// The pair.
    pub pair: PairText,
    /// One item for each requested time, in the order of the request.
    pub items: Vec<PriceAtItem>,
}

/// What the log has for one time.
#[derive(Debug, Object, Serialize)]
pub struct PriceAtItem {
    /// The requested time.
    pub time: TimeText,
    /// What the log has for `time`.
    pub outcome: Word<Outcome>,
    /// The price of the tick. Null unless `outcome` is `tick`, and so are the next three members.
    pub price: Nullable<PriceText>,
    /// The tick's slot.
    pub slot: Nullable<TimeText>,
    /// The tick's position in the log. `/v1/ticks/{sequence}` shows how the price was computed.
    pub sequence: Nullable<u64>,
    /// True if the tick was added afterwards, for a slot before the pair's first live one. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfilled: Option<bool>,
    /// The milliseconds from the tick's slot to `time`.
    pub age_millis: Nullable<u64>,
    /// Only if `outcome` is `gap`: the gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapItem>,
    /// Only if `outcome` is `gap` and history has a tick before the gap: the newest one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<HistoryItem>,
}

/// Times as a parameter that can be repeated: at least one, and at most [`MAX_TIMES`].
#[derive(Debug)]
pub struct TimesParameter(pub Vec<Timestamp>);

impl Type for TimesParameter {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "list_of_times".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            items: Some(Box::new(TimestampParameter::schema_ref())),
            min_items: Some(1),
            max_items: Some(MAX_TIMES),
            ..MetaSchema::new("array")
        }))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromParameter for TimesParameter {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Self::parse_from_parameters([value])
    }

    fn parse_from_parameters<I: IntoIterator<Item = A>, A: AsRef<str>>(values: I) -> ParseResult<Self> {
        // Read only one time more than the limit, which is enough to refuse the request.
        let times = values
            .into_iter()
            .take(MAX_TIMES + 1)
            .map(|value| TimestampParameter::parse_from_parameter(value.as_ref()).map(|time| time.0));
        let times: Vec<Timestamp> = times.collect::<Result<_, _>>().map_err(ParseError::propagate)?;
        match times.len() {
            0 => Err(ParseError::custom("give at least one time, such as time=2026-11-21T00:00:00Z")),
            count if count > MAX_TIMES => {
                Err(ParseError::custom(format!("give at most {MAX_TIMES} times in one request")))
            }
            _ => Ok(Self(times)),
        }
    }
}
