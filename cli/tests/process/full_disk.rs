//! A store that takes no records, as on a full disk: prices go on, history is not answered, nothing is lost.
//!
//! The disk is not really full: the process is not allowed to write files beyond a size, which it is told with
//! another error at the same places, and which can be taken back while it runs.

use std::process::Command;

use testkit::{process::Tickwell, require_nats, wait_until};

use crate::{
    agreement::{averages_are_right, history_is_the_log, pods_agree, same_answer, same_records},
    audit::{audit, nothing_lost},
    harness::{BINARY, DEADLINE, INTERVAL, Pod, Scene, field, has_event, has_price, moving_upstream, world},
    records,
    survival::end,
};

/// So many records pass in each act at least.
const SOME: u64 = 10;

/// A process that can be told to write no further, and is not killed for trying.
async fn limitable(scene: &Scene, name: &str, mode: &str) -> Pod {
    let shell = Tickwell::command("/bin/sh", scene.folder()).args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    Pod::of(scene.dressed(shell, name).arg(BINARY).arg(mode).start().unwrap()).await
}

/// How large its files may be: a page, or any size.
fn limit(pod: &Pod, full: bool) {
    let size = if full { "--fsize=4096:unlimited" } else { "--fsize=unlimited:unlimited" };
    let told = Command::new("prlimit").args(["--pid", &pod.process.id().to_string(), size]).status();
    assert!(told.unwrap().success());
}

async fn closed(pod: &Pod, closed: bool) {
    wait_until("the store is closed, or open again", DEADLINE, async || {
        (pod.metric("tickwell_store_closed").await == u64::from(closed)).then_some(())
    })
    .await;
}

/// What a pod says while its store is closed.
async fn says_so(pod: &Pod) {
    let history = pod.get("/v1/prices/BTC-USD/history").await;
    assert_eq!((history.status, &history.json()["code"]), (503, &"store_unavailable".into()));
    assert!(history.headers.contains_key("retry-after"));
    wait_until("readiness says so", DEADLINE, async || {
        let ready = pod.get("/readyz?verbose").await;
        assert_eq!(ready.status, 200, "{}", ready.text());
        ready.text().contains("store").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_goes_on_in_memory_and_catches_up_on_disk() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let mut poller = scene.poller().await;
    let witness = scene.pod("witness").await;
    let mut victim = limitable(&scene, "victim", "api").await;
    victim.takes_in(SOME).await;

    limit(&victim, true);
    closed(&victim, true).await;
    victim.takes_in(SOME).await;
    says_so(&victim).await;
    for path in ["/v1/prices/BTC-USD", "/v1/prices/BTC-USD/averages?window=3s,10m", "/v1/pairs"] {
        same_answer([&witness, &victim], path).await;
    }

    limit(&victim, false);
    closed(&victim, false).await;
    victim.takes_in(SOME).await;
    let opened = field_of(&victim.process, "store_reopened", "sequence").await;
    assert!(opened > 0, "it went on from where the store ended");
    pods_agree([&witness, &victim]).await;

    // What it took in meanwhile is on disk as well.
    victim.process.kill();
    let victim = scene.pod("victim").await;
    victim.reaches(witness.sequence().await).await;
    end(&mut poller).await;
    let records = same_records([&witness, &victim]).await;
    audit(&records);
    averages_are_right(&victim).await;
    history_is_the_log(&victim, &records).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_store_is_the_log_nothing_is_acknowledged_until_it_can_be_written() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let process = limitable(&scene, "only", "run").await;
    has_price(&process).await;
    process.takes_in(SOME).await;
    let before = records::all(&process).await;

    limit(&process, true);
    closed(&process, true).await;
    let last = process.sequence().await;
    says_so(&process).await;
    assert_eq!(process.get("/v1/prices/BTC-USD").await.status, 200);
    assert_eq!(process.sequence().await, last, "what is not stored is not told");

    limit(&process, false);
    closed(&process, false).await;
    process.takes_in(SOME).await;
    // A position that was given to a record which could not be stored is not given again.
    let mut unused = Vec::new();
    for sequence in last..process.sequence().await {
        if process.get(&format!("/v1/ticks/{sequence}")).await.status == 404 {
            unused.push(sequence);
        }
    }
    let records = records::all_but(&process, &unused).await;
    nothing_lost(&before, &records);
    audit(&records);
}

async fn field_of(process: &Tickwell, event: &str, name: &str) -> u64 {
    let line = process.wait_for_line(|line| has_event(line, event), DEADLINE).await.unwrap();
    field(&line, name).unwrap().parse().unwrap()
}
