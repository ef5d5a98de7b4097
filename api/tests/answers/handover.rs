//! Streams over real sockets: the head comes from the HTTP library, and everything after it does not.

use std::time::Duration;

use api::config::RateLimit;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::rig::{Rig, Served, tick};

const DEADLINE: Duration = Duration::from_secs(20);

const PATH: &str = "/v1/stream?format=ndjson&after=0";

async fn open(served: &Served, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads until a text has arrived, or until the server closes the connection if that is `None`.
async fn read(stream: &mut TcpStream, until: Option<&str>) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while until.is_none_or(|text| !String::from_utf8_lossy(&bytes).contains(text)) {
            if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                assert_eq!(until, None, "the connection is closed");
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A head and a body.
fn split(response: &str) -> (&str, &str) {
    response.split_once("\r\n\r\n").unwrap()
}

/// Decodes a chunked body.
fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        let (chunk, rest) = rest.split_at(length);
        text.push_str(chunk);
        body = rest.strip_prefix("\r\n").unwrap();
        if length == 0 {
            assert_eq!(body, "", "the last chunk is at the end");
            return text;
        }
    }
}

async fn streams(rig: &Rig, count: usize) {
    let is_reached = async || {
        let metrics = rig.get("/metrics").await.text;
        metrics.contains(&format!("tickwell_stream_clients{{transport=\"ndjson\"}} {count}\n")).then_some(())
    };
    testkit::wait_until("the number of streams", DEADLINE, is_reached).await;
}

#[tokio::test]
async fn a_stream_is_the_same_in_every_version_of_http() {
    const TICKS: i64 = 2_000;
    let mut rig = Rig::new();
    rig.send((1..=TICKS).map(|place| tick("BTC-USD", 10 * place, "1.5")).collect()).await;
    let served = rig.serve(RateLimit::Off).await;
    let mut new = open(&served, &format!("GET {PATH} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    let mut old = open(&served, &format!("GET {PATH} HTTP/1.0\r\n\r\n")).await;
    let newest = format!("\"sequence\":{TICKS},");
    let (mut new_text, mut old_text) =
        (read(&mut new, Some(&newest)).await, read(&mut old, Some(&newest)).await);
    rig.stop();
    new_text.push_str(&read(&mut new, None).await);
    old_text.push_str(&read(&mut old, None).await);
    let ((new_head, new_body), (old_head, old_body)) = (split(&new_text), split(&old_text));
    assert!(new_head.contains("\r\ntransfer-encoding: chunked"), "{new_head}");
    assert!(new_head.contains("\r\nconnection: close"), "{new_head}");
    assert!(!old_head.contains("transfer-encoding"), "{old_head}");
    assert_eq!(unchunked(new_body), old_body);
    let mut lines: Vec<&str> = old_body.lines().collect();
    let end = lines.pop().unwrap();
    assert!(end.contains("\"kind\":\"end\",\"code\":\"shutting_down\""), "{end}");
    for (place, event) in (1..=TICKS).zip(&lines) {
        assert!(event.contains(&format!("\"sequence\":{place},")), "{place}: {event}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_or_never_reads_the_body_frees_its_place() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "1.5")]).await;
    let served = rig.serve(RateLimit::Off).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    // What a client sends after its request is ignored, whether it arrives before or after the stream begins.
    let request = format!("GET {PATH} HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut chatty = open(&served, &format!("{request}{request}")).await;
    read(&mut chatty, Some("\"sequence\":1,")).await;
    chatty.write_all(request.repeat(100).as_bytes()).await.unwrap();
    rig.send(vec![tick("BTC-USD", 20, "1.6")]).await;
    read(&mut chatty, Some("\"sequence\":2,")).await;
    streams(&rig, 1).await;
    let response = read(&mut open(&served, &request.replace("GET", "HEAD")).await, None).await;
    let (head, body) = split(&response);
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{head} {body}");
    streams(&rig, 1).await;
    drop(chatty);
    streams(&rig, 0).await;
    // This client only announces that it leaves.
    let mut polite = open(&served, &request).await;
    read(&mut polite, Some("\"sequence\":2,")).await;
    polite.shutdown().await.unwrap();
    streams(&rig, 0).await;
    testkit::wait_until("no connection is open", DEADLINE, async || (rig.connections() == 0).then_some(()))
        .await;
    testkit::wait_until("no task is left", DEADLINE, async || (tasks() <= before).then_some(())).await;
}
