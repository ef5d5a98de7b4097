//! Replays recordings with the real binary, at the times of the recording.

use std::{fmt::Write as _, path::Path};

use testkit::{nats::NatsServer, process::TickwellCommand, require_nats, wait_until};

use crate::{
    audit::audit,
    export::export,
    harness::{DEADLINE, Pod, Scene, has_event},
    records::{self, Record},
    survival::end,
};

/// The first recorded minute: 2023-03-04T00:00Z.
const FIRST: i64 = 1_677_888_000_000;

const MINUTE: i64 = 60_000;

/// The number of recorded minutes: enough that the replay can be interrupted.
const MINUTES: i64 = 3_000;

/// The minutes for which the second venue has no rows.
const HOLE: std::ops::Range<i64> = 100..105;

/// The price of a venue in a minute. The venues' prices differ by ten cents. The output must keep the trailing zero.
fn price(venue: usize, minute: i64) -> String {
    format!("{}.{venue}0", 20_000 + minute % 97)
}

fn write_recording(path: &Path, venue: usize, has: impl Fn(i64) -> bool) {
    let mut text = String::from("ts_ms,price,volume\n");
    for minute in (0..MINUTES).filter(|minute| has(*minute)) {
        // A row's time is the last millisecond of its minute. The next slot begins a millisecond later and uses the row.
        writeln!(text, "{},{},1.5", FIRST + (minute + 1) * MINUTE - 1, price(venue, minute)).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

/// A scene with a recording in place of venues.
pub(crate) fn scene() -> Scene {
    let scene = Scene::new(std::time::Duration::from_secs(60));
    write_recording(&scene.folder().join("a.csv"), 1, |_| true);
    write_recording(&scene.folder().join("b.csv"), 3, |minute| !HOLE.contains(&minute));
    scene
        .with("TICKWELL__FEED__SOURCES", "replay")
        .with("TICKWELL__REPLAY__FILES", "kraken:BTC-USD:a.csv, coinbase:BTC-USD:b.csv")
}

pub(crate) fn at_speed(command: TickwellCommand, speed: &str) -> TickwellCommand {
    command.arg("--set").arg(format!("replay.speed={speed}"))
}

/// Waits until the pod's newest slot is `last`.
pub(crate) async fn is_over(pod: &Pod, last: i64) {
    let reached = async || {
        let newest = pod.get("/v1/pairs").await.json()["items"][0]["slot"].as_str()?.to_owned();
        (records::Time::try_from(newest).unwrap().0 == last).then_some(())
    };
    wait_until("the end of the recording", DEADLINE, reached).await;
}

/// Checks that there is one record for every minute of the recording: a gap in the hole, and otherwise a tick whose
/// price has the recorded digits.
fn check(records: &[Record]) {
    audit(records);
    let slots: Vec<&Record> = records.iter().filter(|record| record.covers().is_some()).collect();
    assert_eq!(slots.len(), usize::try_from(MINUTES).unwrap());
    for (minute, record) in (0..).zip(slots) {
        assert_eq!(record.covers().unwrap(), (FIRST + (minute + 1) * MINUTE, FIRST + (minute + 1) * MINUTE));
        assert_eq!(record.origin, "replay");
        let quotes: Vec<_> = record.quotes().iter().map(|quote| quote.price.clone().unwrap()).collect();
        let of_b = if HOLE.contains(&minute) { HOLE.start - 1 } else { minute };
        assert_eq!(quotes, [price(3, of_b), price(1, minute)], "{record:?}");
        assert_eq!(record.price, (!HOLE.contains(&minute)).then(|| price(2, minute)), "{record:?}");
        let verdict = if HOLE.contains(&minute) { "stale" } else { "used" };
        assert_eq!(record.verdict("coinbase"), verdict);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_is_replayed_exactly_and_continues_where_it_was_interrupted() {
    let scene = scene();
    let mut first = Pod::of(at_speed(scene.command("store"), "60000x").arg("run").start().unwrap()).await;
    first.takes_in(20).await;
    first.process.kill();
    let mut second = Pod::of(at_speed(scene.command("store"), "max").arg("run").start().unwrap()).await;
    is_over(&second, FIRST + MINUTES * MINUTE).await;
    let price = second.get("/v1/prices/BTC-USD").await.found();
    assert_eq!((&price["stale"], &price["origin"]), (&false.into(), &"replay".into()));
    check(&records::all(&second).await);
    let gaps = second.get("/v1/prices/BTC-USD/gaps").await.found();
    assert_eq!(gaps["items"].as_array().unwrap().len(), HOLE.count());
    end(&mut second.process).await;

    // A log of replayed prices cannot be continued with live prices.
    let live = scene.command("store").arg("run").arg("--set").arg("feed.sources=kraken,coinbase");
    let mut live = live.start().unwrap();
    assert!(!live.wait_exit(DEADLINE).await.unwrap().success());
    assert!(
        live.lines().iter().any(|line| line.contains("the origin `replay`") && line.contains("feed.sources")),
        "{:?}",
        live.lines()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_over_nats_follow_a_recording_in_its_own_time() {
    require_nats!();
    let nats = NatsServer::start().await.unwrap();
    let scene = scene().over(&nats).with("TICKWELL__WINDOWS__STALE_AFTER", "3m");
    let mut poller = at_speed(scene.command("poller"), "max").arg("poller").start().unwrap();
    let pod = scene.pod("pod").await;
    is_over(&pod, FIRST + MINUTES * MINUTE).await;
    poller.wait_for_line(|line| has_event(line, "recording_ended"), DEADLINE).await.unwrap();
    check(&records::all(&pod).await);
    // The price is not stale, because a replay measures the age of a price in the time of the recording.
    assert_eq!(pod.get("/v1/prices/BTC-USD").await.found()["stale"], false);
    end(&mut poller).await;
}

/// The slots and prices of a stopped process, as `tickwell export` writes them to a file in the scene's folder.
async fn exported(scene: &Scene, store: &str) -> Vec<String> {
    let path = scene.folder().join(format!("{store}.csv"));
    let (code, said) = export(scene, store, &["--output", &path.display().to_string()]).await;
    assert_eq!(code, Some(0), "{said}");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect()
}

/// A replay of an export has a tick for each of its rows, and no slot before the first or after the last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_replayed_without_editing() {
    let scene = scene();
    let mut first = Pod::of(at_speed(scene.command("first"), "max").arg("run").start().unwrap()).await;
    is_over(&first, FIRST + MINUTES * MINUTE).await;
    end(&mut first.process).await;
    let rows = exported(&scene, "first").await;
    assert_eq!(rows.len(), 1 + usize::try_from(MINUTES).unwrap() - HOLE.count());

    let again = at_speed(scene.command("again"), "max").arg("run");
    let again = again.env("TICKWELL__REPLAY__FILES", "kraken:BTC-USD:first.csv");
    // Rows of an export are never used for later slots, however old a quote may be.
    let again = again.env("TICKWELL__AGGREGATE__MAX_QUOTE_AGE", "1h");
    let mut again = Pod::of(again.env("TICKWELL__AGGREGATE__MIN_SOURCES", "1").start().unwrap()).await;
    again.process.wait_for_line(|line| has_event(line, "recording_ended"), DEADLINE).await.unwrap();
    is_over(&again, FIRST + MINUTES * MINUTE).await;
    let records = records::all(&again).await;
    audit(&records);
    let slots = records.iter().filter(|record| record.covers().is_some());
    assert_eq!(slots.count(), usize::try_from(MINUTES).unwrap());
    end(&mut again.process).await;
    assert_eq!(exported(&scene, "again").await, rows);
}
