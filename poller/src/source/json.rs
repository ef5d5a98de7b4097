//! Helpers for parsers of JSON responses. Prices are read from their text and never pass through a float.

mod number;
mod unique;

use common::{domain::Failure, object::Object};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use number::{if_traded, millis_of, price_of, price_of_number, seconds_of};
pub use unique::UniqueObject;

/// The only item that was found. More than one is an error, because it is not known which is right.
pub fn only<T>(mut found: impl Iterator<Item = T>) -> Result<T, Failure> {
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Failure::Malformed),
        (None, _) => Err(Failure::Missing),
    }
}

/// The objects in an array. An element that is not an object of this form is left out, because it may belong to a market
/// that nobody asked for. An array in which no element has this form is not the expected response.
pub fn rows<'a, T: Deserialize<'a>>(body: &'a str) -> Result<Vec<T>, Failure> {
    let elements: Vec<&RawValue> = serde_json::from_str(body).map_err(|_| Failure::Malformed)?;
    let rows: Vec<T> = elements
        .iter()
        .filter_map(|element| serde_json::from_str::<Object<T>>(element.get()).ok())
        .map(|Object(row)| row)
        .collect();
    if rows.is_empty() && !elements.is_empty() { Err(Failure::Malformed) } else { Ok(rows) }
}

/// Rows without member names.
pub fn arrays(body: &str) -> Result<Vec<Vec<&RawValue>>, Failure> {
    serde_json::from_str(body).map_err(|_| Failure::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Row<'a> {
        name: &'a str,
    }

    #[test]
    fn an_odd_element_is_left_out() {
        let names = |body| {
            rows::<Row>(body).map(|rows| rows.into_iter().map(|row| row.name.to_owned()).collect::<Vec<_>>())
        };
        let body = r#"[{"name":"a"},null,7,["b"],{"name":7},{},{"name":"c","more":{}}]"#;
        assert_eq!(names(body).unwrap(), ["a", "c"]);
        assert_eq!(names("[]").unwrap(), [""; 0]);
        for other in ["[{}]", "[null]", "{}", "", r#"[{"name":"a"}"#] {
            assert_eq!(names(other), Err(Failure::Malformed), "{other}");
        }
    }
}
