//! What befalls the files of a stopped pod's store: it comes back with the log's answers, or refuses with an
//! error that says what to do; never with a number that is silently wrong.

use rand::{SeedableRng as _, rngs::StdRng};
use testkit::{damage::Damage, process::Tickwell, require_nats};

use crate::{
    agreement::{averages_are_right, history_is_the_log, pods_agree, same_records},
    harness::{DEADLINE, Pod, has_message, world},
    records::Record,
    survival::end,
};

/// Enough for history to have pages, and for the store to have more than one file.
const RECORDS: u64 = 12;

/// How a pod took the damage.
#[derive(Debug)]
enum Outcome {
    CameBack,
    Refused(String),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_is_rebuilt_or_refused() {
    require_nats!();
    // Fault matrix, row 40.
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
        let (outcome, pod) = returns(process, &witness, &records).await;
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

/// Waits until a started process answers as the witness does, or has refused its store.
async fn returns(mut process: Tickwell, witness: &Pod, records: &[Record]) -> (Outcome, Option<Pod>) {
    let serves = process.wait_for_line(|line| has_message(line, "serving"), DEADLINE).await;
    if let Err(error) = serves {
        let status = process.wait_exit(DEADLINE).await.unwrap();
        assert!(!status.success(), "it ended without an error: {error:#}");
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
