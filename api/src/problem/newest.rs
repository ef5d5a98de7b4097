//! The newest price as a member of a problem. It is present if that price does not meet the client's requirements.

use std::borrow::Cow;

use poem_openapi::{
    registry::MetaSchemaRef,
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::Serialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

/// A price in the JSON of `/v1/prices/{pair}`.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(super) struct Newest(pub(super) Box<RawValue>);

/// The name of the schema of a price. The routes that return prices register the schema.
const SCHEMA: &str = "PriceItem";

impl Type for Newest {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        SCHEMA.into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(SCHEMA.to_owned())
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ToJSON for Newest {
    fn to_json(&self) -> Option<Value> {
        serde_json::from_str(self.0.get()).ok()
    }
}

impl ParseFromJSON for Newest {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let value = value.ok_or_else(ParseError::expected_input)?;
        to_raw_value(&value).map(Self).map_err(ParseError::custom)
    }
}
