//! Rewrites the framework's schemas into forms that generators of clients understand.

use serde_json::json;

use super::tree::Tree;

/// Rewrites every schema of the document.
pub(super) fn rewrite(document: &mut Tree) {
    document.visit(&mut |schema| {
        unwrap_reference(schema);
        name_words(schema);
    });
}

/// The framework describes a reference with members of its own as a combination of the reference and these members,
/// and repeats the members next to the combination. Generators would create another type for it.
fn unwrap_reference(schema: &mut Tree) {
    let Some(Tree::List(parts)) = schema.get("allOf") else { return };
    let Some(reference) = parts.first().and_then(|part| part.get("$ref")).and_then(Tree::as_str) else {
        return;
    };
    let reference = json!({"$ref": reference});
    if schema.get("nullable").is_some() {
        // OpenAPI 3.0 has no type for null, and ignores `nullable` next to a reference.
        let absent = json!({"type": "string", "nullable": true, "enum": [null]});
        schema.set("oneOf", json!([reference, absent]));
        schema.remove("allOf");
        schema.remove("nullable");
    } else {
        schema.set("allOf", json!([reference]));
    }
}

/// Gives names to words that begin with a digit, such as `H1` to `1h`. Generators would number them.
fn name_words(schema: &mut Tree) {
    let Some(Tree::List(words)) = schema.get("enum") else { return };
    let words: Vec<&str> = words.iter().filter_map(Tree::as_str).collect();
    if !words.iter().any(|word| word.starts_with(|first: char| first.is_ascii_digit())) {
        return;
    }
    let names = words.iter().map(|word| {
        let unit = word.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let number = word.strip_suffix(unit).unwrap_or_default();
        format!("{}{number}", unit.to_uppercase())
    });
    let names: Vec<String> = names.collect();
    schema.set("x-enum-varnames", json!(names));
}
