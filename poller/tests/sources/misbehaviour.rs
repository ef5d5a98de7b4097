//! Servers that misbehave. Each kind of misbehaviour becomes a named failure, and none blocks the process or
//! fills its memory.

use std::time::Duration;

use common::domain::Failure;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{PATIENT, ask, source};

/// A server that responds to every request with the same bytes, and then closes the connection or hangs.
async fn misbehaving(response: Vec<u8>, hang: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let response = response.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(&response).await;
                if hang {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    url
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn response_of_length(length: u64, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes(), body].concat()
}

/// 64 MB of spaces, compressed to almost nothing.
fn bomb() -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; 64 * 1024 * 1024]).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn every_misbehaviour_is_a_named_failure() {
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b'['; 2 * 1024 * 1024]].concat();
    let endless_headers = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"x: y\r\n".repeat(1_000_000)].concat();
    let cases = [
        (
            "a redirect",
            response("302 Found", "location: http://169.254.169.254/\r\n", b""),
            Failure::Redirect,
        ),
        ("forbidden", response("403 Forbidden", "", b"<html>"), Failure::Http403),
        ("banned", response("418 I'm a teapot", "", b""), Failure::Http418),
        ("too many", response("429 Too Many Requests", "", b""), Failure::Http429),
        ("unavailable for legal reasons", response("451 Unavailable", "", b""), Failure::Http451),
        ("not found", response("404 Not Found", "", b""), Failure::Http4xx),
        ("broken", response("500 Oops", "", b""), Failure::Http5xx),
        ("empty", response("204 No Content", "", b""), Failure::Malformed),
        ("html", response("200 OK", "", b"<html>hello</html>"), Failure::Malformed),
        ("deep", response("200 OK", "", &vec![b'['; 100_000]), Failure::Malformed),
        ("cut off", b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{".to_vec(), Failure::Malformed),
        (
            "longer than it says",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{}".to_vec(),
            Failure::Malformed,
        ),
        (
            "two lengths",
            [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n".as_slice(), &response("", "", b"{}")].concat(),
            Failure::Unreachable,
        ),
        ("an excessive length", response_of_length(u64::MAX, b"{}"), Failure::Unreachable),
        (
            "an invalid chunk",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzzz\r\n{}".to_vec(),
            Failure::Malformed,
        ),
        ("not gzip", response("200 OK", "content-encoding: gzip\r\n", b"{}"), Failure::Malformed),
        (
            "half a gzip",
            response("200 OK", "content-encoding: gzip\r\n", &bomb()[..1_000]),
            Failure::Malformed,
        ),
        (
            "an unsupported encoding",
            response("200 OK", "content-encoding: br\r\n", b"\x0b\x02"),
            Failure::Malformed,
        ),
        ("not text", response("200 OK", "", b"{\"error\":[],\"result\":{\"\xff\":1}}"), Failure::Malformed),
        ("endless headers", endless_headers, Failure::Unreachable),
        ("not http", b"hello\r\n\r\n".to_vec(), Failure::Unreachable),
        ("endless", endless, Failure::TooLarge),
        ("a bomb", response("200 OK", "content-encoding: gzip\r\n", &bomb()), Failure::TooLarge),
    ];
    for (what, bytes, expected) in cases {
        let source = source("kraken", &misbehaving(bytes, false).await);
        let answers = ask(&source, PATIENT).await;
        assert_eq!(answers.values().copied().collect::<Vec<_>>(), [Err(expected); 2], "{what}");
    }
}

#[tokio::test]
async fn a_silent_server_is_a_timeout_and_a_closed_port_is_unreachable() {
    let silent = source(
        "kraken",
        &misbehaving(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{".to_vec(), true).await,
    );
    let answers = ask(&silent, Duration::from_millis(300)).await;
    assert!(answers.values().all(|answer| *answer == Err(Failure::Timeout)));

    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let answers = ask(&source("bitstamp", &format!("http://{port}")), PATIENT).await;
    assert!(answers.values().all(|answer| *answer == Err(Failure::Unreachable)));
}

#[tokio::test]
async fn a_connection_reset_in_the_body_is_malformed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{").await;
            // With a zero linger time, closing the socket resets the connection.
            stream.set_zero_linger().unwrap();
        }
    });
    let answers = ask(&source("kraken", &url), PATIENT).await;
    assert_eq!(answers.values().copied().collect::<Vec<_>>(), [Err(Failure::Malformed); 2]);
}

#[tokio::test]
async fn a_response_that_drips_is_cut_off_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n").await;
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let answers = ask(&source("kraken", &url), Duration::from_millis(300)).await;
    assert_eq!(answers.values().copied().collect::<Vec<_>>(), [Err(Failure::Timeout); 2]);
}

/// The status says that there is no price, so the client waits only briefly for the body of an error.
#[tokio::test]
async fn an_error_whose_body_hangs_is_reported_by_its_status() {
    let hanging = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 999\r\n\r\n{".to_vec();
    let source = source("kraken", &misbehaving(hanging, true).await);
    // This deadline is far later than the client stops waiting for the body of an error.
    let answers = ask(&source, Duration::from_secs(10)).await;
    assert_eq!(answers.values().copied().collect::<Vec<_>>(), [Err(Failure::Http429); 2]);
}

#[tokio::test]
async fn retry_after_is_respected_even_if_the_body_stalls() {
    let head = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 3600\r\ncontent-length: 999\r\n\r\n{";
    let source = source("kraken", &misbehaving(head.into(), true).await);
    let answers = ask(&source, Duration::from_millis(300)).await;
    assert!(answers.values().all(|answer| *answer == Err(Failure::Http429)), "{answers:?}");
    let answers = ask(&source, PATIENT).await;
    assert!(answers.values().all(|answer| *answer == Err(Failure::BackingOff)), "{answers:?}");
}
