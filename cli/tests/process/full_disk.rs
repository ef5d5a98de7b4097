//! Tests a process that cannot write to its store, as on a full disk: prices continue, history is unavailable, and
//! nothing is lost.
//!
//! In most of these tests, the disk is not really full. Instead, a limit on the size of files makes the writes fail,
//! although with another error than on a full disk. The limit can be removed while the process runs. One test fills a
//! small file system, which only root can create.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use testkit::{process::Tickwell, require_nats, wait_until};

use crate::{
    agreement::{averages_are_right, history_is_the_log, pods_agree, same_answer, same_records},
    audit::{audit, nothing_lost},
    harness::{
        BINARY, DEADLINE, INTERVAL, Pod, Scene, check, field, has_event, has_price, moving_upstream, world,
    },
    records,
    survival::end,
};

/// The minimum number of records in each step of a test.
const SOME: u64 = 10;

/// Starts a process that ignores SIGXFSZ, so that it is not killed when it exceeds the limit on the size of files.
async fn limitable(scene: &Scene, name: &str, mode: &str) -> Pod {
    let shell = Tickwell::command("/bin/sh", scene.folder()).args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    Pod::of(scene.dressed(shell, name).arg(BINARY).arg(mode).start().unwrap()).await
}

/// Limits the size of the process's files to 4,096 bytes, or removes the limit.
fn limit(pod: &Pod, full: bool) {
    let size = if full { "--fsize=4096:unlimited" } else { "--fsize=unlimited:unlimited" };
    let status = Command::new("prlimit").args(["--pid", &pod.process.id().to_string(), size]).status();
    assert!(status.unwrap().success());
}

async fn closed(pod: &Pod, closed: bool) {
    wait_until(if closed { "the store is closed" } else { "the store is open" }, DEADLINE, async || {
        (pod.metric("tickwell_store_closed").await == u64::from(closed)).then_some(())
    })
    .await;
}

/// Checks that a pod reports that its store is closed.
async fn reports_it(pod: &Pod) {
    let candles = pod.get("/v1/prices/BTC-USD/candles?interval=1m").await;
    assert_eq!((candles.status, &candles.json()["code"]), (503, &"store_unavailable".into()));
    assert!(candles.headers.contains_key("retry-after"));
    wait_until("readiness mentions the store", DEADLINE, async || {
        let ready = pod.get("/readyz?verbose").await;
        assert_eq!(ready.status, 200, "{}", ready.text());
        ready.text().contains("store").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_continues_in_memory_and_catches_up_on_disk() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let mut poller = scene.poller().await;
    let witness = scene.pod("witness").await;
    let mut victim = limitable(&scene, "victim", "api").await;
    victim.takes_in(SOME).await;

    limit(&victim, true);
    closed(&victim, true).await;
    victim.takes_in(SOME).await;
    reports_it(&victim).await;
    for path in ["/v1/prices/BTC-USD", "/v1/prices/BTC-USD/averages?window=3s,10m", "/v1/pairs"] {
        same_answer([&witness, &victim], path).await;
    }

    limit(&victim, false);
    closed(&victim, false).await;
    victim.takes_in(SOME).await;
    let opened = field_of(&victim.process, "store_reopened", "sequence").await;
    assert!(opened > 0, "it continued where the store ended");
    pods_agree([&witness, &victim]).await;

    // The store also has the records that the pod received while it could not write.
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
async fn if_the_store_is_the_log_nothing_is_acknowledged_until_it_can_be_written() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let process = limitable(&scene, "only", "run").await;
    has_price(&process).await;
    process.takes_in(SOME).await;
    let before = records::all(&process).await;

    limit(&process, true);
    closed(&process, true).await;
    let last = process.sequence().await;
    reports_it(&process).await;
    assert_eq!(process.get("/v1/prices/BTC-USD").await.status, 200);
    assert_eq!(process.sequence().await, last, "a record that is not stored is not served");

    limit(&process, false);
    closed(&process, false).await;
    process.takes_in(SOME).await;
    // The sequence of a record that could not be stored is not used again.
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

/// A file system of 64 MiB, which is unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts the file system at a path. `None` if this user may not do that.
    fn mount(path: &Path) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(path).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Self(path.to_owned()))
    }

    /// Writes a file until there is no space left.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("fill")).unwrap();
        while file.write_all(&[0; 4_096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("fill")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Waits until the pod says that the disk is full, or that it is ready again.
async fn says_that_the_disk_is_full(pod: &Pod, is_full: bool) {
    wait_until(if is_full { "the disk is full" } else { "the disk has room" }, DEADLINE, async || {
        let ready = pod.get("/readyz?verbose").await;
        let log = check(&ready.json(), "log").to_string();
        (ready.status == 200 && log.contains("the disk is full") == is_full).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_starts_on_a_full_disk_and_says_so() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let Some(disk) = SmallDisk::mount(&scene.store("only")) else {
        eprintln!("skipped: only root can mount a small file system");
        return;
    };
    let mut process = scene.standalone("only").await;
    has_price(&process).await;
    process.takes_in(SOME).await;
    wait_until("the reserve", DEADLINE, async || disk.0.join("reserve").exists().then_some(())).await;
    let before = records::all(&process).await;
    process.process.kill();

    disk.fill();
    let mut process = scene.standalone("only").await;
    process.process.wait_for_line(|line| has_event(line, "store_reserve_used"), DEADLINE).await.unwrap();
    says_that_the_disk_is_full(&process, true).await;
    process.takes_in(SOME).await;
    // It also starts a second time, because it has needed only a part of the reserve.
    end(&mut process.process).await;
    let process = scene.standalone("only").await;
    says_that_the_disk_is_full(&process, true).await;

    disk.make_room();
    says_that_the_disk_is_full(&process, false).await;
    assert!(disk.0.join("reserve").exists());
    process.takes_in(SOME).await;
    let records = records::all(&process).await;
    nothing_lost(&before, &records);
    audit(&records);
}

async fn field_of(process: &Tickwell, event: &str, name: &str) -> u64 {
    let line = process.wait_for_line(|line| has_event(line, event), DEADLINE).await.unwrap();
    field(&line, name).unwrap().parse().unwrap()
}
