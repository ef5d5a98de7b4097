//! `tickwell import`: a user's own history in a new log, on disk and on NATS, which live prices continue.

use std::{fs, path::Path};

use testkit::{clock::now_ms, nats::NatsServer, require_nats};

use crate::{
    agreement::{PAIR, averages_are_right, history_is_the_log},
    audit::audit,
    backfill::{has_one_seam, is_live, recomputes},
    harness::{DEADLINE, INTERVAL, Pod, Scene, moving_upstream},
    records::{self, Kind, time_text},
};

const MINUTE_MS: i64 = 60_000;

/// A file with a price for each of these minutes before now. Returns its path.
fn file(folder: &Path, name: &str, minutes: std::ops::Range<i64>, header: &str) -> String {
    let now = now_ms() / MINUTE_MS * MINUTE_MS;
    let rows = minutes
        .rev()
        .map(|minute| format!("{},{}.5\n", time_text(now - minute * MINUTE_MS), 97_000 + minute));
    let path = folder.join(name);
    fs::write(&path, format!("{header}\n{}", rows.collect::<String>())).unwrap();
    path.display().to_string()
}

/// Runs the command. Returns its exit code and its output.
async fn import(scene: &Scene, arguments: &[&str]) -> (Option<i32>, String) {
    let command = scene.command("only").args(["import", "--pair", PAIR]).args(arguments);
    let mut process = command.start().unwrap();
    let status = process.wait_exit(DEADLINE).await.unwrap();
    (status.code(), process.lines().join("\n"))
}

/// Imports into the log of a scene, and lets live prices continue it.
async fn imported_and_continued(scene: &Scene, start: impl AsyncFn(&Scene) -> Pod) {
    let own = file(scene.folder(), "own.csv", 30..300, "time,price");
    let other = file(scene.folder(), "other.csv", 100..250, "slot,price");
    let files = [format!("mine:{own}"), format!("theirs:{other}")];
    let [own, other] = [files[0].as_str(), files[1].as_str()];
    let (code, output) = import(scene, &[own, other, "--dry-run"]).await;
    assert!(code == Some(0) && output.contains("270 slots with a price, 0 without"), "{output}");
    let (code, output) = import(scene, &[own, other]).await;
    assert!(code == Some(0) && output.contains("imported BTC-USD"), "{output}");
    let (code, output) = import(scene, &[own]).await;
    assert!(code == Some(1) && output.contains("already has records of BTC-USD"), "{output}");

    let pod = start(scene).await;
    is_live(&pod).await;
    pod.takes_in(3).await;
    let all = records::all(&pod).await;
    audit(&all);
    has_one_seam(&all);
    let imported: Vec<_> = all.iter().filter(|record| record.backfilled && record.is_tick()).collect();
    assert_eq!(imported.len(), 270);
    for record in &imported {
        assert!(
            record.quotes().iter().all(|quote| quote.basis.as_deref().unwrap_or("imported") == "imported")
        );
        assert!(record.quotes().iter().any(|quote| quote.source == "mine"));
        let price: f64 = record.price.as_ref().unwrap().parse().unwrap();
        assert!((97_030.5..=97_299.5).contains(&price), "{record:?}");
    }
    let seam = all.iter().rfind(|record| record.backfilled && record.kind == Kind::Gap).unwrap();
    assert_eq!(seam.cause.as_deref(), Some("not_backfilled"));
    averages_are_right(&pod).await;
    let all = records::all(&pod).await;
    history_is_the_log(&pod, &all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_imported_into_a_store_once_and_continued_by_live_prices() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    imported_and_continued(&scene, async |scene| scene.standalone("only").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_imported_into_a_log_on_nats_and_recomputes() {
    require_nats!();
    let (nats, upstream) = (NatsServer::start().await.unwrap(), moving_upstream(INTERVAL).await);
    let scene = Scene::new(INTERVAL).asking(&upstream).over(&nats).with_short_lease();
    let poller = std::sync::Mutex::new(None);
    imported_and_continued(&scene, async |scene| {
        *poller.lock().unwrap() = Some(scene.poller().await);
        scene.pod("pod").await
    })
    .await;
    recomputes(&scene, "pod").await;
    // A poller leads, so nothing can be imported for another pair either.
    let short = Scene::new(INTERVAL).over(&nats).with_short_lease();
    let file = file(short.folder(), "own.csv", 30..60, "time,price");
    let mut process = short.command("only").args(["import", "--pair", "ETH-USD", &file]).start().unwrap();
    let status = process.wait_exit(DEADLINE).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", process.lines().join("\n"));
    assert!(process.lines().join("\n").contains("another poller leads"), "{:?}", process.lines());
}
