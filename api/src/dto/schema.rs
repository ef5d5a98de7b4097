//! Schemas of values that are text in JSON: what the document says of their shape.

use common::domain::Words;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};

/// An asset, in any case.
pub(super) const ASSET: &str = "[A-Za-z0-9]{1,10}";

/// A pair, in any of its spellings.
pub(super) const PAIR: &str = "[A-Za-z0-9]{1,10}[-_/][A-Za-z0-9]{1,10}";

/// A length of time.
pub(super) const SPAN: &str = "[1-9][0-9]*(ms|s|m|h|d)";

/// A number that is not below zero.
pub(super) const UNSIGNED: &str = r"[0-9]+(\.[0-9]+)?";

/// Text that a pattern tells the shape of.
pub(super) fn shaped(pattern: &str) -> MetaSchema {
    MetaSchema { pattern: Some(format!("^{pattern}$")), ..MetaSchema::new("string") }
}

/// Several of a shape, separated by commas.
pub(super) fn list_of(pattern: &str) -> MetaSchema {
    shaped(&format!("{pattern}(,{pattern})*"))
}

/// An exact number, as text.
pub(super) fn decimal(pattern: &str) -> MetaSchema {
    MetaSchema { format: Some("decimal"), ..shaped(pattern) }
}

/// Text that is one of some words.
pub(super) fn one_of<W: Words>() -> MetaSchema {
    let words = W::ALL.iter().map(|word| word.as_str().into()).collect();
    MetaSchema { enum_items: words, ..MetaSchema::new("string") }
}

/// Text in a format that the document's readers know.
pub(super) fn formatted(format: &'static str) -> MetaSchema {
    MetaSchema::new_with_format("string", format)
}

/// Either spelling of an instant: from what is not likely meant in seconds, to the end of the year 9999.
pub(super) fn instant() -> MetaSchema {
    let millis = MetaSchema {
        minimum: Some(100_000_000_000.0),
        maximum: Some(253_402_300_799_999.0),
        ..MetaSchema::new("integer")
    };
    let spellings = [formatted("date-time"), millis];
    MetaSchema {
        any_of: spellings.map(|spelling| MetaSchemaRef::Inline(Box::new(spelling))).into(),
        ..MetaSchema::ANY
    }
}

/// The schema of a position in the log.
pub fn sequence_schema() -> MetaSchemaRef {
    let schema = MetaSchema { minimum: Some(1.0), ..MetaSchema::new_with_format("integer", "uint64") };
    MetaSchemaRef::Inline(Box::new(schema))
}
