//! The OpenAPI document of `/openapi.json`, `/docs` and `docs/openapi.json`.
//!
//! The framework generates most of the document from the handlers and the shapes of responses. This module adds what
//! the framework cannot express: the problems of each route, headers, examples, and some limits of parameters. Members
//! have the same order in schemas as in responses.

mod components;
mod dialect;
mod parameters;
mod problems;
mod schemas;
mod tree;

use poem_openapi::{Tags, payload::Payload};
use serde_json::{Value, json};

use components::{headers, key_schemes};
use problems::Shared;
use tree::Tree;

use super::{Service, Tag, coingecko::is_of_dialect};
use crate::problem::ProblemJson;

/// The version of OpenAPI. The framework writes 3.0.0, whose JSON schema has errors.
const OPENAPI: &str = "3.0.3";

/// Examples of successful responses, by operation, status and media type. The linter checks each against its schema.
const EXAMPLES: &str = include_str!("document/examples.json");

/// The header with the sequence of a response.
const SEQUENCE_HEADER: &str = "X-Tickwell-Sequence";

/// The header with the identity of the log.
const LOG_HEADER: &str = "X-Tickwell-Log";

/// The route of WebSockets. It is left out, because OpenAPI cannot describe WebSockets: Swagger UI cannot open them, and
/// generated clients do not compile. The description of the group `Streams` has it.
const SOCKET: &str = "/v1/ws";

/// The headers of every response under `/v1`.
const HEADERS: [&str; 6] =
    ["Cache-Control", "ETag", "RateLimit", "RateLimit-Policy", LOG_HEADER, SEQUENCE_HEADER];

/// The headers of a response that cannot be cached, such as a stream.
const STREAM_HEADERS: [&str; 4] = ["RateLimit", "RateLimit-Policy", LOG_HEADER, SEQUENCE_HEADER];

/// The finished document.
#[derive(Debug, Clone)]
pub(crate) struct Document(String);

impl Document {
    /// The document of these routes. The document in the repository is that of a pod without API keys: its clients can
    /// send a key too, whereas clients that are generated from a document with keys must send one.
    pub(crate) fn of(service: &Service, has_dialect: bool, has_keys: bool) -> Self {
        let mut document = Tree::parse(&service.spec());
        let mut examples = Tree::parse(EXAMPLES);
        let mut problems = Shared::default();
        document.visit(&mut whole_number);
        schemas::rewrite(&mut document);
        document.set("openapi", OPENAPI);
        if let Some(Tree::Object(paths)) = document.get_mut("paths") {
            paths.retain(|(path, _)| path != SOCKET);
        }
        for (path, item) in document.get_mut("paths").into_iter().flat_map(Tree::members_mut) {
            for (_method, operation) in item.members_mut() {
                complete_operation(path, operation, &mut examples, &mut problems);
                if has_keys {
                    require_key(path, operation);
                }
            }
        }
        if let Some(components) = document.get_mut("components") {
            components.set("headers", headers());
            components.set("responses", problems.responses());
            components.set("examples", problems.examples());
            if let Some(responses) = components.get_mut("responses").filter(|_| has_dialect) {
                dialect::responses().for_each(|(name, response)| responses.set(&name, response));
            }
            if has_keys {
                components.set("securitySchemes", key_schemes());
            }
        }
        // Operations that require a key say so themselves.
        document.set("security", json!([]));
        if let Some(tags) = document.get_mut("tags") {
            tags.items_mut().sort_by_key(|tag| {
                let name = tag.get("name").and_then(Tree::as_str);
                Tag::SHOWN.iter().position(|shown| Some(shown.name()) == name)
            });
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

/// Removes the fraction of a whole number. The framework writes limits as floating-point numbers, such as 1.0.
fn whole_number(tree: &mut Tree) {
    let Tree::Leaf(Value::Number(number)) = tree else { return };
    if let Some(whole) = number.to_string().strip_suffix(".0").and_then(|whole| whole.parse::<i64>().ok()) {
        *tree = Value::from(whole).into();
    }
}

/// Lists the headers in which an operation takes a key.
fn require_key(path: &str, operation: &mut Tree) {
    if is_of_dialect(path) {
        operation.set("security", dialect::keys());
    } else if path.starts_with("/v1/") {
        operation.set("security", json!([{"bearer": []}, {"key": []}]));
    }
}

fn complete_operation(path: &str, operation: &mut Tree, examples: &mut Tree, shared: &mut Shared) {
    let text = |name: &str| operation.get(name).and_then(Tree::as_str).unwrap_or_default().to_owned();
    let (id, summary) = (text("operationId"), text("summary"));
    let is_api = path.starts_with("/v1/");
    let parameters = operation.get_mut("parameters").map(Tree::items_mut).unwrap_or_default();
    parameters.iter_mut().for_each(|parameter| parameters::complete(&id, parameter));
    let is_dialect = is_of_dialect(path);
    let problems = match () {
        () if is_api => shared.of(&id, parameters),
        () if is_dialect => dialect::errors(parameters),
        () => Vec::new(),
    };
    let Some(Tree::Object(responses)) = operation.get_mut("responses") else { return };
    responses.retain(|(_status, response)| !is_problem(response));
    for (status, response) in responses.iter_mut() {
        let examples = examples.get_mut(&id).and_then(|examples| examples.get_mut(status));
        complete_success(response, &summary, examples);
        if (is_api || is_dialect) && status.starts_with('2') {
            let can_be_cached = status == "200" && !problems::is_stream(&id);
            add_headers(response, if can_be_cached { &HEADERS } else { &STREAM_HEADERS });
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
    if let Some(Tree::Object(contents)) = response.get_mut("content") {
        for (media_type, content) in contents {
            // Generators and their users look for `application/json` without parameters.
            media_type.truncate(media_type.find(';').unwrap_or(media_type.len()));
            if let Some(example) = examples.as_mut().and_then(|examples| examples.get_mut(media_type)) {
                content.set("example", std::mem::take(example));
            }
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
