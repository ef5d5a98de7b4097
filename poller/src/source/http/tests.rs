//! Pacing of requests, and where keys may be sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::domain::Interval;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::source::{contact::Contact, exchanges, limit::Limit, proxy::EgressProxy};

/// Responds to every request with the same bytes, and counts the requests.
async fn counting(answer: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, count)
}

/// Coinbase with four markets, held to a limit even though it is not at its public address.
fn limited(url: String, limit: Limit) -> HttpSource {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pairs: Vec<Pair> = (0..4).map(|number| format!("A{number}-USD").parse().unwrap()).collect();
    let setup = Setup { url, key: None, interval: "10s".parse().unwrap() };
    let (name, exchange) = ("coinbase".parse().unwrap(), exchanges::named("coinbase").unwrap());
    let mut source = HttpSource::new(
        name,
        exchange,
        setup,
        &pairs,
        Client::new(&EgressProxy::Unset, &Contact::default()).unwrap(),
    )
    .unwrap();
    source.about.limit = Some(limit);
    source
}

fn slot() -> Slot {
    let interval: Interval = "10s".parse().unwrap();
    interval.slot_at("2026-11-21T00:00:10Z".parse().unwrap())
}

fn count(answers: &Answers, failure: Failure) -> usize {
    answers.values().filter(|answer| **answer == Err(failure)).count()
}

#[tokio::test]
async fn requests_beyond_the_burst_are_paced_and_not_sent_once_the_source_refuses_one() {
    let (url, asked) =
        counting("HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    let source = limited(url, Limit::new(1, 3).with_burst(3));
    let answers = source.ask(slot(), Instant::now() + Duration::from_secs(60)).await;
    assert_eq!((count(&answers, Failure::Http429), count(&answers, Failure::BackingOff)), (3, 1));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_request_that_could_only_be_sent_after_the_deadline_is_a_timeout() {
    let body = r#"{"price":"1","time":"2026-11-21T00:00:10Z"}"#;
    let answer =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (url, asked) = counting(answer.leak()).await;
    let source = limited(url, Limit::new(1, 3_600).with_burst(3));
    let answers = source.ask(slot(), Instant::now() + Duration::from_secs(60)).await;
    assert_eq!(count(&answers, Failure::Timeout), 1);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[test]
fn keys_are_sent_only_encrypted_or_to_this_machine() {
    for (url, expected) in [
        ("https://anywhere.example", true),
        ("http://127.0.0.1:8080", true),
        ("http://127.9.9.9", true),
        ("http://[::1]:8080", true),
        ("http://localhost:8080", true),
        ("http://localhost.example", false),
        ("http://10.0.0.1", false),
        ("http://[::ffff:127.0.0.1]", false),
        ("http://127.0.0.1.example", false),
    ] {
        assert_eq!(is_private(&url.parse().unwrap()), expected, "{url}");
    }
}
