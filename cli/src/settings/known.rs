//! The names of all settings. Any other name, such as a misspelt one, is refused with an error that contains it.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use common::domain::{Pair, nearest};
use serde::{
    Deserializer,
    de::{DeserializeOwned, Error as _, Visitor, value::Error},
    forward_to_deserialize_any,
};

use super::{SEPARATOR, Settings};

/// Refuses a key that is not a setting. `origin` says where the key was found.
pub(super) fn require(origin: &str, key: &str) -> Result<()> {
    let known = all();
    if known.contains(key) || is_of_a_pair(key) {
        return Ok(());
    }
    match nearest(known.iter().map(String::as_str), key) {
        Some(name) => bail!("{origin}: there is no setting `{key}`; did you mean `{name}`?"),
        None => bail!("{origin}: there is no setting `{key}`; `tickwell config example` lists all settings"),
    }
}

/// The keys of all settings, such as `feed.interval`.
pub(crate) fn all() -> BTreeSet<String> {
    let defaults = toml::Table::try_from(Settings::default()).unwrap_or_default();
    // `replay` has no settings under `sources`: the venues that it replays have them.
    let of_sources = poller::source::names()
        .filter(|source| *source != poller::source::REPLAY)
        .flat_map(|source| of_a_source().iter().map(move |name| format!("sources.{source}.{name}")));
    keys_of(&defaults).into_iter().chain(of_sources).collect()
}

/// The names of the settings that each source has. Not every source takes a key. A source that takes none refuses a key
/// when it is created.
pub(crate) fn of_a_source() -> &'static [&'static str] {
    field_names::<poller::SourceConfig>()
}

/// The names of the settings that each pair may have of its own.
pub(crate) fn of_a_pair() -> &'static [&'static str] {
    field_names::<poller::PairConfig>()
}

/// Whether this is a setting of a pair, such as `pairs.BTC-USD.min_sources`. Whether the pair is polled is checked when
/// the settings are used.
fn is_of_a_pair(key: &str) -> bool {
    let name = key.strip_prefix("pairs.").and_then(|rest| rest.split_once('.'));
    name.is_some_and(|(pair, name)| {
        let is_pair = pair.parse::<Pair>().is_ok_and(|parsed| parsed.to_string() == pair);
        is_pair && of_a_pair().contains(&name)
    })
}

/// The key of an environment variable, whose name is given without the prefix. Keys are in lower case, except for the
/// names of pairs.
pub(super) fn of_variable(name: &str) -> String {
    let key = name.to_ascii_lowercase().replace(SEPARATOR, ".");
    match key.strip_prefix("pairs.").and_then(|rest| rest.split_once('.')) {
        Some((pair, name)) => format!("pairs.{}.{name}", pair.to_ascii_uppercase()),
        None => key,
    }
}

/// The keys of all values in a table and its subtables.
pub(crate) fn keys_of(table: &toml::Table) -> Vec<String> {
    let below = |(name, value): (&String, &toml::Value)| match value {
        // The name of an empty table may be misspelt too, so it counts as a key.
        toml::Value::Table(table) if !table.is_empty() => {
            keys_of(table).into_iter().map(|key| format!("{name}.{key}")).collect()
        }
        _ => vec![name.clone()],
    };
    table.iter().flat_map(below).collect()
}

/// What is wrong with a value, without the location that the `config` crate adds.
pub(super) fn reason(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::At { error, .. } => reason(error),
        other => other.to_string(),
    }
}

/// The names of a struct's fields, as serde reads them.
fn field_names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // This always fails, but only after `FieldNames` has stored the names.
    let _ = T::deserialize(FieldNames(&mut names));
    names
}

/// A deserializer without data. It only stores the field names of the struct that it is asked for.
struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("there is no data"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
