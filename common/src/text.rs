//! Values as text.
//!
//! `#[serde(with = "common::text")]` reads a value with `FromStr` and writes it with `Display`, so that a value is spelled
//! the same in settings, in the log and on the screen. [`redacted`] removes secrets from URLs.

use std::{fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// Serializes the value as text.
pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Deserializes the value from text.
pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

/// Serde helpers for optional values: `None` is `null`, and a value is represented as text.
pub mod option {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Serializes the value as text, or null.
    pub fn serialize<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    /// Deserializes the value from text, or null.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

/// Serde helpers for lists: a list of strings, or one comma-separated string, as used in environment variables.
pub mod list {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        One(String),
        Many(Vec<String>),
    }

    /// Serializes the values as a list of strings.
    pub fn serialize<T: Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(ToString::to_string))
    }

    /// Deserializes a list of strings, or one comma-separated string.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let texts = match Given::deserialize(deserializer)? {
            // An empty environment variable is an empty list.
            Given::One(text) if text.is_empty() => Vec::new(),
            Given::One(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
            Given::Many(texts) => texts,
        };
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

/// The URL or URLs without user names, passwords and tokens, for messages.
pub fn redacted(url: &str) -> String {
    let one = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://[redacted]@{host}"),
        (None, Some((_, host))) => format!("[redacted]@{host}"),
        _ => url.to_owned(),
    };
    url.split(',').map(|url| one(url.trim())).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_messages() {
        assert_eq!(redacted("nats://user:pass@host:4222"), "nats://[redacted]@host:4222");
        assert_eq!(redacted("nats://a:1, nats://token@b:2"), "nats://a:1,nats://[redacted]@b:2");
        assert_eq!(redacted("user:pass@host"), "[redacted]@host");
    }
}
