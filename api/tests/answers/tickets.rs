//! Tickets, with which browsers open the streams of a pod that requires keys.

use std::time::Duration;

use api::{config::ApiConfig, server::SharedEndpoint};
use poem::test::{TestClient, TestResponse};
use serde_json::{Value, json};

use crate::{
    access::keyed,
    rig::{Rig, at, tick},
};

const TICKETS: &str = "/v1/tickets";

async fn ask_for_ticket(client: &TestClient<SharedEndpoint>, key: &str) -> TestResponse {
    client.post(TICKETS).header("x-api-key", key).send().await
}

async fn ticket(client: &TestClient<SharedEndpoint>, key: &str) -> String {
    let mut response = ask_for_ticket(client, key).await;
    response.assert_status(poem::http::StatusCode::CREATED);
    let body: Value = serde_json::from_str(&response.0.take_body().into_string().await.unwrap()).unwrap();
    body["ticket"].as_str().unwrap().to_owned()
}

async fn status(client: &TestClient<SharedEndpoint>, target: &str) -> u16 {
    client.get(target).send().await.0.status().as_u16()
}

#[tokio::test]
async fn a_ticket_opens_streams_of_every_pod_with_the_same_key_for_a_minute() {
    let (mut one, mut other) = (Rig::new(), Rig::new());
    for rig in [&mut one, &mut other] {
        rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    }
    let (issuer, verifier) = (one.configured(&keyed("off")), other.configured(&keyed("off")));
    for key in ["foo", "bar"] {
        let ticket = ticket(&issuer, key).await;
        for client in [&issuer, &verifier] {
            for format in ["sse", "ndjson"] {
                let target = format!("/v1/stream?format={format}&ticket={ticket}");
                assert_eq!(status(client, &target).await, 200, "{target}");
            }
            // 426: the ticket is valid, but this is not a WebSocket handshake.
            assert_eq!(status(client, &format!("/v1/ws?ticket={ticket}")).await, 426);
            // A ticket is only for streams.
            assert_eq!(status(client, &format!("/v1/pairs?ticket={ticket}")).await, 401);
        }
    }
    let ticket = ticket(&issuer, "foo").await;
    let target = format!("/v1/stream?ticket={ticket}");
    let keys = vec!["one=fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9".parse().unwrap()];
    let with_other_key = other.configured(&ApiConfig { keys, ..keyed("off") });
    other.clock.set(at(59));
    assert_eq!((status(&verifier, &target).await, status(&with_other_key, &target).await), (200, 401));
    other.clock.set(at(60));
    let ended = Rig::answer(&verifier, &target, &[]).await;
    assert_eq!((ended.status, &ended.body["code"]), (401, &json!("unauthorized")));
    let detail = ended.body["detail"].as_str().unwrap();
    assert!(detail.contains("POST /v1/tickets") && !detail.contains(&ticket), "{detail}");
}

#[tokio::test]
async fn a_ticket_needs_a_key_and_is_not_cached() {
    let rig = Rig::new();
    let client = rig.configured(&keyed("off"));
    for key in ["", "baz"] {
        ask_for_ticket(&client, key).await.assert_status(poem::http::StatusCode::UNAUTHORIZED);
    }
    let mut created = ask_for_ticket(&client, "foo").await;
    created.assert_header("cache-control", "no-store");
    created.assert_header_is_not_exist("etag");
    let body: Value = serde_json::from_str(&created.0.take_body().into_string().await.unwrap()).unwrap();
    assert_eq!(body["expires"], json!("2023-11-14T00:01:00.000Z"));
    for forged in ["", "x", "1700000000000-0", "99999999999999999999-0"] {
        assert_eq!(status(&client, &format!("/v1/stream?ticket={forged}")).await, 401, "{forged}");
    }
    let unknown = client.post("/v1/tickets?pair=BTC-USD").header("x-api-key", "foo").send().await;
    unknown.assert_status(poem::http::StatusCode::BAD_REQUEST);
    let get = Rig::answer(&client, TICKETS, &[("x-api-key", "foo")]).await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    let post = client.post("/v1/pairs").header("x-api-key", "foo").send().await;
    post.assert_status(poem::http::StatusCode::METHOD_NOT_ALLOWED);
    post.assert_header("allow", "GET, HEAD");
}

#[tokio::test]
async fn requests_with_a_ticket_count_as_requests_with_its_key() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let client = rig.configured(&keyed("2/h"));
    let target = format!("/v1/stream?format=ndjson&ticket={}", ticket(&client, "foo").await);
    assert_eq!((status(&client, &target).await, status(&client, &target).await), (200, 429));
    assert_eq!(Rig::answer(&client, "/v1/pairs", &[("x-api-key", "foo")]).await.status, 429);
    assert_eq!(Rig::answer(&client, "/v1/pairs", &[("x-api-key", "bar")]).await.status, 200);
}

#[tokio::test]
async fn a_page_with_tickets_also_works_with_a_pod_that_needs_none() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let ticket = ticket(rig.client(), "").await;
    rig.clock.set(at(3_600));
    for ticket in [ticket.as_str(), "x"] {
        let target = format!("/v1/stream?ticket={ticket}");
        let opened = tokio::time::timeout(Duration::from_secs(60), status(rig.client(), &target)).await;
        assert_eq!(opened.unwrap(), 200);
    }
}
