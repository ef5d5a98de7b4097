//! Tests of connections, with and without faults.

use super::*;

const GEMINI: &str = "/gemini/v1/pricefeed";

/// More bytes than any normal response has.
const ENOUGH: usize = 300_000;

async fn with_fault(upstream: &FakeUpstream, fault: Fault, enough: usize) -> Vec<u8> {
    upstream.set_fault(Venue::Gemini, fault);
    raw(upstream, "GET", GEMINI, "", enough).await
}

fn announced(answer: &Answer) -> usize {
    answer.header("content-length").unwrap().parse().unwrap()
}

#[tokio::test]
async fn one_connection_serves_several_requests() {
    let upstream = start().await;
    let mut stream = TcpStream::connect(upstream.address).await.unwrap();
    // The second request arrives together with the end of the first.
    let one = format!("GET {GEMINI} HTTP/1.1\r\nhost: fake\r\n\r\n");
    stream.write_all([one.as_bytes(), one.as_bytes()].concat().as_slice()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    let first = Answer::of(&received);
    let length = announced(&first);
    let second = Answer::of(&first.body[length..]);
    assert_eq!((second.status, &first.body[..length]), (200, second.body.as_slice()));
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_request_whose_head_is_too_long_is_cut_off() {
    let upstream = start().await;
    let endless = format!("x: {}\r\n", "y".repeat(100_000));
    assert_eq!(raw(&upstream, "GET", GEMINI, &endless, ENOUGH).await, b"");
}

#[tokio::test]
async fn announced_lengths_can_be_wrong() {
    let upstream = start().await;
    let honest = Answer::of(&raw(&upstream, "GET", GEMINI, "", ENOUGH).await);
    assert_eq!(announced(&honest), honest.body.len());
    let short = Answer::of(&with_fault(&upstream, Fault::Short, ENOUGH).await);
    assert_eq!((&short.body, announced(&short)), (&honest.body, honest.body.len() + 100));
    let long = Answer::of(&with_fault(&upstream, Fault::Long, ENOUGH).await);
    assert_eq!((&long.body, announced(&long)), (&honest.body, honest.body.len() / 2));
    let cut = Answer::of(&with_fault(&upstream, Fault::Cut, ENOUGH).await);
    assert_eq!(
        (cut.body.as_slice(), announced(&cut)),
        (&honest.body[..honest.body.len() / 2], cut.body.len())
    );
}

#[tokio::test]
async fn a_connection_can_end_without_a_response_or_in_the_middle_of_one() {
    let upstream = start().await;
    assert_eq!(with_fault(&upstream, Fault::Close, ENOUGH).await, b"");

    upstream.set_fault(Venue::Gemini, Fault::Reset);
    let mut stream = TcpStream::connect(upstream.address).await.unwrap();
    stream.write_all(format!("GET {GEMINI} HTTP/1.1\r\nhost: fake\r\n\r\n").as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let ended = stream.read_to_end(&mut received).await;
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);

    // Both requests are in the log, the first one without a status.
    let statuses: Vec<_> = upstream.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [None, Some(200)]);
}

#[tokio::test]
async fn an_endless_response_continues_until_the_client_disconnects() {
    let upstream = start().await;
    let endless = Answer::of(&with_fault(&upstream, Fault::Endless, ENOUGH).await);
    assert_eq!(endless.header("transfer-encoding"), Some("chunked"));
    assert!(endless.body.starts_with(b"4000\r\n    "));

    let dripping = with_fault(&upstream, Fault::Drip, 1).await;
    assert!(Answer::of(&dripping).body.len() < 10, "the head arrives, followed by single bytes");
}

#[tokio::test]
async fn a_request_is_logged_on_arrival_even_if_the_response_is_late_or_missing() {
    let upstream = start().await;
    for (fault, status) in [(Fault::Slow(3_600), Some(200)), (Fault::Hang, None)] {
        upstream.set_fault(Venue::Gemini, fault);
        let before_ms = clock::now_ms();
        let asking = raw(&upstream, "GET", GEMINI, "", ENOUGH);
        let logged = crate::wait_until("the request", Duration::from_secs(60), async || {
            let found = upstream.requests().into_iter().find(|request| request.status == status);
            found.map(|request| request.time_ms)
        });
        tokio::select! {
            answer = asking => panic!("{fault} sent {answer:?}"),
            time_ms = logged => assert!((before_ms..=clock::now_ms()).contains(&time_ms)),
        }
    }
}

#[tokio::test]
async fn bodies_can_be_hostile() {
    let upstream = start().await;
    let redirect = Answer::of(&with_fault(&upstream, Fault::Redirect, ENOUGH).await);
    assert_eq!((redirect.status, redirect.header("location")), (302, Some("http://169.254.169.254/")));
    let bomb = Answer::of(&with_fault(&upstream, Fault::Bomb, usize::MAX).await);
    assert_eq!(bomb.header("content-encoding"), Some("gzip"));
    assert_eq!(announced(&bomb), bomb.body.len());
    let html = Answer::of(&with_fault(&upstream, Fault::Html, ENOUGH).await);
    assert_eq!((html.status, html.header("content-type")), (200, Some("text/html")));
    let deep = Answer::of(&with_fault(&upstream, Fault::Deep, ENOUGH).await);
    assert_eq!((deep.body.len(), deep.body[99_999], deep.body[100_000]), (200_000, b'[', b']'));
    let garbage = Answer::of(&with_fault(&upstream, Fault::Garbage, ENOUGH).await);
    assert!(std::str::from_utf8(&garbage.body).is_err());
}
