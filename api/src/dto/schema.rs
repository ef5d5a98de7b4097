//! Schemas of values that are strings in JSON.

use common::domain::Words;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};

/// An asset, in upper or lower case.
pub(super) const ASSET: &str = "[A-Za-z0-9]{1,10}";

/// A pair in any of the accepted spellings.
pub(super) const PAIR: &str = "[A-Za-z0-9]{1,10}[-_/][A-Za-z0-9]{1,10}";

/// A duration.
pub(super) const SPAN: &str = "[1-9][0-9]*(ms|s|m|h|d)";

/// A decimal number of at least zero.
pub(super) const UNSIGNED: &str = r"[0-9]+(\.[0-9]+)?";

/// An amount: a decimal above zero.
pub(super) const ABOVE_ZERO: &str = r"([1-9][0-9]{0,11}(\.[0-9]{1,8})?|0\.[0-9]{0,7}[1-9])";

/// A ratio, or a percentage.
pub(super) const RATIO: &str = r"([0-9]{1,6}(\.[0-9]{1,8})?|[0-9]{1,6}(\.[0-9]{1,6})?%)";

/// A ratio from 0 to 1, or a percentage up to 100%.
pub(super) const UP_TO_ONE: &str = r"(0(\.[0-9]{1,8})?|1|[0-9]{1,2}(\.[0-9]{1,6})?%|100%)";

/// The cursor of a page: a letter for the order, and a time.
pub(super) const PAGE_CURSOR: &str = "[ad][0-9]{1,14}";

/// The cursor of a stream: the id of an event, or a sequence.
pub(super) const STREAM_CURSOR: &str = "([a-z0-9]{1,40}-(before-)?)?[0-9]{1,19}";

/// A string of this pattern.
pub(super) fn shaped(pattern: &str) -> MetaSchema {
    MetaSchema { pattern: Some(format!("^{pattern}$")), ..MetaSchema::new("string") }
}

/// Several values of this pattern, separated by commas.
pub(super) fn list_of(pattern: &str) -> MetaSchema {
    shaped(&format!("{pattern}(,{pattern})*"))
}

/// An exact number as a string.
pub(super) fn decimal(pattern: &str) -> MetaSchema {
    MetaSchema { format: Some("decimal"), ..shaped(pattern) }
}

/// A string that is one of a set of words.
pub(super) fn one_of<W: Words>() -> MetaSchema {
    let words = W::ALL.iter().map(|word| word.as_str().into()).collect();
    MetaSchema { enum_items: words, ..MetaSchema::new("string") }
}

/// A string in a format that OpenAPI knows.
pub(super) fn formatted(format: &'static str) -> MetaSchema {
    MetaSchema::new_with_format("string", format)
}

/// A time in RFC 3339, a date, or unix milliseconds. The milliseconds range from the smallest number that is unlikely to be in
/// seconds to the end of the year 9999.
pub(super) fn instant() -> MetaSchema {
    let millis = MetaSchema {
        minimum: Some(100_000_000_000.0),
        maximum: Some(253_402_300_799_999.0),
        ..MetaSchema::new("integer")
    };
    let spellings = [formatted("date-time"), formatted("date"), millis];
    MetaSchema {
        one_of: spellings.map(|spelling| MetaSchemaRef::Inline(Box::new(spelling))).into(),
        ..MetaSchema::ANY
    }
}

/// The schema of a position in the log.
pub fn sequence_schema() -> MetaSchemaRef {
    let schema = MetaSchema { minimum: Some(1.0), ..MetaSchema::new_with_format("integer", "uint64") };
    MetaSchemaRef::Inline(Box::new(schema))
}
