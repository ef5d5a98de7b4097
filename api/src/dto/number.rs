//! Whole numbers as parameters. The OpenAPI document contains the range of each parameter.

use std::borrow::Cow;

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromParameter, ParseResult, Type},
};

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeNumber<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> WholeNumber<MIN, MAX> {
    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Type for WholeNumber<MIN, MAX> {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        format!("whole_number_{MIN}_{MAX}").into()
    }

    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "the framework takes bounds as floating-point numbers; ours are far below 2^53"
    )]
    fn schema_ref() -> MetaSchemaRef {
        let schema = MetaSchema {
            minimum: Some(MIN as f64),
            maximum: Some(MAX as f64),
            ..MetaSchema::new_with_format("integer", "uint64")
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

impl<const MIN: u64, const MAX: u64> ParseFromParameter for WholeNumber<MIN, MAX> {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        let number = value.parse().ok().filter(|number| (MIN..=MAX).contains(number));
        number
            .map(Self)
            .ok_or_else(|| ParseError::custom(format!("must be a whole number from {MIN} to {MAX}")))
    }
}
