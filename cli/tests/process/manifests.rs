//! Tests `k8s/` with the binary. The manifests are rendered as for a cluster, checked for consistency, and their pods
//! are started as plain processes.

use std::{path::Path, time::Duration};

use serde_json::Value;
use testkit::{nats::NatsServer, require_nats, wait_until};

use crate::{
    harness::{BINARY, DEADLINE, INTERVAL, Pod, Scene, field, has_event, moving_upstream},
    tools::python_beside_kubectl,
};

/// The overlays that are checked. A component that can be added to an overlay follows the plus sign.
const OVERLAYS: [&str; 4] =
    ["dev", "production", "production+log-backup", "production+log-backup+monitoring"];

/// The overlays whose pods are started. The last one contains everything of `production`.
const STARTED: [&str; 2] = ["dev", "production+log-backup"];

/// The interval between slots of the pods that are started. It is long, because many processes start at the same time.
const SLOTS: Duration = Duration::from_secs(2);

/// Runs one of the scripts in `manifests`. Returns its output, as an error if it failed; `None` if the programs that it
/// needs are not installed.
async fn script(
    name: &str,
    arguments: &[&str],
    environment: Vec<(String, String)>,
) -> Option<Result<String, String>> {
    let python = python_beside_kubectl()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/manifests").join(name);
    let mut command = tokio::process::Command::new(python);
    // -B prevents Python from writing bytecode files next to the scripts.
    let output = command.arg("-B").arg(script).args(arguments).envs(environment).output().await.unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Some(if output.status.success() { Ok(said.concat()) } else { Err(said.concat()) })
}

#[tokio::test]
async fn manifests_agree_with_each_other_and_with_the_binary() {
    let drain = common::service::DRAIN_LIMIT.as_secs().to_string();
    for overlay in OVERLAYS {
        let Some(said) = script("checks.py", &[BINARY, overlay, &drain], Vec::new()).await else { return };
        assert_eq!(said, Ok("\n".to_owned()), "{overlay}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_started_as_the_manifests_say_are_a_working_system() {
    require_nats!();
    let upstream = moving_upstream(SLOTS).await;
    let mut environment = upstream.environment();
    environment.push(("TICKWELL__FEED__INTERVAL".to_owned(), format!("{}s", SLOTS.as_secs())));
    for overlay in STARTED {
        let said = script("by_hand.py", &[BINARY, overlay], environment.clone()).await;
        let Some(said) = said else { return };
        println!("{overlay}:\n{}", said.unwrap_or_else(|said| panic!("{overlay}:\n{said}")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_is_not_ready_before_it_has_reached_the_log() {
    // If a poller were ready before it has reached the log, a rolling update would replace all pollers even if the new
    // ones cannot reach the log.
    require_nats!();
    let mut nats = NatsServer::start().await.unwrap();
    let upstream = moving_upstream(INTERVAL).await;
    let scene =
        Scene::new(INTERVAL).asking(&upstream).over(&nats).with("TICKWELL__ADMIN__LISTEN", "127.0.0.1:0");
    nats.kill();
    let process = scene.command("poller").arg("poller").start().unwrap();
    let line = process.wait_for_line(|line| has_event(line, "admin_listening"), DEADLINE).await.unwrap();
    let poller = Pod::at(process, field(&line, "url").unwrap());
    // Once the process has logged this, it only waits for its log.
    let waits = |line: &str| has_event(line, "nats_unreachable");
    poller.process.wait_for_line(waits, DEADLINE).await.unwrap();
    let checks: Value = poller.get("/readyz?verbose").await.json();
    assert_eq!((&checks["ready"], &checks["checks"][0]["name"]), (&false.into(), &"log".into()), "{checks}");
    assert_eq!(poller.get("/livez").await.status, 200);

    nats.restart().await.unwrap();
    let ready = async || (poller.get("/readyz").await.status == 200).then_some(());
    wait_until("the poller is ready", DEADLINE, ready).await;
}
