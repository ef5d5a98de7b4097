//! What several operations of the document refer to, each described once.

use serde_json::{Value, json};

use super::SEQUENCE_HEADER;

/// Headers of answers.
pub(super) fn headers() -> Value {
    let header = |description: &str, schema: Value| json!({"description": description, "schema": schema});
    json!({
        "Cache-Control": header(
            "How long the answer holds: until the next slot, and no longer than its prices are fresh. Closed history is \
             `immutable`.",
            json!({"type": "string", "example": "public, max-age=8"}),
        ),
        "ETag": header(
            "What `If-None-Match` takes; the same on every pod. Weak where the answer is compressed.",
            json!({"type": "string", "example": "\"9f86d081884c7d659a2feaa0c55ad015\""}),
        ),
        "RateLimit": header(
            "How many requests are left, and in how many seconds all are; absent where there is no limit.",
            json!({"type": "string", "example": "\"default\";r=599;t=1"}),
        ),
        "RateLimit-Policy": header(
            "How many requests are free, and in how many seconds; absent where there is no limit.",
            json!({"type": "string", "example": "\"default\";q=600;w=60"}),
        ),
        "Link": header(
            "The next page, as `<…>; rel=\"next\"`; absent on the last.",
            json!({"type": "string", "example": "</v1/prices/BTC-USD/gaps?order=desc&limit=100&cursor=d1763683200000>; rel=\"next\""}),
        ),
        "Retry-After": header(
            "After how many seconds asking again makes sense.",
            json!({"type": "integer", "minimum": 1, "example": 10}),
        ),
        "Vary": header(
            "What of the request the answer depends on.",
            json!({"type": "string", "example": "Accept-Encoding"}),
        ),
        (SEQUENCE_HEADER): header(
            "The position in the log that the answer is as of; `at_sequence` asks for it again.",
            json!({"type": "integer", "format": "uint64", "minimum": 0, "example": 4711}),
        ),
    })
}

/// How a request shows its key, where the pod asks for one.
pub(super) fn key_schemes() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key, where the pod asks for one; those who run it give out keys.",
        },
        "key": {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "The same key in a header of its own.",
        },
    })
}
