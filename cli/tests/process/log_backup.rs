//! `tickwell log backup` and `tickwell log restore` on real servers, while pollers and pods run.

use std::{fs, path::Path};

use async_nats::jetstream;
use futures::{StreamExt, TryStreamExt};
use testkit::{nats::NatsCluster, process::Tickwell, require_nats, wait_until};

use crate::{
    agreement::{
        averages_are_right, averages_are_right_but, history_is_the_log, pods_agree, same_records,
        same_records_but,
    },
    audit::{audit, nothing_lost},
    harness::{DEADLINE, INTERVAL, Pod, Scene, has_event, has_price, moving_upstream, world},
    nats_stream::{begins_anew, is_in_trouble, is_well, operator},
    records,
    roles::stage,
    survival::end,
};

const STREAM: &str = "TICKS";

/// The minimum number of records between two steps of a test.
const SOME: u64 = 6;

/// The lease setting for `log apply`, which creates the lease's bucket. The value must be the same as in
/// [`Scene::new`].
const LEASE: [&str; 2] = ["--set", "bus.lease=60s"];

/// The number and size of the messages that are added to the log so that copying the log takes a while. These messages
/// are almost as large as a message may be.
const BALLAST_MESSAGES: usize = 500;
const BALLAST_BYTES: usize = 60_000;

/// Starts a command of the binary.
fn begin(scene: &Scene, arguments: &[&str]) -> Tickwell {
    scene.command("unused").args(arguments).start().unwrap()
}

/// Runs a command until it exits. Returns its exit code and its output.
async fn run(scene: &Scene, arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = begin(scene, arguments);
    let code = process.wait_exit(DEADLINE).await.unwrap().code();
    (code, process.lines().join("\n"))
}

async fn succeeds(scene: &Scene, arguments: &[&str]) -> String {
    let (code, said) = run(scene, arguments).await;
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

async fn fails(scene: &Scene, arguments: &[&str]) -> String {
    let (code, said) = run(scene, arguments).await;
    assert_eq!(code, Some(1), "{arguments:?}: {said}");
    said
}

/// Makes the log large, with messages that are not records and cannot be compressed. Returns their sequences.
async fn add_ballast(log: &jetstream::Context) -> Vec<u64> {
    let message = |_| -> Vec<u8> { (0..BALLAST_BYTES).map(|_| rand::random()).collect() };
    let sending = futures::stream::iter((0..BALLAST_MESSAGES).map(message)).map(|message| async {
        log.publish("ticks.X.Y", message.into()).await?.await.map(|stored| stored.sequence)
    });
    sending.buffered(16).try_collect().await.unwrap()
}

/// How many messages the stream has, and whether it is marked as incomplete; `None` if there is no stream.
async fn stream(log: &jetstream::Context) -> Option<(u64, bool)> {
    let stream = log.get_stream(STREAM).await.ok()?;
    let info = stream.cached_info();
    Some((info.state.messages, info.config.metadata.contains_key("tickwell_restore")))
}

/// The last sequence in a backup, as `log backup` reports it.
fn last_of(said: &str) -> u64 {
    let last = said.split(" to ").nth(1).and_then(|rest| rest.split(' ').next());
    last.unwrap_or_else(|| panic!("no sequence in: {said}")).parse().unwrap()
}

/// The sorted names of everything in a directory.
fn names(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_restored_with_the_maintenance_key_gives_the_same_bytes() {
    require_nats!();
    let (_upstream, shipped, scene) = stage().await;
    let folder = scene.folder().to_owned();
    let (code, said) = shipped.log(&folder, "apply", "admin", &LEASE).await;
    assert_eq!(code, Some(0), "{said}");
    let mut poller = scene.as_role("poller", &shipped.seed_file("poller")).start().unwrap();
    let witness = Pod::of(scene.as_role("api", &shipped.seed_file("api")).start().unwrap()).await;
    has_price(&witness).await;
    witness.takes_in(SOME).await;

    for role in ["poller", "api", "feed", "admin"] {
        let (code, said) = shipped.log(&folder, "backup", role, &["no"]).await;
        assert!(code == Some(1) && said.contains("role maintenance"), "backup as {role}: {said}");
        assert!(!folder.join("no").exists() && !folder.join("no.part").exists());
    }
    // The first backup is made while the log is being written, and the second one afterwards, with all records.
    let (code, said) = shipped.log(&folder, "backup", "maintenance", &["early"]).await;
    assert_eq!(code, Some(0), "{said}");
    let early = last_of(&said);
    end(&mut poller).await;
    let before = records::all(&witness).await;
    let (code, said) = shipped.log(&folder, "backup", "maintenance", &["copy"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(names(&folder.join("copy")), ["SHA256SUMS", "backup.json", "stream.tar.s2"]);
    let (code, said) = shipped.log(&folder, "backup", "maintenance", &["copy"]).await;
    assert!(code == Some(1) && said.contains("exists already"), "{said}");

    for copy in ["early", "copy"] {
        let other = shipped.another().await;
        let (code, said) = other.log(&folder, "restore", "admin", &[copy]).await;
        assert!(code == Some(1) && said.contains("role maintenance"), "{said}");
        let (code, said) = other.log(&folder, "restore", "maintenance", &[copy]).await;
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = other.log(&folder, "apply", "admin", &LEASE).await;
        assert_eq!(code, Some(0), "{said}");
        let scene_there = Scene::new(INTERVAL).over(&other.nats);
        let pod = scene_there.command(copy).env("TICKWELL__BUS__CREDENTIALS_FILE", other.seed_file("api"));
        let pod = Pod::of(pod.arg("api").start().unwrap()).await;
        if copy == "early" {
            assert_eq!(pod.reaches(early).await, early);
            nothing_lost(&records::all(&pod).await, &before);
            continue;
        }
        pod.reaches(witness.sequence().await).await;
        pods_agree([&witness, &pod]).await;
        nothing_lost(&before, &same_records([&witness, &pod]).await);
        assert_eq!(pod.metric("tickwell_nats_denials_total").await, 0);

        // The feed continues on the restored log.
        let poller =
            scene.as_role("poller", &other.seed_file("poller")).env("TICKWELL__BUS__URL", other.nats.url());
        let mut poller = poller.start().unwrap();
        pod.takes_in(SOME).await;
        end(&mut poller).await;
        let after = records::all(&pod).await;
        nothing_lost(&before, &after);
        assert_eq!(audit(&after).leads, 2);
        averages_are_right(&pod).await;
        history_is_the_log(&pod, &after).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_cut_off_leaves_nothing_behind() {
    require_nats!();
    let (mut nats, _upstream, scene) = world().await;
    let log = operator(&nats).await;
    let mut poller = scene.poller().await;
    end(&mut poller).await;
    add_ballast(&log).await;
    let content = scene.folder().join("copy.part/stream.tar.s2");
    let has_begun = async || content.metadata().is_ok_and(|file| file.len() > 0).then_some(());

    // The command is terminated while the server does not respond.
    let before = names(scene.folder());
    let mut process = begin(&scene, &["log", "backup", "copy"]);
    wait_until("the backup has begun", DEADLINE, has_begun).await;
    nats.pause().unwrap();
    process.signal("TERM").unwrap();
    assert_eq!(process.wait_exit(DEADLINE).await.unwrap().code(), Some(1));
    assert_eq!(names(scene.folder()), before);
    nats.resume().unwrap();

    // The server is killed and restarted, so it does not send the rest of the backup.
    let mut process = begin(&scene, &["log", "backup", "copy"]);
    wait_until("the backup has begun", DEADLINE, has_begun).await;
    nats.kill();
    nats.restart().await.unwrap();
    assert_eq!(process.wait_exit(DEADLINE).await.unwrap().code(), Some(1));
    assert_eq!(names(scene.folder()), before);

    succeeds(&scene, &["log", "backup", "copy"]).await;
    // With `--keep`, a directory contains several backups, of which the newest are kept.
    fs::create_dir_all(scene.folder().join("all/TICKS-20200101T000000Z")).unwrap();
    fs::create_dir_all(scene.folder().join("all/TICKS-20200102T000000Z.part")).unwrap();
    fs::create_dir_all(scene.folder().join("all/something else")).unwrap();
    succeeds(&scene, &["log", "backup", "--keep", "1", "all"]).await;
    let left = names(&scene.folder().join("all"));
    assert!(left.len() == 2 && left[0].as_str() > "TICKS-2026" && left[1] == "something else", "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_begins_only_with_a_sound_backup_and_without_a_log_in_its_place() {
    require_nats!();
    let (nats, _upstream, scene) = world().await;
    let log = operator(&nats).await;
    let mut poller = scene.poller().await;
    let pod = scene.pod("pod").await;
    pod.takes_in(SOME).await;
    end(&mut poller).await;
    succeeds(&scene, &["log", "backup", "copy"]).await;
    let there = stream(&log).await;

    let said = fails(&scene, &["log", "restore", "copy"]).await;
    assert!(said.contains("exists already") && said.contains("--replace"), "{said}");
    let folder = |name: &str| scene.folder().join(name);
    for (damaged, file, change) in [
        ("short", "stream.tar.s2", Box::new(|mut bytes: Vec<u8>| bytes.split_off(7)) as Box<dyn Fn(_) -> _>),
        ("flipped", "stream.tar.s2", Box::new(|bytes: Vec<u8>| bytes.iter().map(|byte| byte ^ 1).collect())),
        ("described", "backup.json", Box::new(|bytes: Vec<u8>| [bytes, vec![b'\n']].concat())),
    ] {
        fs::create_dir(folder(damaged)).unwrap();
        for name in names(&folder("copy")) {
            let bytes = fs::read(folder("copy").join(&name)).unwrap();
            let bytes = if name == file { change(bytes) } else { bytes };
            fs::write(folder(damaged).join(name), bytes).unwrap();
        }
        let said = fails(&scene, &["log", "restore", damaged, "--replace"]).await;
        assert!(said.contains("is damaged") && said.contains(file), "{said}");
    }
    for missing in ["stream.tar.s2", "backup.json"] {
        fs::remove_file(folder("short").join(missing)).unwrap();
        let said = fails(&scene, &["log", "restore", "short", "--replace"]).await;
        assert!(said.contains("not a complete backup") && said.contains(missing), "{said}");
    }
    let said = fails(&scene, &["log", "restore", "copy", "--replace", "--set", "bus.stream=OTHER"]).await;
    assert!(said.contains("is a backup of the stream TICKS"), "{said}");
    fs::create_dir(folder("all")).unwrap();
    fs::rename(folder("short"), folder("all/TICKS-20261121T030000Z")).unwrap();
    let said = fails(&scene, &["log", "restore", "all", "--replace"]).await;
    assert!(said.contains("TICKS-20261121T030000Z"), "{said}");
    // Without checksums, only the server notices the damage, and by then the existing log would be deleted.
    fs::remove_file(folder("flipped/SHA256SUMS")).unwrap();
    let said = fails(&scene, &["log", "restore", "flipped", "--replace"]).await;
    assert!(said.contains("has no SHA256SUMS"), "{said}");
    assert_eq!(stream(&log).await, there, "the stream is unchanged");

    // If there is no log that could be lost, a backup without checksums is accepted. Restoring the damaged backup
    // fails, and a stream that the server has created is marked as incomplete.
    log.delete_stream("TICKS").await.unwrap();
    fails(&scene, &["log", "restore", "flipped"]).await;
    assert!(stream(&log).await.is_none_or(|(_, is_marked)| is_marked));
    succeeds(&scene, &["log", "restore", "copy"]).await;
    assert_eq!(stream(&log).await, there);
}

/// Begins to restore the backup, and pauses the command while a part of the stream is there. On a slow machine, the command
/// may be complete before this test can pause it; then it is started again.
async fn stopped_restore(scene: &Scene, log: &jetstream::Context) -> Tickwell {
    for _attempt in 0..10 {
        let before = stream(log).await;
        let is_partial = async || {
            let now = stream(log).await.filter(|(messages, is_marked)| *messages > 0 && *is_marked);
            now.is_some() && now != before
        };
        let mut process = begin(scene, &["log", "restore", "copy", "--replace"]);
        wait_until("a part of the stream is there, or the command is complete", DEADLINE, async || {
            (is_partial().await || !process.is_running().unwrap()).then_some(())
        })
        .await;
        if process.signal("STOP").is_ok() && is_partial().await {
            return process;
        }
    }
    panic!("the restore was complete too soon in every attempt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_restore_is_not_used_by_any_process_and_can_be_repeated() {
    require_nats!();
    // In this scene, pollers have the right to create the stream, but must not do so during a restore.
    let (mut nats, _upstream, scene) = world().await;
    let scene = scene.with_short_lease();
    let log = operator(&nats).await;
    let mut poller = scene.poller().await;
    let pod = scene.pod("pod").await;
    pod.takes_in(SOME).await;
    let ballast = add_ballast(&log).await;
    pod.takes_in(SOME).await;
    let said = succeeds(&scene, &["log", "backup", "copy"]).await;
    let last = last_of(&said);
    let mut before = records::all_but(&pod, &ballast).await;

    // First, the command is killed during the restore.
    let mut process = stopped_restore(&scene, &log).await;
    assert!(stream(&log).await.unwrap().0 < pod.sequence().await);
    process.kill();
    is_in_trouble(&pod, "restoring", "does not have all of its records").await;
    // The poller gets the lease when the command's lease expires, but still does not write.
    let refuses =
        |line: &str| has_event(line, "degraded") && line.contains("does not have all of its records");
    poller.wait_for_line(refuses, DEADLINE).await.unwrap();
    let (_, said) = run(&scene, &["log", "verify"]).await;
    assert!(said.contains("does not have all of its records"), "{said}");
    let said = fails(&scene, &["log", "backup", "half"]).await;
    assert!(said.contains("does not have all of its records"), "{said}");
    let newcomer = scene.command("newcomer").arg("poller").start().unwrap();
    let waits =
        |line: &str| has_event(line, "stream_unknown") && line.contains("does not have all of its records");
    newcomer.wait_for_line(waits, DEADLINE).await.unwrap();

    // Then the server is killed during the restore.
    let mut process = stopped_restore(&scene, &log).await;
    nats.kill();
    nats.restart().await.unwrap();
    process.signal("CONT").unwrap();
    assert_eq!(process.wait_exit(DEADLINE).await.unwrap().code(), Some(1));

    let said = succeeds(&scene, &["log", "restore", "copy"]).await;
    assert!(said.contains("interrupted restore"), "{said}");
    begins_anew(&pod, &scene, "pod", 1).await;
    is_well(&pod).await;
    pod.reaches(last + SOME).await;
    end(&mut poller).await;
    drop(newcomer);
    let after = records::all_but(&pod, &ballast).await;
    before.retain(|record| record.sequence <= last);
    nothing_lost(&before, &after);
    audit(&after);
    averages_are_right_but(&pod, &ballast).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_log_is_replaced_under_pollers_and_pods_is_sound_afterwards() {
    require_nats!();
    let cluster = NatsCluster::start().await.unwrap();
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__BUS__REPLICAS", "3");
    let scene = scene.with("TICKWELL__BUS__URL", &cluster.url());
    let log = operator(&cluster.nodes[0]).await;
    let (mut poller, mut standby) = (scene.poller().await, scene.standby().await);
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    pods[0].takes_in(SOME).await;
    let ballast = add_ballast(&log).await;
    succeeds(&scene, &["log", "backup", "copy"]).await;

    for times in 1..=2 {
        let said = succeeds(&scene, &["log", "restore", "copy", "--replace"]).await;
        assert!(said.contains("took the lease from the poller"), "{said}");
        begins_anew(pods[0], &scene, "one", times).await;
        begins_anew(pods[1], &scene, "other", times).await;
        pods[0].takes_in(SOME).await;
        succeeds(&scene, &["log", "verify"]).await;
        // If a pod had created its consumer too early, the cluster would know the consumer, but no server would have it.
        let request = log.request("CONSUMER.LIST.TICKS", &());
        let consumers: serde_json::Value = request.await.unwrap();
        assert!(consumers["consumers"].is_array() && consumers["missing"].is_null(), "{consumers}");
    }
    end(&mut standby).await;
    end(&mut poller).await;
    audit(&same_records_but(pods, &ballast).await);
    pods_agree(pods).await;
}
