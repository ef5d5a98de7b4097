//! Tests of the metrics of requests, and of where they are served.

use api::config::ApiConfig;
use serde_json::json;

use crate::{
    access::keyed,
    rig::{Rig, tick},
};

/// The value of the metric that a line begins with.
fn value(metrics: &str, start: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix(start)?.strip_prefix(' ')?.parse().ok())
}

fn answered(metrics: &str, route: &str, status: u16) -> Option<u64> {
    let labels =
        format!("http_request_method=\"GET\",http_response_status_code=\"{status}\",http_route=\"{route}\"");
    value(metrics, &format!("http_server_request_duration_seconds_count{{{labels}}}"))
}

#[tokio::test]
async fn requests_are_counted_by_the_template_of_their_route_also_if_they_fail() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let before = rig.text("/metrics").await;
    assert_eq!(answered(&before, "/v1/prices/{pair}", 200), Some(0), "known series begin at zero");
    for path in [
        "/v1/prices/BTC-USD",
        "/v1/prices/BTC-USD?windw=1h",
        "/v1/prices/BTC-EUR",
        "/v1/prices/ETH-EUR",
        "/v1/prices/not a pair".replace(' ', "%20").as_str(),
        "/v1/nothing",
        "/v1/anything",
        "/web/0/app.js",
        "/docs",
    ] {
        rig.get(path).await;
    }
    let metrics = rig.text("/metrics").await;
    for (route, status, count) in [
        ("/v1/prices/{pair}", 200, 1),
        ("/v1/prices/{pair}", 400, 2),
        ("/v1/prices/{pair}", 404, 2),
        ("", 404, 2),
        ("/web/{build}/{name}", 200, 1),
        ("/docs", 200, 1),
    ] {
        assert_eq!(answered(&metrics, route, status), Some(count), "{route} {status}: {metrics}");
    }
    let problems = |code: &str| value(&metrics, &format!("tickwell_http_problems_total{{code=\"{code}\"}}"));
    assert_eq!(problems("unknown_pair"), Some(2));
    assert_eq!(problems("not_found"), Some(2));
    assert_eq!(problems("internal"), Some(0));
}

#[tokio::test]
async fn requests_over_the_limit_are_counted() {
    let rig = Rig::new();
    let client = rig.configured(&keyed("2/h"));
    for status in [503, 503, 429] {
        assert_eq!(Rig::answer(&client, "/v1/prices", &[("x-api-key", "foo")]).await.status, status);
    }
    let metrics = rig.text("/metrics").await;
    assert_eq!(value(&metrics, "tickwell_http_problems_total{code=\"rate_limited\"}"), Some(1));
    assert_eq!(answered(&metrics, "/v1/prices", 429), Some(1));
}

#[tokio::test]
async fn a_pod_that_waits_for_its_log_counts_what_it_refuses() {
    let rig = Rig::new();
    assert_eq!(Rig::answer(&rig.starting(), "/v1/prices/BTC-USD", &[]).await.status, 503);
    let metrics = rig.text("/metrics").await;
    assert_eq!(answered(&metrics, "/v1/prices/{pair}", 503), Some(1));
    assert_eq!(value(&metrics, "tickwell_http_problems_total{code=\"starting\"}"), Some(1));
}

#[tokio::test]
async fn a_pod_with_an_admin_listener_serves_metrics_only_there() {
    let rig = Rig::new().with_admin();
    for client in [rig.configured(&ApiConfig::default()), rig.starting()] {
        let answer = Rig::answer(&client, "/metrics", &[]).await;
        assert_eq!((answer.status, &answer.body["code"]), (404, &json!("not_found")));
        assert_eq!(Rig::answer(&client, "/livez", &[]).await.status, 200);
    }
    let operators = poem::test::TestClient::new(rig.operators());
    operators.get("/metrics").send().await.assert_status_is_ok();
}
