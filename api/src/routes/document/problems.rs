//! The problems that each route can have. The OpenAPI document lists exactly these.

use std::collections::BTreeMap;

use common::domain::Words;
use poem_openapi::payload::Payload;
use serde_json::json;

use super::tree::Tree;
use crate::problem::{Code, ProblemJson, Retry};

/// The problems of every route of `/v1`.
const ALWAYS: [Code; 7] = [
    Code::InvalidParameter,
    Code::Unauthorized,
    Code::OriginNotAllowed,
    Code::NotAcceptable,
    Code::RateLimited,
    Code::Starting,
    Code::Internal,
];

/// The problems of routes with a parameter of this name.
const BY_PARAMETER: [(&str, &[Code]); 4] = [
    ("at_sequence", &[Code::SequenceAhead, Code::SequenceGone, Code::Busy, Code::StoreUnavailable]),
    ("max_age", &[Code::ContractNotMet]),
    ("pair", &[Code::UnknownPair, Code::NoPriceYet]),
    ("pairs", &[Code::UnknownPair, Code::NoPriceYet]),
];

/// The operation that is a stream.
const STREAM: &str = "streamEvents";

/// The problems of every status 503 that reads the store.
const UNAVAILABLE: [Code; 3] = [Code::Busy, Code::StoreUnavailable, Code::Starting];

/// The problems that a request for a stream can have. Once the stream has begun, there are no more problems: the stream
/// ends with a reason ([`crate::stream_end`]).
const OF_STREAMS: [Code; 5] =
    [Code::UnknownCursor, Code::SequenceGone, Code::TooManyStreams, Code::Busy, Code::StoreUnavailable];

/// Further problems of single operations.
const BY_OPERATION: [(&str, &[Code]); 5] = [
    ("listPrices", &[Code::NoPriceYet]),
    ("getAverages", &[Code::ThinWindow]),
    ("getTick", &[Code::UnknownSequence]),
    ("convert", &[Code::NoRate, Code::NoPriceYet]),
    ("listSources", &[Code::NoPriceYet]),
];

/// The responses that operations refer to, by name: the codes of the problems that each stands for.
#[derive(Debug, Default)]
pub(super) struct Shared(BTreeMap<String, Vec<Code>>);

impl Shared {
    /// References to the responses of an operation with problems, by status.
    pub(super) fn of(&mut self, id: &str, parameters: &[Tree]) -> Vec<(String, Tree)> {
        let refer = |(status, codes): (String, Vec<Code>)| {
            let name = name(&codes);
            let response = super::reference("responses", &name).into();
            self.0.insert(name, codes);
            (status, response)
        };
        by_status(id, parameters).into_iter().map(refer).collect()
    }

    /// The responses, by name.
    pub(super) fn responses(&self) -> Tree {
        let mut responses = Tree::object();
        self.0.iter().for_each(|(name, codes)| responses.set(name, response(codes)));
        responses
    }

    /// An example of each problem, by code.
    pub(super) fn examples(&self) -> Tree {
        let mut examples = Tree::object();
        let is_used = |code: &&Code| self.0.values().flatten().any(|used| used == *code);
        for code in Code::ALL.iter().filter(is_used) {
            let mut example = Tree::object();
            example.set("value", Tree::parse(&code.example()));
            examples.set(code.as_str(), example);
        }
        examples
    }
}

/// The problems of an operation, by status.
fn by_status(id: &str, parameters: &[Tree]) -> BTreeMap<String, Vec<Code>> {
    let has = |name: &str| {
        parameters.iter().any(|parameter| parameter.get("name").and_then(Tree::as_str) == Some(name))
    };
    let by_parameter = BY_PARAMETER.iter().filter(|(name, _)| has(name));
    let by_operation = BY_OPERATION.iter().filter(|(known, _)| *known == id);
    let of_stream = OF_STREAMS.into_iter().filter(|_| is_stream(id));
    let more: Vec<Code> = by_parameter
        .chain(by_operation)
        .flat_map(|(_, codes)| codes.iter().copied())
        .chain(of_stream)
        .collect();
    let mut by_status = BTreeMap::<String, Vec<Code>>::new();
    for code in Code::ALL.iter().filter(|code| ALWAYS.contains(code) || more.contains(code)) {
        by_status.entry(code.status().as_u16().to_string()).or_default().push(*code);
    }
    by_status
}

/// Whether an operation is a stream.
pub(super) fn is_stream(id: &str) -> bool {
    id == STREAM
}

/// The name of the response that all operations with these codes refer to, such as `NoPriceYetOrUnavailable`.
fn name(codes: &[Code]) -> String {
    let is_common = |code: &&Code| UNAVAILABLE.contains(code);
    let special = codes.iter().filter(|code| !is_common(code)).map(|code| camel_case(code.as_str()));
    let common = codes.iter().any(|code| is_common(&code)).then(|| "Unavailable".to_owned());
    special.chain(common).collect::<Vec<_>>().join("Or")
}

fn camel_case(word: &str) -> String {
    let capital = |part: &str| {
        let (first, rest) = part.split_at_checked(1).unwrap_or_default();
        first.to_uppercase() + rest
    };
    word.split('_').map(capital).collect()
}

/// The response for codes that share a status. It refers to [`Shared::examples`].
fn response(codes: &[Code]) -> Tree {
    let lines: Vec<String> = codes.iter().map(|code| format!("`{code}`: {}", code.facts().meaning)).collect();
    let mut examples = Tree::object();
    for code in codes {
        examples.set(code.as_str(), super::reference("examples", code.as_str()));
    }
    let mut problem = Tree::object();
    problem.set("schema", super::reference("schemas", "Problem"));
    problem.set("examples", examples);
    let mut content = Tree::object();
    content.set(ProblemJson::CONTENT_TYPE, problem);
    let mut response = Tree::object();
    response.set("description", lines.join("\n\n").as_str());
    response.set("content", content);
    if codes.iter().any(|code| code.facts().retry == Retry::Later) {
        response.set("headers", json!({"Retry-After": super::reference("headers", "Retry-After")}));
    }
    response
}
