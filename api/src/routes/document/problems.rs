//! The problems that each route can have. The OpenAPI document lists exactly these.

use std::collections::BTreeMap;

use common::domain::Words;
use poem_openapi::payload::Payload;
use serde_json::json;

use super::tree::Tree;
use crate::problem::{Code, ProblemJson, Retry};

/// The problems of every route of `/v1`.
const ALWAYS: [Code; 6] = [
    Code::InvalidParameter,
    Code::Unauthorized,
    Code::OriginNotAllowed,
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

/// The operations that are streams.
const STREAMS: [&str; 2] = ["streamEvents", SOCKET];

/// The operation that switches to WebSocket.
const SOCKET: &str = "openSocket";

/// The operations whose responses have no format to choose.
const WITHOUT_FORMAT: [&str; 2] = [SOCKET, "createTicket"];

/// The problems that a request for a stream can have. Once the stream has begun, there are no more problems: the stream
/// ends with a reason ([`crate::stream_end`]).
const OF_STREAMS: [Code; 5] =
    [Code::UnknownCursor, Code::SequenceGone, Code::TooManyStreams, Code::Busy, Code::StoreUnavailable];

/// Further problems of single operations.
const BY_OPERATION: [(&str, &[Code]); 6] = [
    ("listPrices", &[Code::NoPriceYet]),
    ("getAverages", &[Code::ThinWindow]),
    ("getTick", &[Code::UnknownSequence]),
    ("convert", &[Code::NoRate, Code::NoPriceYet]),
    ("listSources", &[Code::NoPriceYet]),
    ("openSocket", &[Code::UpgradeRequired]),
];

/// The problems of an operation, by status.
pub(super) fn of(id: &str, parameters: &[Tree]) -> Vec<(String, Tree)> {
    let has = |name: &str| {
        parameters.iter().any(|parameter| parameter.get("name").and_then(Tree::as_str) == Some(name))
    };
    let by_parameter = BY_PARAMETER.iter().filter(|(name, _)| has(name));
    let by_operation = BY_OPERATION.iter().filter(|(known, _)| *known == id);
    let of_format = [Code::NotAcceptable].into_iter().filter(|_| !WITHOUT_FORMAT.contains(&id));
    let of_stream = OF_STREAMS.into_iter().filter(|_| is_stream(id));
    let more: Vec<Code> = by_parameter
        .chain(by_operation)
        .flat_map(|(_, codes)| codes.iter().copied())
        .chain(of_stream)
        .chain(of_format)
        .collect();
    let mut by_status = BTreeMap::<String, Vec<Code>>::new();
    for code in Code::ALL.iter().filter(|code| ALWAYS.contains(code) || more.contains(code)) {
        by_status.entry(code.status().as_u16().to_string()).or_default().push(*code);
    }
    by_status.into_iter().map(|(status, codes)| (status, response(&codes))).collect()
}

/// Whether an operation is a stream.
pub(super) fn is_stream(id: &str) -> bool {
    STREAMS.contains(&id)
}

/// The response for codes that share a status.
fn response(codes: &[Code]) -> Tree {
    let lines: Vec<String> = codes.iter().map(|code| format!("`{code}`: {}", code.facts().meaning)).collect();
    let mut examples = Tree::object();
    for code in codes {
        let mut example = Tree::object();
        example.set("value", Tree::parse(&code.example()));
        examples.set(code.as_str(), example);
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
