//! Helpers for parsers of JSON responses. Prices are read from their text and never pass through a float.

mod number;
mod unique;

use common::domain::Failure;

pub use number::{if_traded, price_of, price_of_number, seconds_of};
pub use unique::UniqueObject;

/// The only item that was found. More than one is an error, because it is not known which is right.
pub fn only<T>(mut found: impl Iterator<Item = T>) -> Result<T, Failure> {
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Failure::Malformed),
        (None, _) => Err(Failure::Missing),
    }
}
