//! A parameter that is `true` or `false`.

use std::borrow::Cow;

use poem_openapi::{
    registry::MetaSchemaRef,
    types::{ParseError, ParseFromParameter, ParseResult, Type},
};

/// The number of characters of another value that a message repeats.
const MAX_REPEATED: usize = 40;

/// `true` or `false` in any case. Python's clients send `True`.
#[derive(Debug, Clone, Copy)]
pub struct FlagParameter(pub bool);

impl Type for FlagParameter {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        bool::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        bool::schema_ref()
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromParameter for FlagParameter {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        value.to_ascii_lowercase().parse().map(Self).map_err(|_| {
            let repeated: String = value.chars().take(MAX_REPEATED).collect();
            ParseError::custom(format!("`{repeated}` is not `true` or `false`"))
        })
    }
}
