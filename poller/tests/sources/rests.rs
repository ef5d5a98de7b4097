//! When a source is polled again after a failure, and which API key is sent to it. The servers record the requests.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::domain::{Failure, Interval, Slot, Timestamp};
use poller::source::{self, Answers, Client, Contact, EgressProxy, Key, Plan, Setup, Source};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};

use crate::pairs;

/// A server with canned responses. It records the requests.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
}

/// A source that sends its requests to a [`Server`], and the newest slot for which the source was asked.
struct Upstream {
    source: Arc<dyn Source>,
    server: Server,
    slot: Slot,
    interval: Interval,
}

const GOOD: &str = r#"{"error":[],"result":{"XXBTZUSD":{"c":["97012.30"]},"XETHZUSD":{"c":["3400.10"]}}}"#;

pub(crate) fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

/// Serves the responses one after another, and then repeats the last one.
pub(crate) async fn canned(responses: &[String]) -> Server {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (seen, mut responses) = (requests.clone(), VecDeque::from(responses.to_vec()));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            seen.lock().unwrap().push(String::from_utf8(head).unwrap());
            let response = responses.front().unwrap().clone();
            if responses.len() > 1 {
                responses.pop_front();
            }
            let _ = stream.write_all(response.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    Server { url, requests }
}

async fn upstream(name: &str, key: Option<Key>, responses: &[String]) -> Upstream {
    let server = canned(responses).await;
    let interval: Interval = "10s".parse().unwrap();
    let setup = Setup { url: server.url.clone(), key, interval };
    let client = Client::new(&EgressProxy::Unset, &Contact::default()).unwrap();
    let source = source::build(name.parse().unwrap(), setup, &pairs(), &client).unwrap();
    let slot = interval.slot_at("2026-11-21T00:00:10Z".parse::<Timestamp>().unwrap());
    Upstream { source, server, slot, interval }
}

impl Upstream {
    /// Asks for the next slot.
    async fn ask(&mut self) -> Answers {
        self.slot = self.interval.after(self.slot.start());
        self.source.ask(self.slot, Instant::now() + Duration::from_secs(60)).await
    }

    /// Asks for the next slot, and checks that all pairs fail in this way.
    async fn fails(&mut self, expected: Failure) {
        let answers = self.ask().await;
        assert_eq!(answers.values().copied().collect::<Vec<_>>(), [Err(expected); 2]);
    }

    fn count(&self) -> usize {
        self.server.requests.lock().unwrap().len()
    }
}

/// Advances tokio's clock without waiting. The clock is paused only for that, because sockets need real time.
async fn pass(length: Duration) {
    tokio::time::pause();
    tokio::time::advance(length).await;
    tokio::time::resume();
}

#[tokio::test]
async fn no_source_is_asked_before_the_time_that_it_announced() {
    let day = 86_400;
    let date = "date: Tue, 01 Jan 2030 00:00:00 GMT\r\nretry-after: Tue, 01 Jan 2030 00:05:00 GMT\r\n";
    let throttled = |seconds| format!(r#"{{"error":["EService: Throttled: {seconds}"]}}"#);
    let in_body = throttled(1_893_456_000 + 90);
    for (status, headers, body, failure, seconds) in [
        ("429 Too Many Requests", "retry-after: 120\r\n", "", Failure::Http429, 120),
        ("429 Too Many Requests", "", "", Failure::Http429, 60),
        ("503 Service Unavailable", "retry-after: 30\r\n", "", Failure::Http5xx, 30),
        ("403 Forbidden", "", "<html>", Failure::Http403, 600),
        ("451 Unavailable", "", "", Failure::Http451, 600),
        ("418 I'm a teapot", "", "", Failure::Http418, 120),
        ("418 I'm a teapot", "retry-after: 999999999999\r\n", "", Failure::Http418, 3 * day),
        ("429 Too Many Requests", date, "", Failure::Http429, 300),
        ("302 Found", "retry-after: 77\r\nlocation: /\r\n", "", Failure::Redirect, 77),
        (
            "200 OK",
            "retry-after: 9999\r\n",
            r#"{"error":["EAPI:Rate limit exceeded"]}"#,
            Failure::RateLimited,
            60,
        ),
        ("200 OK", "date: Tue, 01 Jan 2030 00:00:00 GMT\r\n", &in_body, Failure::RateLimited, 90),
        ("500 Oops", "", r#"{"error":["EGeneral:Too many requests"]}"#, Failure::RateLimited, 60),
    ] {
        let responses = [response(status, headers, body), response("200 OK", "", GOOD)];
        let mut upstream = upstream("kraken", None, &responses).await;
        upstream.fails(failure).await;
        pass(Duration::from_secs(seconds - 1)).await;
        upstream.fails(Failure::BackingOff).await;
        assert_eq!(upstream.count(), 1, "{status} {headers}{body}");
        pass(Duration::from_secs(1)).await;
        assert!(upstream.ask().await.values().all(Result::is_ok), "{status} {headers}{body}");
        assert_eq!(upstream.count(), 2);
    }
}

#[tokio::test]
async fn a_wait_shorter_than_a_slot_changes_nothing() {
    let responses =
        [response("429 Too Many Requests", "retry-after: 0\r\n", ""), response("200 OK", "", GOOD)];
    let mut upstream = upstream("kraken", None, &responses).await;
    upstream.fails(Failure::Http429).await;
    assert!(upstream.ask().await.values().all(Result::is_ok));
}

#[tokio::test]
async fn a_source_that_keeps_failing_is_asked_less_often_until_it_recovers() {
    let broken = response("500 Oops", "", "");
    let mut responses = vec![broken; 4];
    responses.push(response("200 OK", "", GOOD));
    let mut upstream = upstream("kraken", None, &responses).await;
    let mut asked = Vec::new();
    for slot in 0..20 {
        let before = upstream.count();
        upstream.ask().await;
        if upstream.count() > before {
            asked.push(slot);
        }
    }
    assert_eq!(asked, [0, 1, 3, 7, 13, 14, 15, 16, 17, 18, 19]);
}

#[tokio::test]
async fn a_refused_request_rests_the_source_but_keeps_the_prices_of_the_others() {
    let good = r#"{"price":"97012.30","time":"2026-11-21T00:00:10Z"}"#;
    let responses = [response("200 OK", "", good), response("429 Too Many Requests", "", "")];
    let mut upstream = upstream("coinbase", None, &responses).await;
    let first = upstream.ask().await;
    assert_eq!(first.values().filter(|answer| answer.is_ok()).count(), 1);
    upstream.fails(Failure::BackingOff).await;
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_key_is_sent_in_the_header_of_its_plan_and_nowhere_else() {
    let key = |plan| Key::find(&"CG-secret".to_owned().into(), "".as_ref(), plan).unwrap();
    let body = r#"{"bitcoin":{"usd":1,"last_updated_at":1},"ethereum":{"usd":1,"last_updated_at":1}}"#;
    for (plan, header) in [
        (None, "x-cg-demo-api-key: CG-secret\r\n"),
        (Some(Plan::Demo), "x-cg-demo-api-key: CG-secret\r\n"),
        (Some(Plan::Pro), "x-cg-pro-api-key: CG-secret\r\n"),
    ] {
        let mut upstream = upstream("coingecko", key(plan), &[response("200 OK", "", body)]).await;
        assert!(upstream.ask().await.values().all(Result::is_ok));
        let requests = upstream.server.requests.lock().unwrap();
        assert_eq!(requests[0].matches("CG-secret").count(), 1, "{}", requests[0]);
        assert!(requests[0].contains(header), "{}", requests[0]);
    }
    let mut upstream = upstream("coingecko", None, &[response("200 OK", "", body)]).await;
    upstream.ask().await;
    assert!(!upstream.server.requests.lock().unwrap()[0].contains("api-key"));
}
