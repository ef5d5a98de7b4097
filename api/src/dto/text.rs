//! Values that are strings in JSON, each with its format for the OpenAPI document. `timestamp` reads times.

mod timestamp;

use std::{borrow::Cow, num::ParseIntError, time::Duration};

use common::domain::{Asset, Digits, GapCause, Pair, PairError, Price, Ratio, Span, Timestamp};
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type},
};
use rust_decimal::Decimal;
use serde::{Serialize, Serializer};

use super::{
    list::{List, WindowLength},
    schema::{
        ABOVE_ZERO, ASSET, PAGE_CURSOR, PAIR, RATIO, SPAN, STREAM_CURSOR, UNSIGNED, UP_TO_ONE, decimal,
        formatted, instant, list_of, one_of, sequence_schema, shaped,
    },
};
use crate::problem::Problem;
use ledger::{
    candle::CandleInterval,
    position::Cursor,
    rate::{Amount, Rounded},
};

/// Implements the framework's `Type` for a value without members.
macro_rules! value_type {
    ($name:ident, $type_name:expr, $schema:expr) => {
        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                $type_name.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                $schema
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }
    };
}

/// Defines a type that is a string in JSON, with its schema. With `shown as`, another type displays the value.
macro_rules! text_type {
    ($(#[$meta:meta])* $name:ident($inner:ty) $(shown as $shown:path)?, $schema:literal, $base:expr, $description:literal, $example:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub struct $name(pub $inner);

        value_type!($name, $schema, {
            let schema = MetaSchema {
                description: Some($description),
                example: Some($example.into()),
                ..$base
            };
            MetaSchemaRef::Inline(Box::new(schema))
        });

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&$($shown)?(self.0))
            }
        }

        // The framework requires every member of an `Object` to have this conversion and the one below. Responses are
        // written by `Serialize` instead.
        impl ToJSON for $name {
            fn to_json(&self) -> Option<serde_json::Value> {
                Some(serde_json::Value::String(self.0.to_string()))
            }
        }

        impl ParseFromJSON for $name {
            fn parse_from_json(value: Option<serde_json::Value>) -> ParseResult<Self> {
                match value.unwrap_or_default() {
                    serde_json::Value::String(text) => text.parse().map(Self).map_err(ParseError::custom),
                    other => Err(ParseError::expected_type(other)),
                }
            }
        }
    };
}

/// Defines a parameter in the path. If the framework cannot parse a path parameter, it does not report the parameter's
/// name. So the handler parses the parameter by calling `value()`.
macro_rules! path_parameter {
    ($(#[$meta:meta])* $name:ident($inner:ty), $parameter:literal, $schema:expr, $refuse:expr) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name(String);

        impl $name {
            /// The value, or a problem that names the parameter.
            pub fn value(&self) -> Result<$inner, Problem> {
                self.0.parse().map_err(|error| Problem::parameter($parameter, ($refuse)(error)))
            }
        }

        value_type!($name, stringify!($name), $schema);

        impl ParseFromParameter for $name {
            fn parse_from_parameter(value: &str) -> ParseResult<Self> {
                Ok(Self(value.to_owned()))
            }
        }
    };
}

/// Lets a text type be used as a parameter.
macro_rules! parameter {
    ($name:ident) => {
        impl ParseFromParameter for $name {
            fn parse_from_parameter(value: &str) -> ParseResult<Self> {
                value.parse().map(Self).map_err(ParseError::custom)
            }
        }
    };
}

text_type!(
    /// A pair.
    PairText(Pair), "string_pair", shaped(PAIR),
    "Base and quote asset. Requests may use upper or lower case and `-`, `_` or `/`: `btc-usd`, `BTC_USD` and `BTC/USD` \
     (`BTC%2FUSD` in a path) mean the same. Responses always use the form `BTC-USD`.", "BTC-USD"
);

text_type!(
    /// An asset.
    AssetText(Asset), "string_asset", shaped(ASSET),
    "An asset, in upper case.", "BTC"
);

text_type!(
    /// The asset to convert from, as a parameter.
    FromAssetText(Asset), "string_from_asset", shaped(ASSET),
    "An asset of one of the pairs in the log, in upper or lower case.", "ETH"
);
parameter!(FromAssetText);

text_type!(
    /// The asset to convert to, as a parameter.
    ToAssetText(Asset), "string_to_asset", shaped(ASSET),
    "An asset of one of the pairs in the log, in upper or lower case.", "BTC"
);
parameter!(ToAssetText);

text_type!(
    /// An amount of an asset.
    AmountText(Amount), "string_amount", decimal(UNSIGNED),
    "An exact decimal above zero: digits with an optional decimal point.", "1.5"
);

text_type!(
    /// An amount of an asset, as a parameter.
    AmountParameter(Amount), "string_amount_parameter", decimal(ABOVE_ZERO),
    "An exact decimal above zero: digits with an optional decimal point.", "1.5"
);
parameter!(AmountParameter);

text_type!(
    /// A rate, or the value of an amount at that rate.
    RateText(Rounded), "string_rate", decimal(UNSIGNED),
    "A decimal, rounded half-even. It has eight decimal places, or more if they are needed for twelve significant \
     digits.", "0.0350481281981"
);

path_parameter!(
    /// A pair in the path.
    PairParameter(Pair), "pair", PairText::schema_ref(),
    |error: PairError| format!("{error}; see /v1/pairs for the pairs in the log")
);

path_parameter!(
    /// A position in the path.
    SequenceParameter(u64), "sequence", sequence_schema(),
    |_: ParseIntError| format!(
        "must be a whole number from 1 to {}; the prices at /v1/prices have such numbers as `sequence`", u64::MAX
    )
);

text_type!(
    /// A price, with the digits of the log.
    PriceText(Price), "string_price", decimal(UNSIGNED),
    "An exact decimal, never rounded.", "97012.30"
);

text_type!(
    /// A value computed from prices.
    DerivedText(Decimal) shown as Digits, "string_derived", decimal(&format!("-?{UNSIGNED}")),
    "A decimal. Means and ratios are rounded half-even to eight decimal places, or more if they are needed for twelve \
     significant digits, but at most 28. A difference of prices is exact.",
    "0.00031000"
);

text_type!(
    /// A time.
    TimeText(Timestamp), "string_time", formatted("date-time"),
    "RFC 3339 in UTC, with milliseconds.", "2026-11-21T00:00:10.000Z"
);

text_type!(
    /// A duration.
    SpanText(Span), "string_span", shaped(SPAN),
    "A duration: a whole number followed by ms, s, m, h or d.", "10s"
);
parameter!(SpanText);

text_type!(
    /// A gap's cause as a parameter. In responses, the list of causes has one more word, `other`.
    CauseParameter(GapCause), "string_cause", one_of::<GapCause>(),
    "Why there is no tick.", "no_leader"
);
parameter!(CauseParameter);

text_type!(
    /// A candle's length as a parameter.
    CandleIntervalParameter(CandleInterval), "string_candle_interval", one_of::<CandleInterval>(),
    "The length of a candle.", "1h"
);
parameter!(CandleIntervalParameter);

text_type!(
    /// A ratio as a parameter.
    RatioParameter(Ratio), "string_ratio", shaped(RATIO),
    "A ratio like 0.95, or a percentage like 95%.", "0.95"
);
parameter!(RatioParameter);

text_type!(
    /// A ratio of at most 1 as a parameter. The handler checks the limit.
    CoverageParameter(Ratio), "string_coverage", shaped(UP_TO_ONE),
    "A ratio like 0.95, or a percentage like 95%.", "0.95"
);
parameter!(CoverageParameter);

text_type!(
    /// A time as a parameter: RFC 3339, a date or unix milliseconds.
    TimestampParameter(Timestamp), "string_timestamp", instant(),
    "RFC 3339, a date (the start of that day in UTC), or unix milliseconds.", "2026-01-01T00:00:00Z"
);

text_type!(
    /// The length of a window, as the request has it.
    WindowText(WindowLength), "string_window", shaped(SPAN),
    "A duration: a whole number followed by ms, s, m, h or d.", "24h"
);

text_type!(
    /// Windows as a parameter.
    SpansText(List<WindowLength>), "string_spans",
    list_of(SPAN),
    "One or more durations, separated by commas, without duplicates.", "10m,1h,24h"
);
parameter!(SpansText);

text_type!(
    /// Pairs as a parameter.
    PairsParameter(List<Pair>), "string_pairs",
    list_of(PAIR),
    "One or more pairs, separated by commas.", "BTC-USD"
);
parameter!(PairsParameter);

text_type!(
    /// A position in the log to continue after.
    CursorParameter(Cursor), "string_cursor", shaped(STREAM_CURSOR),
    "The `id` of an event, or a sequence.", "0"
);
parameter!(CursorParameter);

/// The header of a client that reconnects. The handler parses it, because for server-sent events even an unreadable one
/// has a response.
#[derive(Debug)]
pub struct LastEventIdParameter(pub String);

value_type!(
    LastEventIdParameter,
    "string_last_event_id",
    MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")))
);

impl ParseFromParameter for LastEventIdParameter {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Ok(Self(value.to_owned()))
    }
}

/// The `next_cursor` of a page. The handler parses the cursor, because only the handler knows the order of the list.
#[derive(Debug)]
pub struct PageCursorParameter(pub String);

value_type!(PageCursorParameter, "string_page_cursor", MetaSchemaRef::Inline(Box::new(shaped(PAGE_CURSOR))));

impl ParseFromParameter for PageCursorParameter {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Ok(Self(value.to_owned()))
    }
}

impl SpanText {
    /// The duration, or `None` if it is zero.
    pub fn of(length: Duration) -> Option<Self> {
        Span::from_millis(u64::try_from(length.as_millis()).ok()?).map(Self)
    }
}
