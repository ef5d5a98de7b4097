//! API keys, rate limits, and CORS.

use api::{
    config::{ApiConfig, RateLimit},
    server::SharedEndpoint,
};
use poem::{
    http::{Method, StatusCode, header::ORIGIN},
    test::{TestClient, TestResponse},
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, client::IntoClientRequest};

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
    // Before, anybody could read the metrics of a pod that requires keys.
    for client in [&client, &rig.starting_as(&keyed("off"))] {
        assert_eq!(client.get("/metrics").send().await.0.status().as_u16(), 401);
        let with_key = client.get("/metrics").header("x-api-key", "foo").send().await;
        assert_eq!(with_key.0.status().as_u16(), 200);
    }
    for path in ["/livez", "/version", "/docs", "/openapi.json", "/asyncapi.yaml"] {
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

/// The preflight of a GET request with a key.
async fn preflight(client: &TestClient<SharedEndpoint>, origin: &'static str) -> TestResponse {
    let request = client.request(Method::OPTIONS, "/v1/prices").header("origin", origin);
    let request = request.header("access-control-request-method", "GET");
    request.header("access-control-request-headers", "x-api-key").send().await
}

fn allowing(origins: &[&str]) -> ApiConfig {
    let cors_origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    ApiConfig { rate_limit: RateLimit::Off, cors_origins, ..ApiConfig::default() }
}

const FOREIGN: [&str; 2] = ["https://one.example.org", "null"];

#[tokio::test]
async fn only_pages_of_configured_origins_may_send_requests() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let origins = ["https://one.example", "http://localhost:3000"];
    let client = rig.configured(&allowing(&origins));
    for path in ["/v1/prices/BTC-USD", "/v1/nothing", "/v1/pairs?x=1", "/livez"] {
        for origin in origins {
            let answer = Rig::answer(&client, path, &[("origin", origin)]).await;
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{path}");
            assert!(answer.status != 403);
            let exposed = answer.header("access-control-expose-headers").unwrap();
            assert!(exposed.contains("etag") && exposed.contains("x-tickwell-sequence"));
        }
        for headers in [&[][..], &[("origin", "https://pod.example"), ("host", "pod.example")]] {
            let own = Rig::answer(&client, path, headers).await;
            assert_eq!(own.header("access-control-allow-origin"), None, "{path} {headers:?}");
            assert!(own.status != 403);
            let varies = own.headers("vary");
            assert!(varies.contains(&"Origin") && varies.contains(&"Accept-Encoding"));
        }
    }
    // The page can read why it is refused.
    for origin in FOREIGN {
        for client in [&client, rig.client()] {
            let refused = Rig::answer(client, "/v1/prices/BTC-USD", &[("origin", origin)]).await;
            assert_eq!((refused.status, &refused.body["code"]), (403, &json!("origin_not_allowed")));
            assert!(refused.body["detail"].as_str().unwrap().contains("api.cors_origins"));
            assert_eq!(refused.header("access-control-allow-origin"), Some(origin));
            assert!(refused.headers("vary").contains(&"Origin"));
        }
    }
    for origin in [origins[0], FOREIGN[0]] {
        let allowed = preflight(&client, origin).await;
        allowed.assert_status(StatusCode::NO_CONTENT);
        allowed.assert_header("access-control-allow-origin", origin);
        allowed.assert_header("access-control-allow-methods", "GET, HEAD, POST");
        let allowed_headers = allowed.0.headers()["access-control-allow-headers"].to_str().unwrap();
        for name in ["x-api-key", "x-cg-demo-api-key", "x-stainless-lang"] {
            assert!(allowed_headers.contains(name), "{name}");
        }
    }
}

#[tokio::test]
async fn all_pages_may_send_requests_if_any_origin_is_allowed() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let client = rig.configured(&allowing(&["*"]));
    for headers in [&[][..], &[("origin", FOREIGN[0])], &[("origin", FOREIGN[1])]] {
        let answer = Rig::answer(&client, "/v1/prices/BTC-USD", headers).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
        // Caches need not distinguish pages.
        assert_eq!(answer.headers("vary"), ["Accept-Encoding"]);
        // There are no cookies.
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    preflight(&client, FOREIGN[0]).await.assert_header("access-control-allow-origin", "*");
}

#[tokio::test]
async fn a_page_can_read_that_the_pod_is_starting() {
    let rig = Rig::new();
    let starting = rig.starting();
    let own = Rig::answer(&starting, "/v1/pairs", &[("origin", "http://pod"), ("host", "pod")]).await;
    assert_eq!((own.status, &own.body["code"]), (503, &json!("starting")));
    let foreign = Rig::answer(&starting, "/v1/pairs", &[("origin", FOREIGN[0])]).await;
    assert_eq!((foreign.status, foreign.header("access-control-allow-origin")), (403, Some(FOREIGN[0])));
}

#[tokio::test]
async fn a_websocket_follows_the_same_rule() {
    let rig = Rig::new();
    let served = rig.serve(RateLimit::Off).await;
    let own = format!("http://{}", served.address);
    for (origin, expected) in
        [(None, 101), (Some(own.as_str()), 101), (Some(FOREIGN[0]), 403), (Some("null"), 403)]
    {
        let mut request = format!("ws://{}/v1/ws", served.address).into_client_request().unwrap();
        request.headers_mut().extend(origin.map(|origin| (ORIGIN, origin.parse().unwrap())));
        let status = match tokio_tungstenite::connect_async(request).await {
            Ok((_, response)) => response.status(),
            Err(Error::Http(response)) => response.status(),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(status.as_u16(), expected, "{origin:?}");
    }
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
