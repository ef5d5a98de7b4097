//! JSON objects whose member names are unique.
//!
//! JSON does not define which of two members with the same name wins, and parsers differ. We refuse such
//! objects rather than read a price that another parser would not see.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of an object. Their values stay raw until they are needed.
pub struct UniqueObject<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

/// A string that is borrowed unless it contains escapes.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> UniqueObject<'a> {
    /// The value of a member.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied()
    }

    /// All members, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// The value of a member if it is a string.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        serde_json::from_str::<Name<'a>>(self.get(name)?.get()).ok().map(|name| name.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for UniqueObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields).map(UniqueObject)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = BTreeMap<Cow<'de, str>, &'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            if fields.insert(name.0, value).is_some() {
                return Err(A::Error::custom("the object has two members with the same name"));
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_are_refused_even_if_they_are_escaped_differently() {
        let read = serde_json::from_str::<UniqueObject>(r#"{"a":[1],"b\u0063":"x\n"}"#).unwrap();
        assert_eq!(read.get("a").map(RawValue::get), Some("[1]"));
        assert_eq!(read.text("bc").as_deref(), Some("x\n"));
        assert!(read.get("c").is_none() && read.text("a").is_none());
        for twice in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, "[]", "1", ""] {
            assert!(serde_json::from_str::<UniqueObject>(twice).is_err(), "{twice}");
        }
    }
}
