//! JSON objects in which every name stands once.
//!
//! JSON itself does not say which of two equal names counts, and readers differ. A price that depends on
//! the reader is none.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The fields of an object, unread until they are asked for.
pub(super) struct Unique<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

/// A borrowed name where it needs no unescaping.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Unique<'a> {
    /// The value under a name.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied()
    }

    /// The text under a name, where it is one.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        serde_json::from_str::<Name<'a>>(self.get(name)?.get()).ok().map(|name| name.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Unique<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields).map(Unique)
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
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_once_however_they_are_spelled() {
        let read = serde_json::from_str::<Unique>(r#"{"a":[1],"b\u0063":"x\n"}"#).unwrap();
        assert_eq!(read.get("a").map(RawValue::get), Some("[1]"));
        assert_eq!(read.text("bc").as_deref(), Some("x\n"));
        assert!(read.get("c").is_none() && read.text("a").is_none());
        for twice in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, "[]", "1", ""] {
            assert!(serde_json::from_str::<Unique>(twice).is_err(), "{twice}");
        }
    }
}
