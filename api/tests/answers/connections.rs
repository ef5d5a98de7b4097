//! Connections over real sockets: limits, and an end that does not wait for ever.

use std::{net::SocketAddr, time::Duration};

use api::config::RateLimit;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::rig::Rig;

const DEADLINE: Duration = Duration::from_secs(60);

async fn open(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Everything until the other side closes.
async fn read(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn get(address: SocketAddr, path: &str) -> String {
    read(open(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await).await
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let rig = Rig::new();
    let served = rig.serve("3/h".parse().unwrap()).await;
    // An answer is an answer, also where it is an error: how many are left is told with each.
    for (path, status, left) in [
        ("/v1/pairs", 200, "r=2;t=1200"),
        ("/v1/nothing", 404, "r=1;t=2400"),
        ("/v1/pairs?x=1", 400, "r=0;t=1200"),
    ] {
        let answer = get(served.address, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("\r\nratelimit-policy: \"default\";q=3;w=3600\r\n"), "{answer}");
        assert!(answer.contains(&format!("\r\nratelimit: \"default\";{left}\r\n")), "{answer}");
    }
    let refused = get(served.address, "/v1/pairs").await;
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("rate_limited"), "{refused}");
    let wait = refused.split("\r\nretry-after: ").nth(1).unwrap().split('\r').next().unwrap();
    assert!((1_000..=1_200).contains(&wait.parse::<u32>().unwrap()), "{refused}");
    assert!(refused.contains(&format!("\r\nratelimit: \"default\";r=0;t={wait}\r\n")), "{refused}");
    for path in ["/livez", "/metrics", "/version"] {
        let exempt = get(served.address, path).await;
        assert!(exempt.starts_with("HTTP/1.1 200") && !exempt.contains("ratelimit"), "{exempt}");
    }
    let unlimited = rig.serve(RateLimit::Off).await;
    assert!(!get(unlimited.address, "/v1/pairs").await.contains("ratelimit"));
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_off() {
    let rig = Rig::new();
    let served = rig.serve(RateLimit::Off).await;
    for begun in ["", "GET /v1/pairs HTTP/1.1\r\nhost:", "PRI * HTT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let stream = open(served.address, begun).await;
        // The limit is 5 s; without one of ours the library's own would be 30 s, or none.
        tokio::time::timeout(Duration::from_secs(25), read(stream)).await.expect(begun);
    }
    testkit::wait_until("the connection is gone", DEADLINE, async || (rig.connections() == 0).then_some(()))
        .await;
}

#[tokio::test]
async fn oversized_heads_and_targets_are_refused() {
    let rig = Rig::new();
    let served = rig.serve(RateLimit::Off).await;
    let long = get(served.address, &format!("/v1/pairs?at_sequence={}", "1".repeat(10_000))).await;
    assert!(long.starts_with("HTTP/1.1 400") && long.contains("invalid_parameter"), "{long}");
    let huge = format!("GET / HTTP/1.1\r\nhost: x\r\nx-padding: {}\r\n\r\n", "y".repeat(100_000));
    assert!(read(open(served.address, &huge).await).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn stopping_does_not_wait_for_idle_or_half_open_connections() {
    let rig = Rig::new();
    let served = rig.serve(RateLimit::Off).await;
    let idle = open(served.address, "GET /v1/pairs HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let half = open(served.address, "GET /v1/pairs HTTP/1.1\r\n").await;
    testkit::wait_until("both are open", DEADLINE, async || (rig.connections() == 2).then_some(())).await;
    served.stop.cancel();
    tokio::time::timeout(DEADLINE, served.task).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
    assert!(read(idle).await.starts_with("HTTP/1.1 200"));
    let _ = read(half).await;
}
