//! Tests of the admin listener.

use std::io::BufReader;

use ledger::store::backup;
use poem::test::TestClient;

use crate::rig::{Rig, tick};

/// So many records that the backup is longer than what the pod reads ahead of a client.
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
    let first = client.get("/admin/backup").send().await;
    first.assert_status_is_ok();
    let second = client.get("/admin/backup").send().await;
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
        let again = client.get("/admin/backup").send().await;
        (again.0.status() == http::StatusCode::OK).then_some(())
    })
    .await;
}
