//! A short run of the grinder: random faults from one seed. `just grind` runs it for longer.

use std::time::Duration;

use testkit::{
    grinder::{self, Options},
    require_nats,
};

use crate::harness::BINARY;

/// The seed decides which steps are performed, and the speed of the machine decides how many more than the first 25.
const SHORT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_survives_a_short_grind() {
    require_nats!();
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        binary: BINARY.into(),
        folder: folder.path().to_path_buf(),
        seed: 20_261_121,
        duration: SHORT,
        steps_between_checks: 25,
        cluster: false,
        compression: None,
        pods: 2,
        without: Vec::new(),
        rollback: None,
    };
    let mut lines = Vec::new();
    let report = grinder::run(options, |line| lines.push(line.to_owned())).await.unwrap();
    assert!(report.failures.is_empty(), "{}\n{report}", lines.join("\n"));
    assert!(report.checks >= 2 && report.compared > 0 && report.total("kill") > 0, "{report}");
    assert!(report.total("clean restart of nats") >= 2 && report.replicated > 0, "{report}");
}
