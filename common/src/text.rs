//! Values as text.
//!
//! `#[serde(with = "common::text")]` reads a value with `FromStr` and writes it with `Display`, so that a value is spelled
//! the same in settings, in the log and on the screen. [`redacted`] removes secrets from URLs. [`printable`] and
//! [`one_line`] make text from elsewhere safe to print.

use std::{fmt, fmt::Display, marker::PhantomData, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serializer,
    de::{Error, Visitor},
};

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
    deserializer.deserialize_str(Parsing(PhantomData))
}

/// Parses a value without copying its text.
struct Parsing<T>(PhantomData<T>);

impl<T: FromStr<Err: Display>> Visitor<'_> for Parsing<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// A value that is represented as text.
struct Text<T>(T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Self)
    }
}

/// Serde helpers for optional values: `None` is `null`, and a value is represented as text.
pub mod option {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer};

    use super::Text;

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
        Ok(Option::<Text<T>>::deserialize(deserializer)?.map(|Text(value)| value))
    }
}

/// Serde helpers for a field that may be missing, and that may be null if it is present. With `#[serde(default)]`, the
/// outer `None` is a missing field, and the inner `None` is `null`.
pub mod nullable {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserializer, Serializer};

    /// Serializes the value as text, or null.
    pub fn serialize<T: Display, S: Serializer>(
        value: &Option<Option<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::option::serialize(&value.as_ref().and_then(Option::as_ref), serializer)
    }

    /// Deserializes the value from text, or null.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        super::option::deserialize(deserializer).map(Some)
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

/// A text without characters that could change a terminal or the order of what it shows: control characters, and those that
/// change the direction of writing. Each becomes a space. Line breaks stay.
pub fn printable(text: &str) -> String {
    let is_harmless = |sign: char| sign == '\n' || !(sign.is_control() || is_direction(sign));
    text.chars().map(|sign| if is_harmless(sign) { sign } else { ' ' }).collect()
}

/// A text from elsewhere, to be a part of a line. Like [`printable`], without line breaks.
pub fn one_line(text: &str) -> String {
    printable(text).replace('\n', " ")
}

/// Whether a character changes the direction of writing, or separates lines or paragraphs.
fn is_direction(sign: char) -> bool {
    let marks = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}'];
    marks.contains(&sign)
        || ('\u{202a}'..='\u{202e}').contains(&sign)
        || ('\u{2066}'..='\u{2069}').contains(&sign)
}

/// The URL or URLs without user names, passwords and tokens, for messages.
pub fn redacted(urls: &str) -> String {
    let one = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://[redacted]@{host}"),
        (None, Some((_, host))) => format!("[redacted]@{host}"),
        // This may be a piece of a password that contains a comma.
        (_, None) if urls.contains('@') && !is_address(url) => "[redacted]".to_owned(),
        _ => url.to_owned(),
    };
    urls.split(',').map(|url| one(url.trim())).collect::<Vec<_>>().join(",")
}

/// Whether this is a URL of just a scheme, a host and a port.
fn is_address(url: &str) -> bool {
    let address = url.split_once("://").map(|(_, address)| address).unwrap_or_default();
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    !host.is_empty() && host.bytes().all(is_host) && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_change_a_terminal() {
        let hostile = "a\u{1b}[2J\u{1b}]0;title\u{7}\rb\u{202e}c\u{9b}31m\u{2028}d\te\nf";
        assert_eq!(printable(hostile), "a [2J ]0;title  b c 31m d e\nf");
        assert_eq!(one_line(hostile), "a [2J ]0;title  b c 31m d e f");
        assert_eq!(printable("▲ +1.5 ₿ é"), "▲ +1.5 ₿ é");
    }

    #[test]
    fn secrets_stay_out_of_messages() {
        assert_eq!(redacted("nats://user:pass@host:4222"), "nats://[redacted]@host:4222");
        assert_eq!(redacted("nats://a:1, nats://token@b:2"), "nats://a:1,nats://[redacted]@b:2");
        assert_eq!(redacted("user:pass@host"), "[redacted]@host");
        assert_eq!(redacted("nats://host:port"), "nats://host:port");
        assert_eq!(redacted("nats://user:pa,ss,word@host"), "[redacted],[redacted],[redacted]@host");
        assert_eq!(redacted(""), "");
    }
}
