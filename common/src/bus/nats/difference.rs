//! Compares the options of a stream with its definition.
//!
//! Both are compared as JSON, in the form that the server uses. So options that are set on the server but not mentioned
//! in the definition are found too.

use std::{fmt, time::Duration};

use async_nats::jetstream::stream::Config;
use serde_json::{Map, Value};

/// Options that do not affect the records. Operators may set them to any value.
const FREE: [&str; 3] = ["description", "metadata", "placement"];

/// Options that can be changed without losing a record.
const CHANGEABLE: [&str; 8] = [
    "discard",
    "compression",
    "max_msg_size",
    "num_replicas",
    "duplicate_window",
    "allow_direct",
    "deny_delete",
    "deny_purge",
];

/// Options that limit how long messages are kept. Raising a limit loses no records; lowering one does.
const LIMITS: [&str; 4] = ["max_age", "max_bytes", "max_msgs", "max_msgs_per_subject"];

/// See `docs/decisions/0021-the-log-is-not-compressed.md`.
const COMPRESSION_DAMAGES: &str = "a compressed stream can lose records: when a server of a cluster is killed, \
    nats-server 2.15.1 may damage the newest block of its copy, and that server fails after its next restart";

/// An option of a stream that differs from the definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    option: String,
    wanted: Value,
    found: Value,
}

impl Difference {
    /// Whether the option can be corrected without losing records.
    pub(super) fn loses_nothing(&self) -> bool {
        let option = self.option.as_str();
        CHANGEABLE.contains(&option)
            || (LIMITS.contains(&option) && limit(&self.wanted) >= limit(&self.found))
    }

    /// Whether the difference is that the stream is compressed.
    pub fn is_compression(&self) -> bool {
        self.option == "compression"
    }

    /// Why this difference matters, in a sentence for operators, if that is not obvious from the option's name.
    pub fn reason(&self) -> Option<&'static str> {
        self.is_compression().then_some(COMPRESSION_DAMAGES)
    }

    /// Whether the option limits how long messages are kept.
    pub(super) fn is_limit(&self) -> bool {
        LIMITS.contains(&self.option.as_str())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { option, wanted, found } = self;
        let (found, wanted) = (formatted(option, found, wanted), formatted(option, wanted, found));
        write!(formatter, "{option} is {found}, but should be {wanted}")
    }
}

/// The options of a stream that differ from the definition.
pub(super) fn differences(wanted: &Config, found: &Config) -> serde_json::Result<Vec<Difference>> {
    let (wanted, found) = (options(wanted)?, options(found)?);
    let mut names: Vec<&String> = wanted.keys().chain(found.keys()).collect();
    names.sort();
    names.dedup();
    let value = |of: &Map<String, Value>, name: &str| of.get(name).cloned().unwrap_or_default();
    Ok(names
        .into_iter()
        .filter(|name| !FREE.contains(&name.as_str()))
        .map(|name| Difference {
            option: name.clone(),
            wanted: value(&wanted, name),
            found: value(&found, name),
        })
        .filter(|difference| difference.wanted != difference.found && !is_more(difference, &wanted))
        .collect())
}

/// The stream's options with these differences corrected.
pub(super) fn corrected(found: &Config, differences: &[Difference]) -> serde_json::Result<Config> {
    let mut options = options(found)?;
    for Difference { option, wanted, .. } in differences {
        options.insert(option.clone(), wanted.clone());
    }
    options.retain(|_, value| !value.is_null());
    serde_json::from_value(Value::Object(options))
}

fn options(config: &Config) -> serde_json::Result<Map<String, Value>> {
    match serde_json::to_value(config)? {
        Value::Object(options) => Ok(options),
        _ => Ok(Map::new()),
    }
}

/// Whether the stream has more than the definition requires, which is not a difference: more replicas, a longer
/// duplicate window (the server allows at most `max_age`), or a larger size limit for more pairs. A missing size limit
/// is a difference, however, because the log could fill the disk.
fn is_more(difference: &Difference, wanted: &Map<String, Value>) -> bool {
    let bound = match difference.option.as_str() {
        "num_replicas" => i64::MAX,
        "max_bytes" => i64::MAX - 1,
        "duplicate_window" => wanted.get("max_age").map_or(i64::MAX, limit),
        _ => return false,
    };
    (limit(&difference.wanted)..=bound).contains(&limit(&difference.found))
}

/// The value of a limit. Missing, zero and negative values mean no limit.
fn limit(value: &Value) -> i64 {
    value.as_i64().filter(|limit| *limit > 0).unwrap_or(i64::MAX)
}

/// A value as text. A missing value is shown as the default of its type, which is the type of the other value.
fn formatted(option: &str, value: &Value, other: &Value) -> String {
    let is_time = ["max_age", "duplicate_window"].contains(&option);
    match (value, other) {
        (Value::Null, Value::Bool(_)) => false.to_string(),
        (Value::Null, Value::Number(_)) => 0.to_string(),
        (Value::Null, _) => "unset".to_owned(),
        (Value::String(text), _) => text.clone(),
        (Value::Number(nanoseconds), _) if is_time => {
            format!("{:?}", Duration::from_nanos(nanoseconds.as_u64().unwrap_or_default()))
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::stream::{DiscardPolicy, Republish};

    use super::*;

    fn log() -> Config {
        serde_json::from_str(include_str!("../../../../nats/stream.json")).unwrap()
    }

    /// Each difference as text, and whether it can be corrected without losing records.
    fn found_differences(found: &Config) -> Vec<(String, bool)> {
        let found = differences(&log(), found).unwrap();
        found.iter().map(|difference| (difference.to_string(), difference.loses_nothing())).collect()
    }

    #[test]
    fn every_option_is_compared_and_those_that_lose_records_are_known() {
        assert_eq!(found_differences(&log()), []);
        let republish =
            Republish { source: ">".to_owned(), destination: "copy.>".to_owned(), headers_only: false };
        let changed = Config {
            max_age: Duration::from_secs(60),
            max_bytes: -1,
            max_messages: 7,
            discard: DiscardPolicy::New,
            deny_purge: false,
            republish: Some(republish),
            description: Some("ours".to_owned()),
            ..log()
        };
        let found = found_differences(&changed);
        let expected = [
            ("deny_purge is false, but should be true", true),
            ("discard is new, but should be old", true),
            ("max_age is 60s, but should be 31536000s", true),
            ("max_bytes is -1, but should be 17179869184", false),
            ("max_msgs is 7, but should be -1", true),
        ];
        let expected = expected.map(|(text, loses_nothing)| (text.to_owned(), loses_nothing));
        assert_eq!(found[..5], expected);
        let (republish, loses_nothing) = &found[5];
        assert!(
            republish.starts_with("republish is {")
                && republish.ends_with("but should be unset")
                && !loses_nothing
        );
        assert_eq!(found.len(), 6);
    }

    #[test]
    fn more_than_the_definition_requires_is_not_a_difference() {
        let more = Config { num_replicas: 3, duplicate_window: Duration::from_secs(600), ..log() };
        assert_eq!(found_differences(&more), []);
        let larger = Config { max_bytes: 2 * log().max_bytes, ..log() };
        assert_eq!(found_differences(&larger), []);
        let less = Config { duplicate_window: Duration::from_secs(1), ..log() };
        let expected = "duplicate_window is 1s, but should be 120s".to_owned();
        assert_eq!(found_differences(&less), [(expected, true)]);
        // The window must not be longer than `max_age`.
        let lease =
            Config { max_age: Duration::from_secs(5), duplicate_window: Duration::from_secs(5), ..log() };
        let longer = Config { duplicate_window: Duration::from_secs(60), ..lease.clone() };
        assert_eq!(differences(&lease, &longer).unwrap().len(), 1);
    }

    #[test]
    fn what_is_corrected_no_longer_differs_and_the_rest_stays() {
        let found = Config { max_age: Duration::from_secs(60), deny_purge: false, max_messages: 7, ..log() };
        let all = differences(&log(), &found).unwrap();
        assert_eq!(corrected(&found, &all).unwrap(), log());
        assert_eq!(corrected(&found, &[]).unwrap(), found);
    }
}
