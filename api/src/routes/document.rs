//! The document of the routes, as `/openapi.json`, `/docs` and `docs/openapi.json` have it.
//!
//! The framework writes most of it, from handlers and shapes. What it cannot say is put in here, in one place:
//! which problems a route can have, what may be null, headers, limits of parameters, and examples.

mod components;
mod problems;

use poem_openapi::payload::Payload;
use serde_json::{Value, json};

use components::{headers, key_schemes};

use super::{
    Service,
    contract::MAX_SOURCES,
    paging::{DEFAULT_LIMIT, MAX_LIMIT},
};
use crate::problem::ProblemJson;
use ledger::sample::{MAX_POINTS, MIN_POINTS};

/// The version of OpenAPI that it is written in. The framework says 3.0.0, which has typing errors.
const OPENAPI: &str = "3.0.3";

/// What is answered where all is well, by operation, status and media type. Spectral holds each against its schema.
const EXAMPLES: &str = include_str!("document/examples.json");

/// Members that are left out where there is nothing to say; every other one is always there, and may be null.
const LEFT_OUT: [(&str, &[&str]); 6] = [
    ("CheckItem", &["reason"]),
    ("Event", &["price", "from", "cause"]),
    ("Problem", &["parameter", "newest"]),
    ("QuoteItem", &["max_quote_age"]),
    ("Ready", &["checks"]),
    ("RecordItem", &["slot", "from", "covered", "leader", "interval", "price", "spread", "cause", "policy"]),
];

/// Where every answer of `/v1` says what it is as of.
const SEQUENCE_HEADER: &str = "X-Tickwell-Sequence";

/// Parameters without an example, which Swagger UI would ask for: it would go before the `Accept` header, or leave out
/// what is there.
const FILTERS: [&str; 2] = ["format", "cause"];

/// Groups of operations, as they are shown. The framework sorts them by name.
const TAGS: [&str; 5] = ["Prices", "History", "Explanation", "Streams", "Operations"];

/// What every answer of `/v1` tells beside its body.
const TOLD: [&str; 5] = ["Cache-Control", "ETag", "RateLimit", "RateLimit-Policy", SEQUENCE_HEADER];

/// What a stream tells: there is nothing of it to hold.
const TOLD_ALWAYS: [&str; 3] = ["RateLimit", "RateLimit-Policy", SEQUENCE_HEADER];

/// An exact decimal that is not zero.
const ABOVE_ZERO: &str = r"^([1-9][0-9]{0,11}(\.[0-9]{1,8})?|0\.[0-9]{0,7}[1-9])$";

/// A ratio from 0 to 1, or a percentage.
const NO_MORE_THAN_ALL: &str = r"^(0(\.[0-9]{1,8})?|1|[0-9]{1,2}(\.[0-9]{1,6})?%|100%)$";

/// The document, once it has everything.
#[derive(Debug, Clone)]
pub(crate) struct Document(String);

impl Document {
    /// The document of these routes.
    pub(crate) fn of(service: &Service) -> Self {
        // What the framework wrote is JSON, and so is what lies beside this file; were it not, tests would see an
        // empty document.
        let mut document: Value = serde_json::from_str(&service.spec()).unwrap_or_default();
        let mut examples: Value = serde_json::from_str(EXAMPLES).unwrap_or_default();
        whole_numbers(&mut document);
        set(Some(&mut document), "openapi", OPENAPI.into());
        set(document.get_mut("components"), "headers", headers());
        set(document.get_mut("components"), "securitySchemes", key_schemes());
        if let Some(Value::Array(tags)) = document.get_mut("tags") {
            tags.sort_by_key(|tag| {
                TAGS.iter().position(|name| tag.get("name").is_some_and(|tag| tag == name))
            });
        }
        for (name, schema) in members(document.pointer_mut("/components/schemas")) {
            complete(name, schema);
        }
        for (path, item) in members(document.get_mut("paths")) {
            for (_method, operation) in members(Some(item)) {
                amend(path, operation, &mut examples);
            }
        }
        Self(format!("{document:#}\n"))
    }

    /// The document, as it lies in the repository.
    pub(crate) fn json(&self) -> &str {
        &self.0
    }

    /// The page that shows it and tries it out, all from the binary.
    pub(crate) fn swagger_ui(&self, service: &Service) -> String {
        let page = service.swagger_ui_html().replace(&service.spec(), &self.0);
        page.replacen("<title>Swagger UI</title>", "<title>Tickwell</title>", 1)
    }
}

fn amend(path: &str, operation: &mut Value, examples: &mut Value) {
    let text = |name: &str| operation.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (id, summary) = (text("operationId"), text("summary"));
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    let parameters = parameters.map_or(&mut [][..], Vec::as_mut_slice);
    parameters.iter_mut().for_each(|parameter| limit(&id, parameter));
    let problems = problems::of(path, &id, parameters);
    if path.starts_with("/v1/") {
        // One of them, or none where the pod asks for none.
        set(Some(operation), "security", json!([{}, {"bearer": []}, {"key": []}]));
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    responses.retain(|_status, response| !is_problem(response));
    for (status, response) in responses.iter_mut() {
        let examples = examples.get_mut(&id).and_then(|examples| examples.get_mut(status));
        succeed(response, &summary, examples);
        if path.starts_with("/v1/") && status.starts_with('2') {
            add_headers(response, if problems::follows(&id) { &TOLD_ALWAYS } else { &TOLD });
        }
    }
    if path.starts_with("/v1/") && responses.contains_key("200") && !problems::follows(&id) {
        let mut unchanged = json!({"description": "What `If-None-Match` names is still the answer"});
        add_headers(&mut unchanged, &TOLD);
        responses.insert("304".to_owned(), unchanged);
    }
    responses.extend(problems);
}

/// What the framework left out of an answer that is no problem.
fn succeed(response: &mut Value, summary: &str, mut examples: Option<&mut Value>) {
    if response.get("description").is_none_or(|description| description == "") {
        set(Some(response), "description", summary.into());
    }
    for (media_type, content) in members(response.get_mut("content")) {
        let name = media_type.split(';').next().unwrap_or_default();
        if let Some(example) = examples.as_mut().and_then(|examples| examples.get_mut(name)) {
            set(Some(content), "example", example.take());
        }
    }
    if let Some(Value::Object(told)) = response.get_mut("headers") {
        *told = std::mem::take(told)
            .into_iter()
            .map(|(name, header)| known_header(&name).unwrap_or((name, header)))
            .collect();
    }
}

fn add_headers(response: &mut Value, names: &[&str]) {
    let headers = response.as_object_mut().map(|response| response.entry("headers").or_insert(json!({})));
    if let Some(Value::Object(headers)) = headers {
        headers.extend(names.iter().map(|name| ((*name).to_owned(), reference("headers", name))));
    }
}

fn is_problem(response: &Value) -> bool {
    response.get("content").is_some_and(|content| content.get(ProblemJson::CONTENT_TYPE).is_some())
}

/// A header that the framework wrote, its name in capitals, as a reference to the one that is described here.
fn known_header(name: &str) -> Option<(String, Value)> {
    let headers = headers();
    let known = headers.as_object()?.keys().find(|known| known.eq_ignore_ascii_case(name))?;
    Some((known.clone(), reference("headers", known)))
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

/// What a parameter may be where its type does not say so, and an example that works.
fn limit(operation: &str, parameter: &mut Value) {
    let Some(name) = parameter.get("name").and_then(Value::as_str).map(str::to_owned) else { return };
    let limits = match name.as_str() {
        "max_points" => json!({"minimum": MIN_POINTS, "maximum": MAX_POINTS}),
        "limit" => json!({"minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}),
        "cursor" => json!({"pattern": "^[ad][0-9]{1,14}$"}),
        "sequence" | "at_sequence" => json!({"maximum": u64::MAX}),
        "amount" => json!({"pattern": ABOVE_ZERO}),
        "min_coverage" => json!({"pattern": NO_MORE_THAN_ALL}),
        "min_sources" => json!({"minimum": 1, "maximum": MAX_SOURCES}),
        _ => json!({}),
    };
    let example = match name.as_str() {
        "to" if operation == "convert" => Some(json!("USD")),
        "limit" => Some(json!(DEFAULT_LIMIT)),
        "order" => Some(json!("desc")),
        "to" => Some(json!("2100-01-01T00:00:00Z")),
        "min_coverage" => Some(json!("0")),
        // What any price that was just agreed meets.
        "max_age" => Some(json!("1d")),
        "min_sources" => Some(json!(1)),
        "max_spread" => Some(json!("5%")),
        "verbose" => Some(json!("true")),
        // A log of two pairs begins with a leader of each.
        "sequence" => Some(json!(3)),
        _ => None,
    };
    if let (Some(Value::Object(schema)), Value::Object(limits)) = (parameter.get_mut("schema"), limits) {
        schema.extend(limits);
        if example.is_some() || FILTERS.contains(&name.as_str()) {
            schema.remove("example");
        }
    }
    if let Some(example) = example {
        set(Some(parameter), "example", example);
    }
    let spelling = match name.as_str() {
        "pair" => {
            "In any case, and with `-`, `_` or `%2F`: `btc-usd`, `BTC_USD` and `BTC%2FUSD` are `BTC-USD`."
        }
        "from" | "to" if operation != "convert" => {
            "RFC 3339, where `+` is written `%2B`, or unix milliseconds; what looks like seconds is refused."
        }
        _ => return,
    };
    let said = parameter.get("description").and_then(Value::as_str).unwrap_or_default();
    let said = format!("{said}\n\n{spelling}");
    set(Some(parameter), "description", said.into());
}

/// Says which members of an object are always there, and which of them may be null.
fn complete(name: &str, schema: &mut Value) {
    let left_out = LEFT_OUT.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, members)| members);
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut always = Vec::new();
    for (member, schema) in members(schema.get_mut("properties")) {
        if left_out.contains(&member.as_str()) {
            continue;
        }
        always.push(Value::from(member.as_str()));
        if !required.iter().any(|name| name == member) {
            if schema.get("$ref").is_some() {
                *schema = json!({"allOf": [schema.take()]});
            }
            set(Some(schema), "nullable", true.into());
        }
    }
    if !always.is_empty() {
        set(Some(schema), "required", always.into());
    }
}

/// The framework knows limits as floating-point numbers alone.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Number(number) => {
            let whole = number.to_string().strip_suffix(".0").and_then(|whole| whole.parse::<i64>().ok());
            if let Some(whole) = whole {
                *value = whole.into();
            }
        }
        _ => {}
    }
}

fn members(value: Option<&mut Value>) -> impl Iterator<Item = (&String, &mut Value)> {
    value.and_then(Value::as_object_mut).into_iter().flatten()
}

fn set(object: Option<&mut Value>, name: &str, value: Value) {
    if let Some(Value::Object(members)) = object {
        members.insert(name.to_owned(), value);
    }
}
