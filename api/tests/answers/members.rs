//! JSON with its members in the order of the text, which `serde_json::Value` does not keep.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A value as text.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Raw(Box<RawValue>);

/// The members of an object in their order.
#[derive(Debug, Clone)]
pub(crate) struct Members(pub(crate) Vec<(String, Raw)>);

impl Raw {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(crate) fn text(&self) -> &str {
        self.0.get()
    }

    /// The members, if the value is an object.
    pub(crate) fn members(&self) -> Option<Members> {
        serde_json::from_str(self.text()).ok()
    }

    /// The items, if the value is a list.
    pub(crate) fn list(&self) -> Option<Vec<Self>> {
        serde_json::from_str(self.text()).ok()
    }
}

impl Members {
    pub(crate) fn get(&self, name: &str) -> Option<&Raw> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The object that is found by following these names, one after the other.
    pub(crate) fn at(&self, names: &[&str]) -> Option<Self> {
        let (first, rest) = names.split_first()?;
        let first = self.get(first)?.members()?;
        rest.iter().try_fold(first, |members, name| members.get(name)?.members())
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.get(name)?.text()).ok()
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
