//! Compares responses.
//!
//! The bytes must be the same except for `stale`: whether a price is stale also depends on the clock, and requests never
//! reach two pods at the same instant.

use serde_json::Value;

use crate::pod::{Response, StatusCode};

/// The longest value that is shown in full, in characters.
const SHOWN: usize = 60;

/// The result of one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// All responses are the same. If all of them are errors, this contains their status and code.
    Same(Option<String>),
    /// Some responses differ from the response of the first pod.
    Differ(Vec<Difference>),
    /// These pods, by index, do not have the route, because they run another version.
    NoRoute(Vec<usize>),
}

/// How the response of one pod differs from that of the first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// The index of the pod.
    pub(super) pod: usize,
    /// Where the first difference is.
    pub(super) place: String,
    /// What the first pod has there, and what this pod has.
    pub(super) values: [String; 2],
}

/// Compares the responses of all pods to one request.
pub(super) fn compare(responses: &[Response]) -> Compared {
    let lacks_route =
        |response: &Response| response.status == StatusCode::NOT_FOUND && response.code() == "not_found";
    let without: Vec<usize> = responses
        .iter()
        .enumerate()
        .filter(|(_, response)| lacks_route(response))
        .map(|(pod, _)| pod)
        .collect();
    if !without.is_empty() {
        return Compared::NoRoute(without);
    }
    let Some((first, others)) = responses.split_first() else { return Compared::Same(None) };
    let differences: Vec<Difference> = others
        .iter()
        .zip(1..)
        .filter_map(|(other, pod)| {
            let (place, values) = difference(first, other)?;
            Some(Difference { pod, place, values })
        })
        .collect();
    match differences.is_empty() {
        true => Compared::Same((first.status != StatusCode::OK).then(|| kind(first))),
        false => Compared::Differ(differences),
    }
}

/// The status and code of an error. Only these are compared, because the wording may differ.
fn kind(response: &Response) -> String {
    format!("{} {}", response.status.as_u16(), response.code())
}

fn difference(one: &Response, other: &Response) -> Option<(String, [String; 2])> {
    if one.status != StatusCode::OK || other.status != StatusCode::OK {
        let kinds = [kind(one), kind(other)];
        return (kinds[0] != kinds[1]).then(|| ("status".to_owned(), kinds));
    }
    let bodies = [one, other].map(|response| without_freshness(&response.body));
    if bodies[0] == bodies[1] {
        return None;
    }
    let parsed = [0, 1].map(|number| serde_json::from_str::<Value>(bodies.get(number)?).ok());
    if let [Some(one), Some(other)] = &parsed
        && let Some((place, values)) = first_difference(one, other)
    {
        return Some((place, values.map(shown)));
    }
    // The values are the same but the bytes differ, or the body is not JSON.
    let same = bodies[0].bytes().zip(bodies[1].bytes()).take_while(|(one, other)| one == other).count();
    let rest =
        bodies.map(|body| shorten(&String::from_utf8_lossy(body.as_bytes().get(same..).unwrap_or_default())));
    Some((format!("byte {same}"), rest))
}

/// The body with every `stale` set to false. The replacement cannot change a JSON string, because quotes inside a string
/// are escaped.
fn without_freshness(body: &[u8]) -> String {
    String::from_utf8_lossy(body).replace("\"stale\":true", "\"stale\":false")
}

/// The first place where two values differ, and the two values there. A value is `None` if it is missing.
fn first_difference<'a>(one: &'a Value, other: &'a Value) -> Option<(String, [Option<&'a Value>; 2])> {
    let within = |name: String, one: Option<&'a Value>, other: Option<&'a Value>| {
        let (place, values) = match (one, other) {
            (Some(one), Some(other)) => first_difference(one, other)?,
            _ => (String::new(), [one, other]),
        };
        Some((format!("{name}{place}"), values))
    };
    match (one, other) {
        (Value::Object(these), Value::Object(those)) => {
            let names = these.keys().chain(those.keys().filter(|name| !these.contains_key(*name)));
            names
                .filter(|name| these.get(*name) != those.get(*name))
                .find_map(|name| within(format!(".{name}"), these.get(name), those.get(name)))
        }
        (Value::Array(these), Value::Array(those)) => (0..these.len().max(those.len()))
            .filter(|place| these.get(*place) != those.get(*place))
            .find_map(|place| within(format!("[{place}]"), these.get(place), those.get(place))),
        _ => (one != other).then(|| (String::new(), [Some(one), Some(other)])),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "(nothing)".to_owned(), |value| shorten(&value.to_string()))
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
