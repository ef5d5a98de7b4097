//! What the document says about parameters: examples, limits, and how values may be written.
//!
//! Swagger UI sends the example and the default of each parameter. So only required parameters have an example, and the
//! description of an optional parameter contains its example. No parameter has a default in its schema, because
//! generated clients would always send it, also together with parameters that exclude it.

use serde_json::{Value, json};

use super::{super::paging::DEFAULT_LIMIT, dialect, tree::Tree};

/// The optional parameter that has an example nevertheless, because its route needs this parameter or a similar one.
const FILLED_IN: &str = "ids";

/// Completes a parameter of an operation.
pub(super) fn complete(operation: &str, parameter: &mut Tree) {
    let Some(name) = parameter.get("name").and_then(Tree::as_str).map(str::to_owned) else { return };
    let is_required = parameter.get("required") == Some(&json!(true).into());
    let mut example = example(operation, &name).map(Tree::from);
    if let Some(schema) = parameter.get_mut("schema") {
        // The framework's floating-point limits cannot hold this number.
        if ["sequence", "at_sequence"].contains(&name.as_str()) {
            schema.set("maximum", json!(u64::MAX));
        }
        example = example.or_else(|| schema.get("example").cloned());
        schema.remove("example");
    }
    let mut texts = vec![parameter.get("description").and_then(Tree::as_str).unwrap_or_default().to_owned()];
    texts.extend(hint(operation, &name));
    match example {
        Some(example) if is_required || name == FILLED_IN => parameter.set("example", example),
        Some(Tree::Leaf(example)) => {
            let example = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
            texts.push(format!("Example: `{example}`."));
        }
        _ => {}
    }
    parameter.set("description", texts.join("\n\n").as_str());
}

/// An example of a parameter that works, if the schema of the parameter's type has none.
fn example(operation: &str, name: &str) -> Option<Value> {
    match name {
        "to" if operation == "convert" => Some(json!("USD")),
        _ if operation.starts_with(dialect::OPERATIONS) => dialect::example(name),
        // In a log of two pairs, the first two records are a lead for each pair. The third is a tick or a gap.
        "sequence" => Some(json!(3)),
        "time" => Some(json!(["2026-01-01T00:00:00Z"])),
        "max_age" => Some(json!("30s")),
        "min_sources" => Some(json!(2)),
        "max_spread" => Some(json!("0.5%")),
        _ => None,
    }
}

/// How the values of a parameter may be written, and the default of `limit`.
fn hint(operation: &str, name: &str) -> Option<String> {
    let hint = match name {
        "limit" => return Some(format!("Default: {DEFAULT_LIMIT}.")),
        "pair" => {
            "Upper or lower case, with `-`, `_` or `%2F`: `btc-usd`, `BTC_USD` and `BTC%2FUSD` all mean `BTC-USD`."
        }
        "from" | "to" | "time" if operation != "convert" && !operation.starts_with(dialect::OPERATIONS) => {
            "RFC 3339 (write `+` as `%2B`), a date (the start of that day in UTC) or unix milliseconds. A number that \
             looks like seconds is refused."
        }
        _ => return None,
    };
    Some(hint.to_owned())
}
