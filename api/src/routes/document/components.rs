//! Parts of the OpenAPI document that several operations refer to.

use serde_json::{Value, json};

use super::{LOG_HEADER, SEQUENCE_HEADER};

/// The headers of responses.
pub(super) fn headers() -> Value {
    let header = |description: &str, schema: Value| json!({"description": description, "schema": schema});
    json!({
        "Cache-Control": header(
            "How long the response may be cached: until the next slot begins or a price becomes stale. A response \
             about history that can no longer change is `immutable`.",
            json!({"type": "string", "example": "public, max-age=8"}),
        ),
        "ETag": header(
            "The tag to send as `If-None-Match`. It is the same on every pod, and weak if the response is compressed.",
            json!({"type": "string", "example": "\"9f86d081884c7d659a2feaa0c55ad015\""}),
        ),
        "RateLimit": header(
            "How many requests are left, and in how many seconds the quota is full again. A request counts once for each \
             1,000 items of its `limit` or `max_points`. Absent if there is no limit.",
            json!({"type": "string", "example": "\"default\";r=599;t=1"}),
        ),
        "RateLimit-Policy": header(
            "How many requests are allowed in how many seconds. Absent if there is no limit.",
            json!({"type": "string", "example": "\"default\";q=600;w=60"}),
        ),
        "Link": header(
            "A link to the next page, as `<…>; rel=\"next\"`, relative to the address of the response. Absent on the last page.",
            json!({"type": "string", "example": "<gaps?order=desc&limit=100&cursor=d1763683200000>; rel=\"next\""}),
        ),
        "Retry-After": header(
            "How many seconds to wait before retrying.",
            json!({"type": "integer", "minimum": 1, "example": 10}),
        ),
        "Vary": header(
            "The request headers that the response depends on.",
            json!({"type": "string", "example": "Accept-Encoding"}),
        ),
        (LOG_HEADER): header(
            "The identity of the log that the pod follows. Sequences of different logs have nothing to do with each other.",
            json!({"type": "string", "example": "3k9v1a"}),
        ),
        (SEQUENCE_HEADER): header(
            "The position in the log that the response belongs to. Send it as `at_sequence` to get the same response \
             again.",
            json!({"type": "integer", "format": "uint64", "minimum": 0, "example": 4711}),
        ),
    })
}

/// The two ways in which a request can send its API key.
pub(super) fn key_schemes() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, if the pod requires one. The operator of the service issues keys.",
        },
        "key": {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "An API key, as an alternative to `Authorization: Bearer KEY`.",
        },
        "coingecko": {
            "type": "apiKey",
            "in": "header",
            "name": "x-cg-demo-api-key",
            "description": "An API key, as CoinGecko's clients send it. `x-cg-pro-api-key` means the same, and so do the \
                            parameters `x_cg_demo_api_key` and `x_cg_pro_api_key`.",
        },
    })
}
