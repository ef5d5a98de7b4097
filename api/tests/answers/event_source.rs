//! Server-sent events for a browser's `EventSource`, which never reconnects after a response other than 200.

use std::time::Duration;

use api::server::SharedEndpoint;
use futures::StreamExt;
use poem::{http::HeaderValue, test::TestClient};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    access::keyed,
    rig::{Rig, Served, gap, tick},
};

/// Long enough for any machine, and short enough for a failing test.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a client of server-sent events receives: one block of lines after the other.
struct Blocks(std::pin::Pin<Box<dyn futures::Stream<Item = String> + Send>>);

impl Blocks {
    /// Sends a request that must get an event stream.
    async fn of(client: &TestClient<SharedEndpoint>, path: &str, last: Option<&[u8]>) -> Self {
        // Some pods of these tests need a key.
        let mut request = client.get(path).header("x-api-key", "foo");
        if let Some(last) = last {
            request = request.header("last-event-id", HeaderValue::from_bytes(last).unwrap());
        }
        let mut response = request.send().await;
        response.assert_status_is_ok();
        response.assert_header("content-type", "text/event-stream");
        let bytes = response.0.take_body().into_bytes_stream();
        Self(Box::pin(bytes.map(|block| String::from_utf8(block.unwrap().to_vec()).unwrap())))
    }

    async fn next(&mut self) -> Option<String> {
        tokio::time::timeout(DEADLINE, self.0.next()).await.unwrap()
    }

    /// The event of the next block, with its data.
    async fn event(&mut self) -> (String, Value) {
        let block = self.next().await.unwrap();
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        (field("event: ").to_owned(), serde_json::from_str(field("data: ")).unwrap())
    }

    /// Asserts that this is the whole stream: when to reconnect, and why. Returns the seconds.
    async fn only_says(&mut self, code: &str) -> u64 {
        let block = self.next().await.unwrap();
        assert_eq!(self.next().await, None, "the stream does not end");
        let (retry, end) = block.split_once('\n').unwrap();
        let data = end.strip_prefix("event: end\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["code"], code);
        assert!(!data["detail"].as_str().unwrap().is_empty());
        let millis: u64 = retry.strip_prefix("retry: ").unwrap().parse().unwrap();
        assert_eq!(millis % 1_000, 0);
        millis / 1_000
    }
}

async fn status(client: &TestClient<SharedEndpoint>, path: &str) -> u16 {
    client.get(path).send().await.0.status().as_u16()
}

#[tokio::test]
async fn a_client_over_the_rate_limit_is_told_when_to_reconnect() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let client = rig.configured(&keyed("2/h"));
    let key = [("x-api-key", "foo")];
    for _allowed in 0..2 {
        assert_eq!(Rig::answer(&client, "/v1/pairs", &key).await.status, 200);
    }
    let refused = Rig::answer(&client, "/v1/stream?format=ndjson", &key).await;
    assert_eq!(refused.status, 429);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    for path in ["/v1/stream", "/v1/stream?format=sse&pairs=BTC-USD"] {
        let retry = Blocks::of(&client, path, None).await.only_says("rate_limited").await;
        assert!((seconds - 1..=seconds).contains(&retry) && retry > 1, "{retry} s, not {seconds} s");
    }
    // The metrics count these refusals like any other.
    let metrics = rig.text("/metrics").await;
    assert!(metrics.contains("tickwell_http_problems_total{code=\"rate_limited\"} 3"), "{metrics}");
}

#[tokio::test]
async fn a_client_of_a_full_pod_is_told_when_to_reconnect() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let mut open = Vec::new();
    for _place in 0..10 {
        open.push(Blocks::of(rig.client(), "/v1/stream", None).await);
    }
    let mut refused = Blocks::of(rig.client(), "/v1/stream", None).await;
    assert_eq!(refused.only_says("too_many_streams").await, 10);
    open.pop();
    let mut stream = Blocks::of(rig.client(), "/v1/stream", None).await;
    assert_eq!(stream.next().await.as_deref(), Some("retry: 1000\n\n"));
}

#[tokio::test]
async fn what_does_not_pass_is_an_error() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    for (path, expected) in [
        ("/v1/stream?pairs=DOGE-USD", 404),
        ("/v1/stream?pairs=x", 400),
        ("/v1/stream?after=x", 400),
        ("/v1/stream?format=xml", 400),
        ("/v1/stream?nothing", 400),
    ] {
        assert_eq!(status(rig.client(), path).await, expected, "{path}");
    }
    let json = rig.get_as("/v1/stream", "application/json").await;
    assert_eq!(json.status, 406);
    assert_eq!(status(&rig.configured(&keyed("off")), "/v1/stream").await, 401);
}

#[tokio::test]
async fn a_cursor_that_cannot_be_continued_resets_the_stream() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100"), tick("ETH-USD", 10, "5"), gap("BTC-USD", 20, 40)]).await;
    let cases: [(&str, Option<&[u8]>, &str, &str); 7] = [
        ("", Some(b"other-3"), "unknown_cursor", "replaced by another"),
        ("", Some(b"abc-999"), "unknown_cursor", "ends before"),
        ("?after=other-3", None, "unknown_cursor", "replaced by another"),
        ("?after=999", None, "unknown_cursor", "ends before"),
        ("", Some(b"nonsense"), "invalid_parameter", "cannot be read"),
        ("", Some(b"\xff"), "invalid_parameter", "cannot be read"),
        // The header takes precedence, even if only the parameter can be continued.
        ("?after=0", Some(b"other-3"), "unknown_cursor", "replaced by another"),
    ];
    for (query, last, code, words) in cases {
        let mut stream = Blocks::of(rig.client(), &format!("/v1/stream{query}"), last).await;
        assert_eq!(stream.next().await.as_deref(), Some("retry: 1000\n\n"));
        let (kind, reset) = stream.event().await;
        assert_eq!((kind.as_str(), &reset["code"]), ("reset", &json!(code)), "{query} {last:?}");
        assert_eq!((&reset["log"], &reset["sequence"]), (&json!("abc"), &json!(3)));
        // The stream has already started again, so it would be wrong to tell the client to reconnect.
        let detail = reset["detail"].as_str().unwrap();
        assert!(detail.contains(words) && detail.contains("continues with the newest"), "{detail}");
        assert!(!detail.contains("reconnect") && !detail.contains("omit"), "{detail}");
        let mut ids = Vec::new();
        for _newest in 0..3 {
            ids.push(stream.event().await.1["id"].clone());
        }
        assert_eq!(ids, ["abc-1", "abc-2", "abc-3"]);
    }
    // The stream goes on after the sequence of the reset.
    let mut stream = Blocks::of(rig.client(), "/v1/stream?pairs=ETH-USD", Some(b"other-3")).await;
    for _block in 0..3 {
        stream.next().await.unwrap();
    }
    rig.send(vec![tick("BTC-USD", 50, "101"), tick("ETH-USD", 20, "6")]).await;
    assert_eq!(stream.event().await.1["id"], "abc-5");
    // NDJSON gets an error.
    let lines = rig.ask("/v1/stream?format=ndjson", &[("last-event-id", "nonsense")]).await;
    assert_eq!((lines.status, lines.body["parameter"].as_str()), (400, Some("Last-Event-ID")));
    let last = HeaderValue::from_bytes(b"\xff").unwrap();
    let lines = rig.client().get("/v1/stream?format=ndjson").header("last-event-id", last).send().await;
    lines.assert_status(poem::http::StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_cursor_older_than_history_resets_the_stream() {
    let mut rig = Rig::new();
    const DAY: i64 = 86_400;
    rig.send(vec![tick("BTC-USD", 0, "1"), tick("BTC-USD", 10, "2"), gap("BTC-USD", 20, 2 * DAY)]).await;
    rig.send(vec![tick("BTC-USD", 2 * DAY + 20, "4")]).await;
    rig = rig.restarted().await;
    let mut stream = Blocks::of(rig.client(), "/v1/stream", Some(b"abc-1")).await;
    stream.next().await.unwrap();
    let (kind, reset) = stream.event().await;
    assert_eq!((kind.as_str(), &reset["code"]), ("reset", &json!("sequence_gone")));
    assert_eq!(stream.event().await.1["id"], "abc-4");
}

#[tokio::test]
async fn a_client_of_a_pod_that_is_behind_keeps_its_cursor() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    // After a restart, the pod does not know how long the log is until it has read a batch.
    let mut rig = rig.restarted().await;
    let mut stream = Blocks::of(rig.client(), "/v1/stream", Some(b"abc-3")).await;
    assert_eq!(stream.only_says("unknown_cursor").await, 1);
    let mut stream = Blocks::of(rig.client(), "/v1/stream?pairs=ETH-USD", None).await;
    assert_eq!(stream.only_says("unknown_pair").await, 1);
    rig.send(vec![tick("ETH-USD", 10, "5"), tick("ETH-USD", 20, "5"), tick("ETH-USD", 30, "6")]).await;
    let mut stream = Blocks::of(rig.client(), "/v1/stream", Some(b"abc-3")).await;
    stream.next().await.unwrap();
    assert_eq!(stream.event().await.1["id"], "abc-4");
}

#[tokio::test]
async fn clients_that_wait_for_a_pod_do_not_wait_for_each_other() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let rig = rig.restarted().await;
    let one = async || {
        let begun = tokio::time::Instant::now();
        Blocks::of(rig.client(), "/v1/stream", Some(b"abc-3")).await.only_says("unknown_cursor").await;
        begun.elapsed()
    };
    let alone = one().await;
    let all = futures::future::join_all((0..10).map(|_| one())).await;
    assert!(all.iter().all(|elapsed| *elapsed < 5 * alone), "{alone:?} alone, {all:?}");
}

/// Sends a request over a real connection. Returns the connection, and a text for what it receives.
async fn ask(served: &Served, target: &str) -> (TcpStream, String) {
    let mut client = TcpStream::connect(served.address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: pod\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    (client, String::new())
}

async fn hears(client: &mut TcpStream, heard: &mut String, what: &str) {
    let read = async {
        while !heard.contains(what) {
            let mut bytes = [0; 4_096];
            let count = client.read(&mut bytes).await.unwrap();
            assert!(count > 0, "{what} is missing in {heard}");
            heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    };
    tokio::time::timeout(DEADLINE, read).await.unwrap();
}

#[tokio::test]
async fn while_the_pod_starts_event_streams_wait_and_other_requests_do_not() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let (served, start) = rig.serve_starting().await;
    let (mut stream, mut events) = ask(&served, "/v1/stream").await;
    for target in ["/v1/stream?format=ndjson", "/v1/pairs"] {
        let (mut client, mut refused) = ask(&served, target).await;
        hears(&mut client, &mut refused, "\"code\":\"starting\"").await;
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    }
    start();
    hears(&mut stream, &mut events, "abc-1").await;
    assert!(events.starts_with("HTTP/1.1 200 OK\r\n") && !events.contains("starting"), "{events}");
}

#[tokio::test]
async fn a_pod_that_stops_while_it_starts_tells_waiting_clients_to_reconnect() {
    let rig = Rig::new();
    let (served, _start) = rig.serve_starting().await;
    let (mut stream, mut events) = ask(&served, "/v1/stream").await;
    // The response to another request on the same listener shows that the pod has accepted the stream's connection.
    let (mut client, mut alive) = ask(&served, "/livez").await;
    hears(&mut client, &mut alive, "alive").await;
    testkit::wait_until("both connections are open", DEADLINE, async || {
        (rig.connections() == 2).then_some(())
    })
    .await;
    served.stop.cancel();
    hears(&mut stream, &mut events, "\"code\":\"starting\"").await;
    assert!(events.starts_with("HTTP/1.1 200 OK\r\n") && events.contains("retry: 1000\n"), "{events}");
    served.task.await.unwrap().unwrap();
}
