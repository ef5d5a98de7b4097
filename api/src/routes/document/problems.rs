//! Which problems each route can really have, so that the document promises these and no others.

use std::collections::BTreeMap;

use common::domain::Words;
use poem_openapi::payload::Payload;
use serde_json::{Map, Value, json};

use crate::problem::{Code, ProblemJson};

/// What any route of `/v1` may answer, whatever it is asked.
const ALWAYS: [Code; 5] =
    [Code::InvalidParameter, Code::Unauthorized, Code::RateLimited, Code::Starting, Code::Internal];

/// What is answered by those that take a parameter of this name.
const BY_PARAMETER: [(&str, &[Code]); 4] = [
    ("at_sequence", &[Code::SequenceAhead, Code::SequenceGone, Code::Busy, Code::StoreUnavailable]),
    ("max_age", &[Code::ContractNotMet]),
    ("pair", &[Code::UnknownPair, Code::NoPriceYet]),
    ("pairs", &[Code::UnknownPair, Code::NoPriceYet]),
];

/// Operations that follow the log.
const STREAMS: [&str; 2] = ["streamEvents", "openSocket"];

/// What whoever follows the log may be answered at first.
const FOLLOWING: [Code; 5] =
    [Code::UnknownCursor, Code::SequenceGone, Code::TooManyStreams, Code::Busy, Code::StoreUnavailable];

/// What else an operation may answer.
const BY_OPERATION: [(&str, &[Code]); 8] = [
    ("listPrices", &[Code::NoPriceYet]),
    ("getAverages", &[Code::ThinWindow]),
    ("getHistory", &[Code::NotAcceptable]),
    ("getTick", &[Code::UnknownSequence]),
    ("convert", &[Code::NoRate, Code::NoPriceYet]),
    ("listSources", &[Code::NoPriceYet]),
    ("streamEvents", &[Code::NotAcceptable]),
    ("openSocket", &[Code::UpgradeRequired]),
];

/// The problems of an operation, by status.
pub(super) fn of(path: &str, id: &str, parameters: &[Value]) -> Map<String, Value> {
    if !path.starts_with("/v1/") {
        return Map::new();
    }
    let has = |name: &str| {
        parameters.iter().any(|parameter| parameter.get("name").is_some_and(|known| known == name))
    };
    let by_parameter = BY_PARAMETER.iter().filter(|(name, _)| has(name));
    let by_operation = BY_OPERATION.iter().filter(|(known, _)| *known == id);
    let following = FOLLOWING.into_iter().filter(|_| follows(id));
    let more: Vec<Code> = by_parameter
        .chain(by_operation)
        .flat_map(|(_, codes)| codes.iter().copied())
        .chain(following)
        .collect();
    let mut by_status = BTreeMap::<String, Vec<Code>>::new();
    for code in Code::ALL.iter().filter(|code| ALWAYS.contains(code) || more.contains(code)) {
        by_status.entry(code.status().as_u16().to_string()).or_default().push(*code);
    }
    by_status.into_iter().map(|(status, codes)| (status, response(&codes))).collect()
}

/// Whether an operation follows the log.
pub(super) fn follows(id: &str) -> bool {
    STREAMS.contains(&id)
}

/// The answer of a status that stands for these codes.
fn response(codes: &[Code]) -> Value {
    let lines: Vec<String> = codes.iter().map(|code| format!("`{code}`: {}", code.meaning())).collect();
    let examples: Map<String, Value> =
        codes.iter().map(|code| (code.to_string(), json!({"value": code.example()}))).collect();
    let content = json!({
        "schema": super::reference("schemas", "Problem"),
        "examples": examples,
    });
    let mut response =
        json!({"description": lines.join("\n\n"), "content": {ProblemJson::CONTENT_TYPE: content}});
    if codes.iter().any(|code| code.is_passing()) {
        super::set(
            Some(&mut response),
            "headers",
            json!({"Retry-After": super::reference("headers", "Retry-After")}),
        );
    }
    response
}
