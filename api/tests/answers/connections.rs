//! Connections over real sockets: limits and shutdown.

use std::{net::SocketAddr, time::Duration};

use api::config::{ApiConfig, RateLimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::rig::{Rig, tick};

const DEADLINE: Duration = Duration::from_secs(60);

async fn open(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads everything until the server closes the connection.
async fn read(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset also ends the connection.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn get(address: SocketAddr, path: &str) -> String {
    read(open(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await).await
}

#[tokio::test]
async fn a_client_over_its_limit_learns_when_to_retry() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let served = rig.serve("3/h".parse().unwrap()).await;
    // Errors count too, and every response says how many requests are left.
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
    // A large page counts as several requests. If too few are left for it, a smaller one may still be allowed.
    let served = rig.serve("12/h".parse().unwrap()).await;
    for (path, status, left) in [
        ("/v1/prices/BTC-USD/history?limit=7000", 200, "r=5;t=2100"),
        ("/v1/prices/BTC-USD/history?limit=7000", 429, "r=5;t="),
        ("/v1/prices/BTC-USD/history?max_points=3001", 200, "r=1;t=3300"),
        ("/v1/pairs", 200, "r=0;t=300"),
    ] {
        let answer = get(served.address, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains(&format!("\r\nratelimit: \"default\";{left}")), "{left} {answer}");
    }
    let unlimited = rig.serve(RateLimit::Off).await;
    assert!(!get(unlimited.address, "/v1/pairs").await.contains("ratelimit"));
}

#[tokio::test]
async fn a_client_that_does_not_read_its_responses_gets_no_more_of_them() {
    let mut rig = Rig::keeping(Duration::from_secs(200_000));
    for batch in 0..10 {
        let slots = (0..1_000).map(|place| 10 * (batch * 1_000 + place));
        rig.send(slots.map(|slot| tick("BTC-USD", slot, "97012.345678")).collect()).await;
    }
    let served = rig.serve(RateLimit::Off).await;
    // Each path has another response of about a megabyte.
    let unread = async |number: usize| {
        let socket = TcpSocket::new_v4().unwrap();
        // Otherwise the kernel reads the whole response on the client's behalf.
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut stream = socket.connect(served.address).await.unwrap();
        let path = format!("/v1/prices/BTC-USD/history?limit={}", 10_000 - number);
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        (stream, String::from_utf8(head.to_vec()).unwrap())
    };
    let mut open = Vec::new();
    loop {
        let (stream, head) = unread(open.len()).await;
        if head == "HTTP/1.1 429" {
            break;
        }
        assert_eq!(head, "HTTP/1.1 200");
        open.push(stream);
        assert!(open.len() < 40, "{} responses are unread", open.len());
    }
    assert!(open.len() > 10, "only {} responses may be unread", open.len());
    // Small responses are still sent, and large ones are again once the others have been read or closed.
    assert!(get(served.address, "/v1/prices/BTC-USD").await.starts_with("HTTP/1.1 200"));
    let whole = read(open.remove(0)).await;
    assert!(whole.ends_with('}') && whole.len() > 700_000, "{} bytes", whole.len());
    drop(open);
    testkit::wait_until("the pod notices", DEADLINE, async || {
        get(served.address, "/v1/prices/BTC-USD/history?limit=5000")
            .await
            .starts_with("HTTP/1.1 200")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_head_that_does_not_end_is_cut_off() {
    let rig = Rig::new();
    let served = rig.serve(RateLimit::Off).await;
    for begun in ["", "GET /v1/pairs HTTP/1.1\r\nhost:", "PRI * HTT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let stream = open(served.address, begun).await;
        // Our limit is 5 s. The library's default would be 30 s or none.
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
    assert!(TcpStream::connect(served.address).await.is_err(), "the listener is closed");
    assert!(read(idle).await.starts_with("HTTP/1.1 200"));
    let _ = read(half).await;
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_have_a_limit_each() {
    let rig = Rig::new();
    let config = |proxies: &[&str]| ApiConfig {
        rate_limit: "1/h".parse().unwrap(),
        trusted_proxies: proxies.iter().map(|proxy| proxy.parse().unwrap()).collect(),
        ..ApiConfig::default()
    };
    for (proxies, second) in [(&["127.0.0.0/8", "10.0.0.1"][..], 200), (&[], 429), (&["10.0.0.1"], 429)] {
        let served = rig.serve_as(&config(proxies)).await;
        let mut statuses = Vec::new();
        for client in ["1.1.1.1", "6.6.6.6, 2.2.2.2, 10.0.0.1", "7.7.7.7, 2.2.2.2"] {
            let head = format!(
                "GET /v1/pairs HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-forwarded-for: {client}\r\n\r\n"
            );
            let answer = read(open(served.address, &head).await).await;
            statuses.push(answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap());
        }
        assert_eq!(statuses, [200, second, 429], "{proxies:?}");
    }
}

#[tokio::test]
async fn a_request_has_one_host_and_a_readable_cursor() {
    let rig = Rig::new();
    let served = rig.serve(RateLimit::Off).await;
    let status = async |head: &str| {
        let answer = read(open(served.address, &format!("{head}connection: close\r\n\r\n")).await).await;
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    // Before, the first two got 200, and the third one began with the newest events.
    for refused in [
        "GET /v1/pairs HTTP/1.1\r\n",
        "GET /v1/pairs HTTP/1.1\r\nhost: a\r\nHost: b\r\n",
        "GET /v1/stream?format=ndjson HTTP/1.1\r\nhost: a\r\nlast-event-id: \u{e9}\r\n",
    ] {
        assert_eq!(status(refused).await, "400", "{refused:?}");
    }
    // The pod closes these connections, whatever the client asks for.
    for refused in ["GET /v1/pairs HTTP/1.1\r\n\r\n", "GET /v1/pairs HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n"]
    {
        let answer = read(open(served.address, refused).await).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    for allowed in ["GET /v1/pairs HTTP/1.1\r\nhost: a\r\n", "GET /v1/pairs HTTP/1.0\r\n"] {
        assert_eq!(status(allowed).await, "200", "{allowed:?}");
    }
}

#[tokio::test]
async fn heads_with_other_line_ends_and_the_preface_of_http_2_get_400() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let served = rig.serve(RateLimit::Off).await;
    for (sent, statuses) in [
        ("GET /v1/pairs HTTP/1.1\nhost: x\n\n", &["400"][..]),
        ("GET /v1/pairs HTTP/1.1\r\nhost: x\nconnection: close\r\n\r\n", &["400"]),
        ("GET /v1/pairs HTTP/1.1\r\nhost: x\r\n\n", &["400"]),
        ("GET /v1/pairs HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/pairs HTTP/1.1\nhost: x\r\n\r\n", &["200", "400"]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &["400"]),
        // A body may contain anything. No further request is read after it.
        (
            "GET /v1/pairs HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n\nGET /v1/pairs HTTP/1.1\nhost: x\n\n",
            &["400"],
        ),
        ("POST /v1/tickets HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\nGET / HTTP/1.1\n", &["201"]),
    ] {
        let answers = read(open(served.address, sent).await).await;
        let seen: Vec<_> =
            answers.split("HTTP/1.1 ").skip(1).map(|answer| answer.split(' ').next().unwrap()).collect();
        assert_eq!(seen, statuses, "{sent:?}: {answers}");
    }
}
