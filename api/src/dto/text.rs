//! Values that are text in JSON, each with its format in the document.

use std::{borrow::Cow, num::ParseIntError, time::Duration};

use common::domain::{Asset, GapCause, Pair, PairError, Price, Ratio, Span, Timestamp, TimestampError};
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type},
};
use rust_decimal::Decimal;

use super::{
    list::List,
    schema::{
        ASSET, PAIR, SPAN, UNSIGNED, decimal, formatted, instant, list_of, one_of, sequence_schema, shaped,
    },
};
use crate::problem::Problem;
use ledger::{
    candle::CandleInterval,
    position::Cursor,
    rate::{Amount, Rounded},
};

/// Defines a type that is written as text, with its schema.
macro_rules! text_type {
    ($(#[$meta:meta])* $name:ident($inner:ty), $schema:literal, $base:expr, $description:literal, $example:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub struct $name(pub $inner);

        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                $schema.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                let schema = MetaSchema {
                    description: Some($description),
                    example: Some($example.into()),
                    ..$base
                };
                MetaSchemaRef::Inline(Box::new(schema))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl ToJSON for $name {
            fn to_json(&self) -> Option<serde_json::Value> {
                Some(serde_json::Value::String(self.0.to_string()))
            }
        }

        // Objects of the framework can always be read as well; ours are by clients in Rust.
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

/// Defines a parameter in the path. The framework does not know such a parameter's name when it cannot
/// be read, so reading it is left to the handler, which calls `value()`.
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

        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                stringify!($name).into()
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

        impl ParseFromParameter for $name {
            fn parse_from_parameter(value: &str) -> ParseResult<Self> {
                Ok(Self(value.to_owned()))
            }
        }
    };
}

/// Lets a text type be a parameter.
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
    "Base and quote asset. Any case and `-`, `_` or `/` are taken, so `btc-usd`, `BTC_USD` and `BTC/USD` (in a path \
     `BTC%2FUSD`) too; answers are canonical.", "BTC-USD"
);

text_type!(
    /// An asset.
    AssetText(Asset), "string_asset", shaped(ASSET),
    "An asset, in its canonical spelling.", "BTC"
);

text_type!(
    /// The asset to convert from, as a parameter.
    FromAssetText(Asset), "string_from_asset", shaped(ASSET),
    "An asset of one of the log's pairs, in any case.", "ETH"
);
parameter!(FromAssetText);

text_type!(
    /// The asset to convert to, as a parameter.
    ToAssetText(Asset), "string_to_asset", shaped(ASSET),
    "An asset of one of the log's pairs, in any case.", "BTC"
);
parameter!(ToAssetText);

text_type!(
    /// How much of an asset.
    AmountText(Amount), "string_amount", decimal(UNSIGNED),
    "An exact decimal above zero: digits with an optional point.", "1.5"
);
parameter!(AmountText);

text_type!(
    /// A rate, or what an amount is worth by it.
    RateText(Rounded), "string_rate", decimal(UNSIGNED),
    "A decimal, rounded half-even to eight places, or to as many more as it takes to have twelve digits from the \
     first that is not zero.", "0.0350481281981"
);

path_parameter!(
    /// A pair in the path.
    PairParameter(Pair), "pair", PairText::schema_ref(),
    |error: PairError| format!("{error}; /v1/pairs lists those of the log")
);

path_parameter!(
    /// A position in the path.
    SequenceParameter(u64), "sequence", sequence_schema(),
    |_: ParseIntError| format!("a sequence is a whole number from 1 to {}", u64::MAX)
);

text_type!(
    /// A price, with the digits of the log.
    PriceText(Price), "string_price", decimal(UNSIGNED),
    "An exact decimal, never rounded.", "97012.30"
);

text_type!(
    /// A value computed from prices.
    DerivedText(Decimal), "string_derived", decimal(&format!("-?{UNSIGNED}")),
    "A decimal. Means and ratios are rounded half-even to eight places; a difference of prices is exact.", "0.00031000"
);

text_type!(
    /// An instant.
    TimeText(Timestamp), "string_time", formatted("date-time"),
    "RFC 3339 in UTC, with milliseconds.", "2026-11-21T00:00:10.000Z"
);

text_type!(
    /// A length of time.
    SpanText(Span), "string_span", shaped(SPAN),
    "A whole number and one of ms, s, m, h, d.", "10s"
);
parameter!(SpanText);

text_type!(
    /// A gap's cause as a parameter. In answers it is a plain string: further words may join.
    CauseParameter(GapCause), "string_cause", one_of::<GapCause>(),
    "Why there is no tick.", "no_leader"
);
parameter!(CauseParameter);

text_type!(
    /// A candle's length as a parameter.
    CandleIntervalParameter(CandleInterval), "string_candle_interval", one_of::<CandleInterval>(),
    "How long a candle's bucket is.", "1h"
);
parameter!(CandleIntervalParameter);

text_type!(
    /// A ratio as a parameter.
    RatioParameter(Ratio), "string_ratio", shaped(r"([0-9]{1,6}(\.[0-9]{1,8})?|[0-9]{1,6}(\.[0-9]{1,6})?%)"),
    "A part like 0.95, or a percentage like 95%.", "0.95"
);
parameter!(RatioParameter);

text_type!(
    /// An instant as a parameter, in either of its spellings.
    TimestampParameter(Timestamp), "string_timestamp", instant(),
    "RFC 3339, or unix milliseconds.", "2026-01-01T00:00:00Z"
);

/// Below this, a whole number is more likely meant in seconds: in milliseconds it lies before 1973.
const LIKELY_SECONDS: i64 = 100_000_000_000;

impl TimestampParameter {
    /// Reads either spelling. Commands take instants as routes do.
    pub fn read(text: &str) -> Result<Self, String> {
        let parsed = match text.parse::<i64>() {
            Ok(0) => return Err("leave it out to begin with the oldest there is".to_owned()),
            Ok(number) if (1..LIKELY_SECONDS).contains(&number) => {
                return Err(format!(
                    "{number} looks like seconds; give milliseconds ({number}000) or RFC 3339"
                ));
            }
            Ok(number) if !text.starts_with('+') => Timestamp::from_unix_millis(number),
            _ => text.parse(),
        };
        parsed.map(Self).map_err(|error: TimestampError| match with_zone(text) {
            Some(meant) => format!("`{text}` says no time zone; write {meant} if it is UTC"),
            None => error.to_string(),
        })
    }
}

/// An instant whose time zone was left out, as it is in UTC; nothing where something else is amiss.
fn with_zone(text: &str) -> Option<String> {
    let zoned = ["Z", "T00:00:00Z"].map(|missing| format!("{text}{missing}"));
    zoned.into_iter().find(|text| text.parse::<Timestamp>().is_ok())
}

/// An instant whose `+` came as a space, which it stands for in a query.
fn is_unescaped(text: &str) -> bool {
    text.contains(' ') && text.replace(' ', "+").parse::<Timestamp>().is_ok()
}

impl ParseFromParameter for TimestampParameter {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        if is_unescaped(value) {
            let meant = value.replace(' ', "%2B");
            return Err(ParseError::custom(format!(
                "`{value}` has a space; in a query + is written %2B: {meant}"
            )));
        }
        Self::read(value).map_err(ParseError::custom)
    }
}

text_type!(
    /// Windows as a parameter.
    SpansText(List<Span>), "string_spans",
    list_of(SPAN),
    "One or more windows, separated by commas, each of another length.", "10m,1h,24h"
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
    /// A place in the log, to go on behind.
    CursorParameter(Cursor), "string_cursor", shaped("([a-z0-9]{1,40}-(before-)?)?[0-9]{1,19}"),
    "The `id` of an event, or a sequence.", "0"
);
parameter!(CursorParameter);

impl SpanText {
    /// A length, where it is not zero.
    pub fn of(length: Duration) -> Option<Self> {
        Span::from_millis(u64::try_from(length.as_millis()).ok()?).map(Self)
    }
}
