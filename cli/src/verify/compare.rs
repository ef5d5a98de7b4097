//! Whether answers are the same.
//!
//! The bytes must be, but for `stale`: whether a price is fresh depends on the clock as well, and two pods are
//! never asked at the same instant.

use serde_json::Value;

use crate::pod::{Answer, StatusCode};

/// Characters of a value that are shown.
const SHOWN: usize = 60;

/// What came of one question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// All say the same. Where all refuse to answer: the code they do so with.
    Same(Option<String>),
    /// Some say something else than the first.
    Differ(Vec<Difference>),
    /// These pods, by number, do not know the route: they are of another version.
    NoRoute(Vec<usize>),
}

/// How one pod's answer differs from the first's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Which pod, by number.
    pub(super) pod: usize,
    /// Where the first difference is.
    pub(super) place: String,
    /// What the first pod has there, and what this one.
    pub(super) values: [String; 2],
}

/// Compares the answers of all pods to one question. There is at least one.
pub(super) fn compare(answers: &[Answer]) -> Compared {
    let lacks_route =
        |answer: &Answer| answer.status == StatusCode::NOT_FOUND && answer.code() == "not_found";
    let without: Vec<usize> =
        answers.iter().enumerate().filter(|(_, answer)| lacks_route(answer)).map(|(pod, _)| pod).collect();
    if !without.is_empty() {
        return Compared::NoRoute(without);
    }
    let Some((first, others)) = answers.split_first() else { return Compared::Same(None) };
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

/// Status and code of an answer that is an error. Its words may differ.
fn kind(answer: &Answer) -> String {
    format!("{} {}", answer.status.as_u16(), answer.code())
}

fn difference(one: &Answer, other: &Answer) -> Option<(String, [String; 2])> {
    if one.status != StatusCode::OK || other.status != StatusCode::OK {
        let kinds = [kind(one), kind(other)];
        return (kinds[0] != kinds[1]).then(|| ("status".to_owned(), kinds));
    }
    let bodies = [one, other].map(|answer| without_freshness(&answer.body));
    if bodies[0] == bodies[1] {
        return None;
    }
    let parsed = [0, 1].map(|number| serde_json::from_str::<Value>(bodies.get(number)?).ok());
    if let [Some(one), Some(other)] = &parsed
        && let Some((place, values)) = first_difference(one, other)
    {
        return Some((place, values.map(shown)));
    }
    // The same to a program that reads JSON, or no JSON at all.
    let same = bodies[0].bytes().zip(bodies[1].bytes()).take_while(|(one, other)| one == other).count();
    let rest =
        bodies.map(|body| shorten(&String::from_utf8_lossy(body.as_bytes().get(same..).unwrap_or_default())));
    Some((format!("byte {same}"), rest))
}

/// The body with every price fresh. Inside of a JSON string these bytes would have a backslash among them.
fn without_freshness(body: &[u8]) -> String {
    String::from_utf8_lossy(body).replace("\"stale\":true", "\"stale\":false")
}

/// The first place where two values differ, and what is there; nothing stands for what is missing.
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
