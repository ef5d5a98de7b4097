//! Tests of the admin listener.

use std::io::BufReader;

use ledger::store::backup;
use poem::test::TestClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::rig::{Rig, tick};

/// With this many slots, the backup is longer than the part that the pod reads before the client receives anything.
const SLOTS: i64 = 4_000;

const PAIRS: [&str; 4] = ["BTC-USD", "ETH-USD", "BTC-EUR", "ETH-EUR"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_are_complete_and_only_one_is_sent_at_a_time() {
    let mut rig = Rig::new();
    for pair in PAIRS {
        // Prices with digits that do not compress well, so that the backup is long.
        let price = |slot: i64| {
            format!(
                "9.{:012}",
                slot.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()).unsigned_abs() % 1_000_000_000_000
            )
        };
        rig.send((1..=SLOTS).map(|slot| tick(pair, slot * 10, &price(slot))).collect()).await;
    }
    let client = TestClient::new(rig.operators());
    for path in ["/livez", "/metrics", "/version"] {
        client.get(path).send().await.assert_status_is_ok();
    }
    client.get("/v1/pairs").send().await.assert_status(http::StatusCode::NOT_FOUND);
    let first = client.post("/admin/backup").send().await;
    first.assert_status_is_ok();
    let second = client.post("/admin/backup").send().await;
    second.assert_status(http::StatusCode::CONFLICT);
    second.assert_header_exist("retry-after");
    assert!(second.0.into_body().into_string().await.unwrap().contains("backup_running"));

    let length: usize = first.0.header("content-length").unwrap().parse().unwrap();
    let bytes = first.0.into_body().into_bytes().await.unwrap();
    assert!(bytes.len() == length && length > 5 * 64 * 1024, "{} of {length}", bytes.len());
    let summary = backup::check(BufReader::new(bytes.as_ref())).unwrap();
    assert_eq!(summary.header.sequence, u64::try_from(SLOTS).unwrap() * 4);
    // The first backup has ended, so another one may start.
    testkit::wait_until("another backup", std::time::Duration::from_secs(60), async || {
        let again = client.post("/admin/backup").send().await;
        (again.0.status() == http::StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn web_pages_of_other_origins_cannot_use_the_admin_listener() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let client = TestClient::new(rig.operators());
    let status = async |headers: &[(&'static str, &'static str)]| {
        let request = client.post("/admin/backup");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.0.status().as_u16()
    };
    // Before, all of these got the backup, and so did the `<img>` of any page.
    for foreign in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example"), ("host", "127.0.0.1:9090")],
        &[("origin", "null"), ("host", "127.0.0.1:9090")],
    ] {
        assert_eq!(status(foreign).await, 403, "{foreign:?}");
    }
    client.get("/admin/backup").send().await.assert_status(http::StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(status(&[("sec-fetch-site", "same-origin"), ("host", "127.0.0.1:9090")]).await, 200);
}

#[tokio::test]
async fn an_admin_listener_on_a_loopback_address_refuses_other_hosts() {
    let rig = Rig::new();
    let served = rig.serve_operators().await;
    let status = async |host: &str| {
        let mut stream = tokio::net::TcpStream::connect(served.address).await.unwrap();
        let request = format!("GET /version HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    for host in ["localhost", "127.0.0.1:9090", "LOCALHOST:1", "[::1]:9090", "127.1.2.3"] {
        assert_eq!(status(host).await, "200", "{host}");
    }
    for host in ["evil.example", "evil.example:9090", "localhost.evil.example", "10.0.0.1", "[::2]"] {
        assert_eq!(status(host).await, "403", "{host}");
    }
    served.stop.cancel();
    served.task.await.unwrap().unwrap();
}
