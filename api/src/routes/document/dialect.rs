//! What the document says about CoinGecko's dialect: its errors, keys and examples.

use poem_openapi::Tags;
use serde_json::{Value, json};

use super::{super::coingecko::is_of_dialect, Tag, reference, tree::Tree};

/// How the ids of the dialect's operations begin.
pub(super) const OPERATIONS: &str = "coingecko";

/// The statuses of errors: what each means, and an example.
const ERRORS: [(&str, &str, &str); 7] = [
    ("400", "The request is malformed", r#"{"error":"this route does not accept a request body"}"#),
    (
        "401",
        "The server requires an API key, and the request has none that is valid",
        r#"{"status":{"error_code":10002,"error_message":"API key missing or invalid"}}"#,
    ),
    ("404", "The coin, the rate or the route is not known", r#"{"error":"coin not found"}"#),
    (MISSING, "A parameter is missing or invalid", r#"{"error":"Missing parameter vs_currency"}"#),
    (
        "429",
        "This client has sent too many requests",
        r#"{"status":{"error_code":429,"error_message":"too many requests"}}"#,
    ),
    (
        "500",
        "The server failed to process the request",
        r#"{"status":{"error_code":500,"error_message":"the server failed to process the request"}}"#,
    ),
    (
        "503",
        "There is no price yet, or the server is starting or busy",
        r#"{"status":{"error_code":503,"error_message":"there is no agreed price yet"}}"#,
    ),
];

/// The status that only routes with parameters have.
const MISSING: &str = "422";

/// The errors of an operation, by status. They refer to [`responses`].
pub(super) fn errors(parameters: &[Tree]) -> Vec<(String, Tree)> {
    let statuses = ERRORS.iter().map(|(status, ..)| *status);
    let of_route = statuses.filter(|status| *status != MISSING || !parameters.is_empty());
    of_route.map(|status| (status.to_owned(), reference("responses", &name(status)).into())).collect()
}

/// The errors of all operations, by name.
pub(super) fn responses() -> impl Iterator<Item = (String, Value)> {
    ERRORS.iter().map(|(status, meaning, example)| (name(status), error(status, meaning, example)))
}

fn name(status: &str) -> String {
    format!("CoinGecko{status}")
}

fn error(status: &str, meaning: &str, example: &str) -> Value {
    let example: Value = serde_json::from_str(example).unwrap_or_default();
    let text = json!({"type": "string"});
    let schema = if example.get("status").is_some() {
        let members = json!({"error_code": {"type": "integer"}, "error_message": text});
        let status =
            json!({"type": "object", "required": ["error_code", "error_message"], "properties": members});
        json!({"type": "object", "required": ["status"], "properties": {"status": status}})
    } else {
        json!({"type": "object", "required": ["error"], "properties": {"error": text}})
    };
    let content = json!({"application/json": {"schema": schema, "example": example}});
    let retry = json!({"Retry-After": reference("headers", "Retry-After")});
    match status {
        "429" | "503" => json!({"description": meaning, "content": content, "headers": retry}),
        _ => json!({"description": meaning, "content": content}),
    }
}

/// A request sends its key like one for `/v1` or as CoinGecko's clients do.
pub(super) fn keys() -> Value {
    json!([{"coingecko": []}, {"bearer": []}, {"key": []}])
}

/// An example of a parameter that works.
pub(super) fn example(parameter: &str) -> Option<Value> {
    let example = match parameter {
        "id" | "ids" => "bitcoin",
        "names" => "Bitcoin",
        "symbols" => "btc",
        "vs_currency" | "vs_currencies" => "usd",
        "days" => "1",
        "interval" => "daily",
        "from" => "2025-01-01",
        "to" => "2100-01-01",
        _ => "true",
    };
    Some(json!(example))
}

/// Removes the dialect from the document.
pub(super) fn remove(document: &mut Tree) {
    if let Some(Tree::Object(paths)) = document.get_mut("paths") {
        paths.retain(|(path, _)| !is_of_dialect(path));
    }
    if let Some(Tree::List(tags)) = document.get_mut("tags") {
        tags.retain(|tag| tag.get("name").and_then(Tree::as_str) != Some(Tag::CoinGecko.name()));
    }
}
