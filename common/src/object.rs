//! Deserializes a struct from a JSON object only.
//!
//! serde also accepts a JSON array where a struct is expected. None of our formats allow that, and Kraken's trades
//! response would parse by accident.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A struct that is deserialized from a JSON object only, not from an array.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Deserialize)]
    struct Row<'a> {
        name: &'a str,
        #[serde(borrow)]
        value: Option<&'a RawValue>,
    }

    #[test]
    fn an_array_is_not_an_object() {
        let Object(row): Object<Row> =
            serde_json::from_str(r#"{"name":"a","other":1,"value":1.50}"#).unwrap();
        assert_eq!((row.name, row.value.map(RawValue::get)), ("a", Some("1.50")));
        // The derived implementation alone accepts the array.
        assert!(serde_json::from_str::<Row>(r#"["a",1.50]"#).is_ok());
        for other in [r#"["a",1.50]"#, r#"{"name":"a","name":"b"}"#, "{}", "1", "null"] {
            assert!(serde_json::from_str::<Object<Row>>(other).is_err(), "{other}");
        }
    }
}
