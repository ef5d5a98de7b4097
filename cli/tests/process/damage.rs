//! Damages the store of a stopped pod. When the pod starts again, it must either return the same responses as before,
//! or refuse the store with an error that says what to do. The pod must never return wrong numbers silently.

use std::path::Path;

use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use testkit::{damage::Damage, process::Tickwell, require_nats, wait_until};

use crate::{
    agreement::{averages_are_right, history_is_the_log, pods_agree, same_records},
    harness::{DEADLINE, INTERVAL, Pod, Scene, has_event, moving_upstream, world},
    records::{self, Record},
    survival::end,
};

/// How many records are stored before the damage: enough for several pages of history and several files in the store.
const RECORDS: u64 = 12;

/// How a pod reacted to the damage.
#[derive(Debug)]
enum Outcome {
    CameBack,
    Refused(String),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_is_rebuilt_or_refused() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let mut poller = scene.poller().await;
    let witness = scene.pod("witness").await;
    let mut victim = scene.pod("victim").await;
    for pod in [&witness, &victim] {
        pod.takes_in(RECORDS).await;
    }
    end(&mut poller).await;
    let records = same_records([&witness, &victim]).await;
    let store = scene.store("victim").join("store");

    for (seed, damage) in (1..).zip(Damage::ALL) {
        victim.process.kill();
        let done = damage.befall(&store, &mut StdRng::seed_from_u64(seed)).unwrap().unwrap();
        let process = scene.command("victim").arg("api").start().unwrap();
        let (outcome, pod) = outcome_of(process, &witness, &records).await;
        println!("seed {seed}, {done}: {outcome:?}");
        if let Outcome::Refused(error) = outcome {
            assert!(error.contains("store"), "{done}: {error}");
            std::fs::remove_dir_all(&store).unwrap();
        }
        victim = match pod {
            Some(pod) => pod,
            None => scene.pod("victim").await,
        };
    }
}

/// Waits until a started process returns the same responses as the witness, or has refused its store.
async fn outcome_of(mut process: Tickwell, witness: &Pod, records: &[Record]) -> (Outcome, Option<Pod>) {
    let serves = process.wait_for_line(|line| has_event(line, "serving"), DEADLINE).await;
    if let Err(error) = serves {
        let status = process.wait_exit(DEADLINE).await.unwrap();
        assert!(!status.success(), "it exited without an error: {error:#}");
        let lines = process.lines();
        assert!(!lines.iter().any(|line| line.contains("panicked at")), "{}", lines.join("\n"));
        return (Outcome::Refused(lines.last().cloned().unwrap_or_default()), None);
    }
    let pod = Pod::of(process).await;
    pod.reaches(records.last().unwrap().sequence).await;
    pods_agree([witness, &pod]).await;
    same_records([witness, &pod]).await;
    averages_are_right(&pod).await;
    history_is_the_log(&pod, records).await;
    (Outcome::CameBack, Some(pod))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_only_copy_is_refused_or_its_loss_is_named() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let mut process = scene.standalone("only").await;
    process.takes_in(RECORDS).await;
    end(&mut process.process).await;
    let process = scene.standalone("only").await;
    let before = records::all(&process).await;
    drop(process);

    for (seed, damage) in (1..).zip(Damage::ALL.into_iter().cycle().take(2 * Damage::ALL.len())) {
        let name = format!("copy-{seed}");
        copy(&scene.store("only"), &scene.store(&name));
        let done = damage.befall(&scene.store(&name).join("store"), &mut StdRng::seed_from_u64(seed));
        let done = done.unwrap().unwrap();
        let mut process = scene.command(&name).arg("run").start().unwrap();
        if process.wait_for_line(|line| has_event(line, "serving"), DEADLINE).await.is_err() {
            assert!(!process.wait_exit(DEADLINE).await.unwrap().success(), "{done}");
            let error = process.lines().last().cloned().unwrap_or_default();
            assert!(error.contains("backup"), "{done}: {error}");
            println!("seed {seed}, {done}: refused");
            continue;
        }
        let pod = Pod::of(process).await;
        let named = pod.process.lines().iter().any(|line| has_event(line, "acknowledged_records_lost"));
        // Wait for a new record first. If the new record had the sequence of a lost one, the comparison below would
        // fail.
        pod.reaches(before.last().unwrap().sequence + 1).await;
        let mut lost = 0;
        for record in &before {
            let answer = pod.get(&format!("/v1/ticks/{}", record.sequence)).await;
            match answer.status {
                404 => lost += 1,
                _ => assert_eq!(
                    answer.found(),
                    serde_json::from_slice::<Value>(&record.bytes).unwrap(),
                    "{done}"
                ),
            }
        }
        assert!(lost == 0 || named, "{done}: lost {lost} records without logging it");
        println!("seed {seed}, {done}: came back without {lost} of {} records", before.len());
    }
}

/// The exit code and the output of a command that reads a store without starting a process on it.
async fn read_store(scene: &Scene, name: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = scene.command(name).args(arguments).start().unwrap();
    let code = process.wait_exit(DEADLINE).await.unwrap().code();
    (code, process.lines().join("\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_only_copy_is_not_read_as_if_it_were_whole() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let mut process = scene.standalone("only").await;
    let early = scene.store("early");
    process.takes_in(RECORDS).await;
    end(&mut process.process).await;
    // The store as it was earlier, with the note of what was acknowledged later: the newest records are lost.
    copy(&scene.store("only"), &early);
    let mut process = scene.standalone("only").await;
    process.takes_in(RECORDS).await;
    end(&mut process.process).await;
    let noted = std::fs::read_to_string(scene.store("only").join("acknowledged")).unwrap();
    std::fs::write(early.join("acknowledged"), &noted).unwrap();
    let last = noted.trim().rsplit(' ').next().unwrap().trim_start_matches('0');

    for arguments in [
        &["export", "--pair", "BTC-USD"][..],
        &["backup", "--output", "early.backup"],
        &["recompute", "--all"],
    ] {
        // Before, each of these succeeded with what was left.
        let (code, said) = read_store(&scene, "early", arguments).await;
        assert!(code == Some(1) && said.contains("has lost the records"), "{arguments:?}: {said}");
        assert!(said.contains(&format!("to {last},")) && !said.contains("2026-"), "{said}");
        assert!(arguments[0] != "backup" || !scene.folder().join("early.backup").exists());
        let accepting = [arguments, &["--allow-incomplete"]].concat();
        let (code, said) = read_store(&scene, "early", &accepting).await;
        assert!(code == Some(0) && said.contains("has lost the records"), "{accepting:?}: {said}");
        let (code, said) = read_store(&scene, "only", &[arguments, &["--allow-incomplete"]].concat()).await;
        assert!(arguments[0] == "backup" || code == Some(0) && !said.contains("has lost"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_deleted_under_a_running_process_is_noticed() {
    require_nats!();
    let (_nats, upstream, scene) = world().await;
    let _poller = scene.poller().await;
    let pod = scene.pod("pod").await;
    pod.takes_in(RECORDS).await;
    std::fs::remove_dir_all(scene.store("pod").join("store")).unwrap();
    // Before, the pod served until it was restarted, with files that no longer had a name. Now it rebuilds its store.
    pod.process.wait_for_line(|line| has_event(line, "store_rebuilding"), DEADLINE).await.unwrap();
    let database = scene.store("pod").join("store/db");
    wait_until("the store is rebuilt", DEADLINE, async || database.exists().then_some(())).await;
    let rebuilt = async || (pod.try_get("/v1/prices").await.ok()?.status == 200).then_some(());
    wait_until("the pod serves again", DEADLINE, rebuilt).await;

    // The only copy stays open, because it can still be backed up.
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__ADMIN__LISTEN", "127.0.0.1:0");
    let only = scene.standalone("only").await;
    only.takes_in(RECORDS).await;
    std::fs::remove_dir_all(scene.store("only").join("store")).unwrap();
    only.process.wait_for_line(|line| has_event(line, "store_misplaced"), DEADLINE).await.unwrap();
    let ready = only.get("/readyz?verbose").await.json();
    let log = ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "log").unwrap();
    assert!(log["condition"] == "degraded" && log["reason"].as_str().unwrap().contains("backup"), "{log}");
    let operators = crate::backup::operators(&only.process).await;
    let arguments = ["backup", "--from", &operators, "--output", "saved.backup"];
    let (code, said) = read_store(&scene, "unused", &arguments).await;
    assert_eq!(code, Some(0), "{said}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => std::mem::drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
