//! `tickwell log apply` and `tickwell log verify` on a stream whose options differ from the definition.

use std::sync::LazyLock;

use async_nats::jetstream::stream::{Compression, Config};
use testkit::{nats::NatsServer, require_nats};

use crate::{
    commands::run,
    harness::{DEADLINE, field, has_price, world},
    nats_stream::{change, operator},
    tools::workspace,
};

const STREAM: &str = "TICKS";

/// The definition of the stream that we ship.
static DEFINITION: LazyLock<Config> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../nats/stream.json")).unwrap());

async fn options(nats: &NatsServer) -> Config {
    operator(nats).await.get_stream(STREAM).await.unwrap().cached_info().config.clone()
}

/// Runs `tickwell log` with these arguments. Returns its exit code and its output.
async fn log(nats: &NatsServer, arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &[&["log"], arguments].concat(), &[("TICKWELL__BUS__URL", &nats.url())]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_stream_is_a_fault_until_log_apply_turns_compression_off() {
    require_nats!();
    let (nats, _upstream, scene) = world().await;
    let poller = scene.poller().await;
    let pod = scene.pod("pod").await;
    has_price(&pod).await;
    assert_eq!(options(&nats).await.compression, Some(Compression::None), "the default");

    let context = operator(&nats).await;
    change(&context, |config| config.compression = Some(Compression::S2)).await;
    let reported = |line: &str| field(line, "event").as_deref() == Some("log_compressed");
    pod.process.wait_for_line(reported, DEADLINE).await.unwrap();
    let (code, said) = log(&nats, &["verify"]).await;
    assert!(code == Some(1) && said.contains("compression is s2"), "{said}");
    // A poller that starts later reports the compression too.
    let standby = scene.command("standby").arg("poller").start().unwrap();
    standby.wait_for_line(reported, DEADLINE).await.unwrap();

    let (code, said) = log(&nats, &["apply"]).await;
    assert!(code == Some(0) && said.contains("corrected: compression is s2"), "{said}");
    assert_eq!(options(&nats).await.compression, Some(Compression::None));
    // The output refers to a section of the documentation for the remaining work. This section must exist.
    let operations = std::fs::read_to_string(workspace().join("docs/operations.md")).unwrap();
    let heading = operations.lines().find_map(|line| line.strip_prefix("## A NATS server")).unwrap();
    assert!(said.contains(&format!("A NATS server{heading}")), "{said}");
    let (code, said) = log(&nats, &["verify"]).await;
    assert_eq!(code, Some(0), "{said}");
    pod.takes_in(4).await;
    drop(poller);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_room_for_the_log_is_reported_and_compression_is_turned_off_nevertheless() {
    require_nats!();
    let mut nats = NatsServer::start().await.unwrap();
    nats.configure("jetstream { max_file_store: 1GB }\n").unwrap();
    nats.restart().await.unwrap();
    let (code, said) = log(&nats, &["apply"]).await;
    assert!(code == Some(1) && said.contains("max_file_store"), "{said}");

    let small = Config { max_bytes: 500_000_000, compression: Some(Compression::S2), ..DEFINITION.clone() };
    operator(&nats).await.create_stream(small).await.unwrap();
    let (code, said) = log(&nats, &["apply"]).await;
    let limit = format!("max_bytes = {}", DEFINITION.max_bytes);
    assert!(code == Some(1) && said.contains("max_file_store") && said.contains(&limit), "{said}");
    let found = options(&nats).await;
    assert_eq!((found.compression, found.max_bytes), (Some(Compression::None), 500_000_000));

    nats.configure("").unwrap();
    nats.restart().await.unwrap();
    let (code, said) = log(&nats, &["apply"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(options(&nats).await.max_bytes, DEFINITION.max_bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_more_pairs_gets_more_room_and_keeps_it() {
    require_nats!();
    let nats = NatsServer::start().await.unwrap();
    for more in [20_000_000_000, 30_000_000_000_i64] {
        let (code, said) = log(&nats, &["apply", "--max-bytes", &more.to_string()]).await;
        assert_eq!((code, options(&nats).await.max_bytes), (Some(0), more), "{said}");
        // Applying the definition of the next release keeps the larger size.
        for what in ["apply", "verify"] {
            let (code, said) = log(&nats, &[what]).await;
            assert_eq!((code, options(&nats).await.max_bytes), (Some(0), more), "{said}");
        }
    }
    // A smaller size is ignored, because it would lose records.
    let (code, said) = log(&nats, &["apply", "--max-bytes", "1000"]).await;
    assert_eq!((code, options(&nats).await.max_bytes), (Some(0), 30_000_000_000), "{said}");
}
