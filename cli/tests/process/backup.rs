//! `tickwell backup` of running and stopped processes, and `tickwell restore`.

use std::io::Write;

use testkit::{process::Tickwell, require_nats, wait_until};

use crate::{
    agreement::{averages_are_right, history_is_the_log, pods_agree, same_records},
    audit::{audit, nothing_lost},
    harness::{DEADLINE, INTERVAL, Scene, field, has_event, moving_upstream, world},
    records::{self, Record},
    standalone::resting,
    survival::{end, opened_at},
};

/// The minimum number of records between two steps of a test.
const SOME: u64 = 5;

/// Runs a command. Returns its exit code and its output.
async fn run(scene: &Scene, arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = scene.command("unused").args(arguments).start().unwrap();
    let code = process.wait_exit(DEADLINE).await.unwrap().code();
    (code, process.lines().join("\n"))
}

/// The URL of the admin listener of a process.
pub(crate) async fn operators(process: &Tickwell) -> String {
    let line = process.wait_for_line(|line| has_event(line, "admin_listening"), DEADLINE).await.unwrap();
    field(&line, "url").unwrap()
}

/// Backs up a running process. Returns the newest sequence in the backup, according to the output.
async fn back_up(scene: &Scene, process: &Tickwell, file: &str) -> u64 {
    let (code, said) = run(scene, &["backup", "--from", &operators(process).await, "--output", file]).await;
    assert_eq!(code, Some(0), "{said}");
    let sequence = said.split("up to sequence ").nth(1).and_then(|rest| rest.split(',').next());
    sequence.unwrap_or_else(|| panic!("no sequence in: {said}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_pod_follows_the_log_and_agrees_with_the_others() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let scene = scene.with("TICKWELL__ADMIN__LISTEN", "127.0.0.1:0");
    let mut poller = scene.poller().await;
    let (witness, mut victim) = (scene.pod("witness").await, scene.pod("victim").await);
    let before = victim.takes_in(SOME).await;

    let sequence = back_up(&scene, &victim.process, "pod.backup").await;
    assert!((before..=victim.sequence().await).contains(&sequence), "{before} {sequence}");
    let (code, said) =
        run(&scene, &["backup", "--from", &operators(&victim.process).await, "--output", "pod.backup"]).await;
    assert!(code == Some(1) && said.contains("--force"), "{said}");
    // The API does not serve backups. A poller's admin listener does not either, because a poller has no store.
    assert_eq!(victim.get("/admin/backup").await.json()["code"], "not_found");
    for url in [&victim.url, &operators(&poller).await] {
        let (code, said) = run(&scene, &["backup", "--from", url, "--output", "no"]).await;
        assert!(code == Some(1) && said.contains(url) && said.contains("admin.listen"), "{said}");
    }
    assert!(!scene.folder().join("no").exists());

    victim.takes_in(SOME).await;
    victim.process.kill();
    for store in ["victim", "witness"] {
        let path = scene.store(store).display().to_string();
        let (code, said) = run(&scene, &["restore", "pod.backup", "--path", &path]).await;
        assert!(code == Some(1) && said.contains(&path), "{said}");
    }
    let path = scene.store("restored").display().to_string();
    let (code, said) = run(&scene, &["restore", "pod.backup", "--path", &path]).await;
    assert!(code == Some(0) && said.contains(&format!("up to sequence {sequence},")), "{said}");

    let restored = scene.pod("restored").await;
    assert_eq!(opened_at(&restored).await, sequence);
    restored.reaches(witness.sequence().await).await;
    pods_agree([&witness, &restored]).await;
    let (code, said) = run(&scene, &["verify-pods", &witness.url, &restored.url]).await;
    assert_eq!(code, Some(0), "{said}");
    restored.takes_in(SOME).await;
    end(&mut poller).await;
    let records = same_records([&witness, &restored]).await;
    averages_are_right(&restored).await;
    history_is_the_log(&restored, &records).await;
    assert_eq!(audit(&records).leads, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_only_copy_continues_after_its_newest_sequence() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__ADMIN__LISTEN", "127.0.0.1:0");
    let mut process = scene.standalone("only").await;
    process.takes_in(SOME).await;
    let sequence = back_up(&scene, &process.process, "only.backup").await;
    process.takes_in(SOME).await;
    let mut before = records::all(&process).await;
    process.process.kill();

    // Restoring a truncated backup creates no store.
    let whole = std::fs::read(scene.folder().join("only.backup")).unwrap();
    std::fs::write(scene.folder().join("cut.backup"), &whole[..whole.len() - 7]).unwrap();
    let set = format!("store.path={}", scene.store("restored").display());
    let (code, said) = run(&scene, &["restore", "cut.backup", "--set", &set]).await;
    assert!(code == Some(1) && said.contains("incomplete"), "{said}");
    let left = scene.store("restored").read_dir().unwrap().count();
    assert_eq!(left, 0);
    let (code, said) = run(&scene, &["restore", "only.backup", "--set", &set]).await;
    assert_eq!(code, Some(0), "{said}");

    let mut process = scene.standalone("restored").await;
    assert_eq!(opened_at(&process).await, sequence);
    process.takes_in(SOME).await;
    averages_are_right(&process).await;
    end(&mut process.process).await;
    let process = resting(&scene, "restored").await;
    let after = records::all(&process).await;
    before.retain(|record| record.sequence <= sequence);
    nothing_lost(&before, &after);
    let next: &Record = &after[before.len()];
    assert_eq!((next.sequence, next.epoch > before.last().unwrap().epoch), (sequence + 1, true));
    audit(&after);

    // A backup of a stopped store works as well.
    let set = format!("store.path={}", scene.store("only").display());
    let (code, said) = run(&scene, &["backup", "--output", "stopped.backup", "--set", &set]).await;
    assert_eq!(code, Some(0), "{said}");
    let path = scene.store("again").display().to_string();
    assert_eq!(run(&scene, &["restore", "stopped.backup", "--path", &path]).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_terminated_leaves_nothing_behind() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__ADMIN__LISTEN", "127.0.0.1:0");
    let process = scene.standalone("only").await;
    process.takes_in(SOME).await;
    back_up(&scene, &process.process, "only.backup").await;
    let whole = std::fs::read(scene.folder().join("only.backup")).unwrap();

    // The backup arrives through a pipe, so that the restore is in the middle of it.
    let pipe = scene.folder().join("pipe.backup");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let path = scene.store("restored").display().to_string();
    let restore = scene.command("unused").args(["restore", "pipe.backup", "--path", &path]);
    let mut restore = restore.start().unwrap();
    let (half, rest) = whole.split_at(whole.len() / 2);
    let mut writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    writer.write_all(half).unwrap();
    let temporary = scene.store("restored").join("restoring");
    wait_until("the restore has begun", DEADLINE, async || temporary.exists().then_some(())).await;
    restore.signal("TERM").unwrap();
    // The process handles the signal before it reads the rest, unless it is very slow; then it reads the rest and fails, too,
    // because the backup is cut off.
    let _written = writer.write_all(&rest[..rest.len() - 1]);
    drop(writer);
    assert_eq!(restore.wait_exit(DEADLINE).await.unwrap().code(), Some(1));
    assert!(!temporary.exists() && !scene.store("restored").join("store").exists());
}
