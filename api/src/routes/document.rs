//! The OpenAPI document of `/openapi.json`, `/docs` and `docs/openapi.json`.
//!
//! The framework generates most of the document from the handlers and the shapes of responses. This module adds what
//! the framework cannot express: the problems of each route, headers, examples, and some limits of parameters. Members
//! have the same order in schemas as in responses.

mod components;
mod dialect;
mod problems;
mod tree;

use poem_openapi::{Tags, payload::Payload};
use serde_json::{Value, json};

use components::{headers, key_schemes};
use tree::Tree;

use super::{Service, Tag, coingecko::is_of_dialect, paging::DEFAULT_LIMIT};
use crate::problem::ProblemJson;

/// The version of OpenAPI. The framework writes 3.0.0, whose JSON schema has errors.
const OPENAPI: &str = "3.0.3";

/// Examples of successful responses, by operation, status and media type. The linter checks each against its schema.
const EXAMPLES: &str = include_str!("document/examples.json");

/// The header with the sequence of a response.
const SEQUENCE_HEADER: &str = "X-Tickwell-Sequence";

/// The header with the identity of the log.
const LOG_HEADER: &str = "X-Tickwell-Log";

/// Parameters without an example. Swagger UI sends the example of each parameter. An example of `format` would override
/// the `Accept` header, and an example of `cause` would filter the results.
const WITHOUT_EXAMPLE: [&str; 2] = ["format", "cause"];

/// The headers of every response under `/v1`.
const HEADERS: [&str; 6] =
    ["Cache-Control", "ETag", "RateLimit", "RateLimit-Policy", LOG_HEADER, SEQUENCE_HEADER];

/// The headers of a stream, which cannot be cached.
const STREAM_HEADERS: [&str; 4] = ["RateLimit", "RateLimit-Policy", LOG_HEADER, SEQUENCE_HEADER];

/// The finished document.
#[derive(Debug, Clone)]
pub(crate) struct Document(String);

impl Document {
    /// The document of these routes.
    pub(crate) fn of(service: &Service, has_dialect: bool) -> Self {
        let mut document = Tree::parse(&service.spec());
        let mut examples = Tree::parse(EXAMPLES);
        // The framework writes the limits of whole numbers as floating-point numbers, such as 1.0.
        document.change_numbers(&|number| {
            let number = number.to_string();
            number.strip_suffix(".0").and_then(|whole| whole.parse::<i64>().ok()).map(Value::from)
        });
        document.set("openapi", OPENAPI);
        if let Some(components) = document.get_mut("components") {
            components.set("headers", headers());
            components.set("securitySchemes", key_schemes());
            components.set("responses", dialect::responses());
        }
        if let Some(tags) = document.get_mut("tags") {
            tags.items_mut().sort_by_key(|tag| {
                let name = tag.get("name").and_then(Tree::as_str);
                Tag::SHOWN.iter().position(|shown| Some(shown.name()) == name)
            });
        }
        for (path, item) in document.get_mut("paths").into_iter().flat_map(Tree::members_mut) {
            for (_method, operation) in item.members_mut() {
                complete_operation(path, operation, &mut examples);
            }
        }
        if !has_dialect {
            dialect::remove(&mut document);
        }
        // This cannot fail, because the document was parsed from JSON.
        Self(format!("{}\n", serde_json::to_string_pretty(&document).unwrap_or_default()))
    }

    /// The document as JSON.
    pub(crate) fn json(&self) -> &str {
        &self.0
    }

    /// A self-contained HTML page: Swagger UI and the document are embedded, so the page loads nothing else.
    pub(crate) fn swagger_ui(&self, service: &Service) -> String {
        let page = service.swagger_ui_html().replace(&service.spec(), &self.0);
        // Without a link to the icon, a browser requests it from the root of the host, which may not be the pod's.
        let head = "<title>Tickwell</title><link rel=\"icon\" href=\"favicon.ico\">";
        page.replacen("<title>Swagger UI</title>", head, 1)
    }
}

fn complete_operation(path: &str, operation: &mut Tree, examples: &mut Tree) {
    let text = |name: &str| operation.get(name).and_then(Tree::as_str).unwrap_or_default().to_owned();
    let (id, summary) = (text("operationId"), text("summary"));
    let is_api = path.starts_with("/v1/");
    let parameters = operation.get_mut("parameters").map(Tree::items_mut).unwrap_or_default();
    parameters.iter_mut().for_each(|parameter| complete_parameter(&id, parameter));
    let is_dialect = is_of_dialect(path);
    let problems = match () {
        () if is_api => problems::of(&id, parameters),
        () if is_dialect => dialect::errors(parameters),
        () => Vec::new(),
    };
    if is_dialect {
        operation.set("security", dialect::keys());
    }
    if is_api {
        // A request sends its key in one of two headers, or no key if the pod requires none.
        operation.set("security", json!([{}, {"bearer": []}, {"key": []}]));
    }
    let Some(Tree::Object(responses)) = operation.get_mut("responses") else { return };
    responses.retain(|(_status, response)| !is_problem(response));
    for (status, response) in responses.iter_mut() {
        let examples = examples.get_mut(&id).and_then(|examples| examples.get_mut(status));
        complete_success(response, &summary, examples);
        if (is_api || is_dialect) && status.starts_with('2') {
            add_headers(response, if problems::is_stream(&id) { &STREAM_HEADERS } else { &HEADERS });
        }
    }
    if (is_api || is_dialect)
        && responses.iter().any(|(status, _)| status == "200")
        && !problems::is_stream(&id)
    {
        let mut unchanged =
            json!({"description": "The response that `If-None-Match` identifies is still current"}).into();
        add_headers(&mut unchanged, &HEADERS);
        responses.push(("304".to_owned(), unchanged));
    }
    responses.extend(problems);
}

/// Completes a response that is not a problem.
fn complete_success(response: &mut Tree, summary: &str, mut examples: Option<&mut Tree>) {
    if response.get("description").and_then(Tree::as_str).unwrap_or_default().is_empty() {
        response.set("description", summary);
    }
    for (media_type, content) in response.get_mut("content").into_iter().flat_map(Tree::members_mut) {
        let name = media_type.split(';').next().unwrap_or_default();
        if let Some(example) = examples.as_mut().and_then(|examples| examples.get_mut(name)) {
            content.set("example", std::mem::take(example));
        }
    }
    if let Some(Tree::Object(headers)) = response.get_mut("headers") {
        for (name, header) in headers {
            if let Some((known, reference)) = known_header(name) {
                (*name, *header) = (known, reference);
            }
        }
    }
}

fn add_headers(response: &mut Tree, names: &[&str]) {
    if response.get("headers").is_none() {
        response.set("headers", Tree::object());
    }
    if let Some(headers) = response.get_mut("headers") {
        names.iter().for_each(|name| headers.set(name, reference("headers", name)));
    }
}

fn is_problem(response: &Tree) -> bool {
    response.get("content").is_some_and(|content| content.get(ProblemJson::CONTENT_TYPE).is_some())
}

/// A reference to a header that [`headers`] describes, found by its name in any case because the framework writes
/// header names in capitals.
fn known_header(name: &str) -> Option<(String, Tree)> {
    let headers = headers();
    let known = headers.as_object()?.keys().find(|known| known.eq_ignore_ascii_case(name))?;
    Some((known.clone(), reference("headers", known).into()))
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

/// Adds a parameter's default, an example that works, and how it may be written.
fn complete_parameter(operation: &str, parameter: &mut Tree) {
    let Some(name) = parameter.get("name").and_then(Tree::as_str).map(str::to_owned) else { return };
    let example = match name.as_str() {
        "to" if operation == "convert" => Some(json!("USD")),
        _ if operation.starts_with(dialect::OPERATIONS) => dialect::example(&name),
        "limit" => Some(json!(DEFAULT_LIMIT)),
        "order" => Some(json!("desc")),
        "to" => Some(json!("2100-01-01T00:00:00Z")),
        "min_coverage" => Some(json!("0")),
        // Any recently agreed price meets these three.
        "max_age" => Some(json!("1d")),
        "min_sources" => Some(json!(1)),
        "max_spread" => Some(json!("5%")),
        "verbose" => Some(json!("true")),
        // In a log of two pairs, the first two records are a lead for each pair. The third is a tick or a gap.
        "sequence" => Some(json!(3)),
        "time" => Some(json!(["2026-01-01T00:00:00Z"])),
        _ => None,
    };
    if let Some(schema) = parameter.get_mut("schema") {
        match name.as_str() {
            "limit" => schema.set("default", json!(DEFAULT_LIMIT)),
            // The framework's floating-point limits cannot hold this number.
            "sequence" | "at_sequence" => schema.set("maximum", json!(u64::MAX)),
            _ => {}
        }
        if example.is_some() || WITHOUT_EXAMPLE.contains(&name.as_str()) {
            schema.remove("example");
        }
    }
    if let Some(example) = example {
        parameter.set("example", example);
    }
    let spelling = match name.as_str() {
        "pair" => {
            "Upper or lower case, with `-`, `_` or `%2F`: `btc-usd`, `BTC_USD` and `BTC%2FUSD` all mean `BTC-USD`."
        }
        "from" | "to" | "time" if operation != "convert" && !operation.starts_with(dialect::OPERATIONS) => {
            "RFC 3339 (write `+` as `%2B`), a date (the start of that day in UTC) or unix milliseconds. A number that \
             looks like seconds is refused."
        }
        _ => return,
    };
    let description = parameter.get("description").and_then(Tree::as_str).unwrap_or_default();
    let description = format!("{description}\n\n{spelling}");
    parameter.set("description", description.as_str());
}
