//! The shapes of CoinGecko's responses. Prices are JSON numbers with exactly the digits that they have in the log.

use std::{borrow::Cow, collections::BTreeMap, fmt::Display};

use common::domain::Timestamp;
use poem_openapi::{
    Object,
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;

use ledger::summary::{Point, Summary};

/// A JSON number that is never converted to binary floating point.
#[derive(Debug, Clone)]
pub(super) struct Number(String);

/// The members of a coin in `simple/price`: numbers, or null where there is no value.
#[derive(Debug, Default, Serialize)]
pub(super) struct Quotes(pub(super) BTreeMap<String, Option<Number>>);

impl Number {
    /// The number that a value formats as. It must be a plain decimal number.
    pub(super) fn of(value: impl Display) -> Self {
        Self(value.to_string())
    }

    pub(super) fn seconds(time: Timestamp) -> Self {
        Self::of(time.unix_millis() / 1_000)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.clone()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// Implements the framework's `Type` for a value with this schema.
macro_rules! schema {
    ($name:ident, $schema:expr) => {
        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new($schema))
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

schema!(Number, MetaSchema::new("number"));
schema!(
    Quotes,
    MetaSchema {
        additional_properties: Some(Box::new(MetaSchemaRef::Inline(Box::new(MetaSchema {
            nullable: true,
            ..MetaSchema::new("number")
        })))),
        ..MetaSchema::new("object")
    }
);

// The framework requires every member of an `Object` to have these conversions. Responses are written by `Serialize`
// instead, and requests have no body.
impl ToJSON for Number {
    fn to_json(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.0).ok()
    }
}

impl ParseFromJSON for Number {
    fn parse_from_json(value: Option<serde_json::Value>) -> ParseResult<Self> {
        match value.unwrap_or_default() {
            serde_json::Value::Number(number) => Ok(Self::of(number)),
            other => Err(ParseError::expected_type(other)),
        }
    }
}

/// A row of a chart: a time in unix milliseconds, and then prices.
pub(super) type Row = Vec<Number>;

/// The row of a tick: the time of its slot, and its price.
pub(super) fn point_row(point: &Point) -> Row {
    vec![Number::of(point.slot.start().unix_millis()), Number::of(point.price)]
}

/// The row of a candle: its end, and its opening, highest, lowest and closing price.
pub(super) fn candle_row(end: Timestamp, candle: &Summary) -> Row {
    let prices = [candle.first, candle.max, candle.min, candle.last].map(|point| Number::of(point.price));
    [Number::of(end.unix_millis())].into_iter().chain(prices).collect()
}

/// A sign of life.
#[derive(Debug, Object, Serialize)]
pub(super) struct CoinGeckoPing {
    /// CoinGecko's words, which some clients compare.
    pub(super) gecko_says: String,
}

/// A coin that is the base of a pair in the log.
#[derive(Debug, Object, Serialize)]
pub(super) struct CoinGeckoCoin {
    /// The id to ask for the coin with.
    pub(super) id: String,
    /// The asset in lower case.
    pub(super) symbol: String,
    /// The name of the coin.
    pub(super) name: String,
}

/// A chart of prices.
#[derive(Debug, Object, Serialize)]
pub(super) struct CoinGeckoChart {
    /// Each row has the slot of a tick in unix milliseconds, and its price.
    pub(super) prices: Vec<Row>,
    /// Always empty, because Tickwell knows no supply of coins.
    pub(super) market_caps: Vec<Row>,
    /// Always empty, because Tickwell counts no trades.
    pub(super) total_volumes: Vec<Row>,
}

/// What one bitcoin is worth.
#[derive(Debug, Object, Serialize)]
pub(super) struct CoinGeckoRates {
    /// The rates, by currency or coin in lower case.
    pub(super) rates: BTreeMap<String, CoinGeckoRate>,
}

/// What one bitcoin is worth in a currency or coin.
#[derive(Debug, Object, Serialize)]
pub(super) struct CoinGeckoRate {
    /// The name of the currency or coin.
    pub(super) name: String,
    /// Its sign.
    pub(super) unit: String,
    /// How many of it one bitcoin is worth.
    pub(super) value: Number,
    /// `fiat` or `crypto`.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit() {
        let decimal = |text: &str| Number::of(text.parse::<rust_decimal::Decimal>().unwrap());
        for text in ["97012.30", "0.00000000000001", "999999999999.99999999999999", "1"] {
            assert_eq!(serde_json::to_string(&decimal(text)).unwrap(), text);
        }
        let quotes = Quotes([("usd".to_owned(), Some(decimal("1.10"))), ("x".to_owned(), None)].into());
        assert_eq!(serde_json::to_string(&quotes).unwrap(), r#"{"usd":1.10,"x":null}"#);
    }
}
