//! API keys, rate limits, and CORS.

use api::config::{ApiConfig, RateLimit};
use poem::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rig::{Rig, tick};

/// Two API keys, `foo` and `bar`: a name, and the output of `printf %s KEY | sha256sum`.
const KEYS: [&str; 2] = [
    "one=2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "two=fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9",
];

pub(crate) fn keyed(rate_limit: &str) -> ApiConfig {
    let keys = KEYS.iter().map(|key| key.parse().unwrap()).collect();
    ApiConfig { rate_limit: rate_limit.parse().unwrap(), keys, ..ApiConfig::default() }
}

#[tokio::test]
async fn a_key_is_required_if_any_is_configured() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let client = rig.configured(&keyed("off"));
    for (name, value) in [
        ("authorization", "Bearer foo"),
        ("authorization", "bearer bar"),
        ("x-api-key", "foo"),
        ("x-api-key", "bar"),
    ] {
        let answer = Rig::answer(&client, "/v1/prices/BTC-USD", &[(name, value)]).await;
        assert_eq!(answer.status, 200, "{name}: {value}");
        // Shared caches must not store responses to the holder of a key.
        assert!(answer.header("cache-control").unwrap().starts_with("private, max-age="), "{name}");
    }
    // A gateway may use `Authorization` for its own tokens, so one valid key in either header is enough.
    let both = [("authorization", "Bearer baz"), ("x-api-key", "foo")];
    assert_eq!(Rig::answer(&client, "/v1/pairs", &both).await.status, 200);
    for headers in [
        &[][..],
        &[("authorization", "Bearer baz")],
        &[("authorization", "foo")],
        &[("authorization", "Basic foo")],
        &[("x-api-key", "")],
        &[("x-api-key", "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae")],
        &[("authorization", "Bearer baz"), ("x-api-key", "baz")],
    ] {
        for path in ["/v1/prices/BTC-USD", "/v1/pairs?x=1", "/v1/stream", "/nothing"] {
            let answer = Rig::answer(&client, path, headers).await;
            assert_eq!(
                (answer.status, &answer.body["code"]),
                (401, &json!("unauthorized")),
                "{path} {headers:?}"
            );
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    for path in ["/livez", "/version", "/metrics", "/docs", "/openapi.json", "/asyncapi.yaml"] {
        assert_eq!(Rig::answer(&client, path, &[]).await.status, 200, "{path}");
    }
    assert_eq!(Rig::answer(&client, "/", &[]).await.status, 200);
}

#[tokio::test]
async fn the_document_says_whether_a_route_requires_a_key() {
    let rig = Rig::new();
    let open = rig.get("/openapi.json").await.body;
    let keyed = Rig::answer(&rig.configured(&keyed("off")), "/openapi.json", &[]).await.body;
    let security = |document: &Value, path: &str| document["paths"][path]["get"]["security"].clone();
    for document in [&open, &keyed] {
        assert_eq!((&document["security"], security(document, "/livez")), (&json!([]), Value::Null));
    }
    assert_eq!(security(&open, "/v1/pairs"), Value::Null);
    assert_eq!(open["components"]["securitySchemes"], Value::Null);
    assert_eq!(security(&keyed, "/v1/pairs"), json!([{"bearer": []}, {"key": []}]));
    for scheme in ["bearer", "key", "coingecko"] {
        assert!(keyed["components"]["securitySchemes"][scheme].is_object(), "{scheme}");
    }
}

#[tokio::test]
async fn each_key_has_its_own_limit() {
    let rig = Rig::new();
    let client = rig.configured(&keyed("2/h"));
    let statuses = async |key: &str| {
        let mut statuses = Vec::new();
        for _request in 0..3 {
            let headers = [("x-api-key", key), ("x-forwarded-for", "1.1.1.1")];
            statuses.push(Rig::answer(&client, "/v1/pairs", &headers).await.status);
        }
        statuses
    };
    assert_eq!(statuses("foo").await, [200, 200, 429]);
    assert_eq!(statuses("bar").await, [200, 200, 429]);
}

#[tokio::test]
async fn only_pages_of_configured_origins_may_read_answers() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let origins = ["https://one.example", "http://localhost:3000"];
    let cors_origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    let client =
        rig.configured(&ApiConfig { rate_limit: RateLimit::Off, cors_origins, ..ApiConfig::default() });
    for path in ["/v1/prices/BTC-USD", "/v1/nothing", "/v1/pairs?x=1", "/livez"] {
        for origin in origins {
            let answer = Rig::answer(&client, path, &[("origin", origin)]).await;
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{path}");
            let exposed = answer.header("access-control-expose-headers").unwrap();
            assert!(exposed.contains("etag") && exposed.contains("x-tickwell-sequence"));
        }
        for headers in [&[][..], &[("origin", "https://one.example.org")], &[("origin", "null")]] {
            let answer = Rig::answer(&client, path, headers).await;
            assert_eq!(answer.header("access-control-allow-origin"), None, "{path} {headers:?}");
            let varies = answer.headers("vary");
            assert!(varies.contains(&"Origin") && varies.contains(&"Accept-Encoding"));
        }
    }
    let preflight = |origin: &'static str| {
        let request = client.request(Method::OPTIONS, "/v1/prices").header("origin", origin);
        request
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "x-api-key")
    };
    let allowed = preflight(origins[0]).send().await;
    allowed.assert_status(StatusCode::NO_CONTENT);
    allowed.assert_header("access-control-allow-origin", origins[0]);
    allowed.assert_header("access-control-allow-methods", "GET, HEAD");
    let allowed_headers = allowed.0.headers()["access-control-allow-headers"].to_str().unwrap();
    for name in ["x-api-key", "x-cg-demo-api-key", "x-stainless-lang"] {
        assert!(allowed_headers.contains(name), "{name}");
    }
    let foreign = preflight("https://other.example").send().await;
    foreign.assert_status(StatusCode::METHOD_NOT_ALLOWED);
    foreign.assert_header_is_not_exist("access-control-allow-origin");

    // Without configured origins, no page may read responses, and responses do not depend on the origin.
    let answer = rig.ask("/v1/prices/BTC-USD", &[("origin", origins[0])]).await;
    assert_eq!((answer.header("access-control-allow-origin"), answer.headers("vary").len()), (None, 1));
}

#[tokio::test]
async fn answers_carry_security_headers() {
    let rig = Rig::new();
    for path in ["/v1/pairs", "/v1/nothing", "/docs", "/metrics"] {
        let answer = rig.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(policy.contains("default-src 'none'"), path != "/docs", "{path}");
    }
}
