//! `tickwell watch` with two pods, one of which is killed, and how it exits.

use testkit::{nats::NatsServer, process::Tickwell, require_nats, wait_until};

use crate::{
    agreement::PAIR,
    author::{Author, Written},
    commands::run,
    harness::{BINARY, DEADLINE, Pod, Scene},
    records::time_text,
};

/// 1 October 2026.
const FIRST_SLOT: i64 = 1_790_812_800_000;

/// The number of slots that are written in each step.
const SOME: i64 = 30;

const PAIRS: [&str; 2] = [PAIR, "ETH-USD"];

/// A log, and two pods that have caught up with it.
async fn world() -> (NatsServer, Scene, Author, [Pod; 2]) {
    let nats = NatsServer::start().await.unwrap();
    let mut author = Author::begin(&nats, 3, &PAIRS, FIRST_SLOT).await;
    author.write(SOME).await;
    let scene = Scene::new(std::time::Duration::from_secs(60)).over(&nats);
    let pods = [scene.pod("one").await, scene.pod("other").await];
    for pod in &pods {
        pod.reaches(author.last()).await;
    }
    (nats, scene, author, pods)
}

fn watch(scene: &Scene, more: &[&str]) -> Tickwell {
    watch_pairs(scene, &["btc_usd", "ETH-USD"], more)
}

fn watch_pairs(scene: &Scene, pairs: &[&str], more: &[&str]) -> Tickwell {
    let command = Tickwell::command(BINARY, scene.folder()).args(["watch"]);
    command.args(pairs).args(more).start().unwrap()
}

/// The lines that show events. They start with the year, unlike the lines on standard error.
fn shown(process: &Tickwell) -> Vec<String> {
    process.lines().into_iter().filter(|line| line.starts_with("20")).collect()
}

/// What a client without a cursor gets first: each pair's newest tick, and the newest gap after it, if any.
fn newest(written: &[Written]) -> Vec<Written> {
    let mut newest = Vec::new();
    for pair in PAIRS {
        let of_pair = || written.iter().filter(|written| written.pair == pair);
        newest.extend(of_pair().rfind(|written| written.price.is_some()));
        newest.extend(of_pair().next_back().filter(|written| written.price.is_none()));
    }
    newest.sort_by_key(|written| written.sequence);
    newest.into_iter().cloned().collect()
}

/// The text with which the line of an event must start.
fn beginning(written: &Written) -> String {
    let said = match (&written.price, written.gap) {
        (Some(price), _) => price.clone(),
        (None, gap) => format!("gap {} from {}", gap.unwrap().0, time_text(written.from)),
    };
    format!("{} {} {said}", time_text(written.slot), written.pair)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_continues_at_another_pod_without_missing_or_repeating_a_line() {
    require_nats!();
    let (_nats, scene, mut author, [mut one, other]) = world().await;
    let mut process = watch(&scene, &["--url", &one.url, "--url", &other.url]);
    let lines = async |count: usize| {
        let enough = async || (shown(&process).len() >= count).then_some(());
        wait_until(&format!("{count} lines"), DEADLINE, enough).await;
    };
    let before = author.written().len();
    let first = newest(author.written());
    lines(first.len()).await;
    author.write(SOME).await;
    lines(first.len() + author.written().len() - before).await;
    one.process.kill();
    author.write(SOME).await;
    lines(first.len() + author.written().len() - before).await;

    process.signal("TERM").unwrap();
    assert_eq!(process.wait_exit(DEADLINE).await.unwrap().code(), Some(0));
    let lines = shown(&process);
    let expected: Vec<&Written> = first.iter().chain(&author.written()[before..]).collect();
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, written) in lines.iter().zip(expected) {
        let rest =
            line.strip_prefix(&beginning(written)).unwrap_or_else(|| panic!("{line} must be {written:?}"));
        assert!(
            rest.is_empty() || [" ▲ +", " ▼ −", " = 0"].iter().any(|change| rest.starts_with(change)),
            "{line}"
        );
    }
    let log = process.lines().join("\n");
    assert!(log.contains(&format!("connected to {}", other.url)) && log.contains("not connected; "), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_pairs_all_pairs_of_the_feed_are_watched() {
    require_nats!();
    let (_nats, scene, mut author, [pod, _]) = world().await;
    let process = watch_pairs(&scene, &[], &["--url", &pod.url]);
    let mut expected = newest(author.written()).len();
    for _ in 0..2 {
        wait_until("the lines", DEADLINE, async || (shown(&process).len() >= expected).then_some(())).await;
        let before = author.written().len();
        author.write(1).await;
        expected += author.written().len() - before;
    }
    let lines = shown(&process);
    for pair in PAIRS {
        assert!(lines.iter().any(|line| line.contains(pair)), "{pair}: {lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_ends_when_it_is_interrupted_or_its_output_is_closed() {
    require_nats!();
    let (_nats, scene, mut author, [pod, _]) = world().await;
    let mut process = watch(&scene, &["--json", "--url", &pod.url]);
    process
        .wait_for_line(|line| line.starts_with("{\"") && line.contains("\"price\""), DEADLINE)
        .await
        .unwrap();
    process.signal("INT").unwrap();
    assert_eq!(process.wait_exit(DEADLINE).await.unwrap().code(), Some(0));

    let piped = format!("set -o pipefail; '{BINARY}' watch btc-usd --url {} | head -n 1", pod.url);
    let mut process = Tickwell::command("bash", scene.folder()).args(["-c", &piped]).start().unwrap();
    wait_until("the end of a pipe that is closed", DEADLINE, async || {
        author.write(1).await;
        (!process.is_running().unwrap()).then_some(())
    })
    .await;
    assert_eq!(process.wait_exit(DEADLINE).await.unwrap().code(), Some(0), "{:?}", process.lines());
    assert_eq!(
        process.lines().len(),
        2,
        "one event, and the line about the connection: {:?}",
        process.lines()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_watching_are_reported() {
    require_nats!();
    let (nats, scene, _author, [pod, _]) = world().await;
    let (code, said) = run(scene.folder(), &["watch", "BTC-EUR", "--url", &pod.url], &[]).await;
    assert!(code == Some(1) && said.contains("BTC-EUR") && said.contains("BTC-USD, ETH-USD"), "{said}");
    let (code, said) = run(scene.folder(), &["watch", "bitcoin"], &[]).await;
    assert!(code == Some(2) && said.contains("bitcoin"), "{said}");
    // This is the address of a NATS server. As soon as a client connects, that server sends a greeting that is not
    // HTTP.
    let stranger = nats.url().replace("nats://", "http://");
    let process = watch(&scene, &["--url", &stranger]);
    let retries = |line: &str| line.contains("not connected; ") && line.contains(&stranger);
    process.wait_for_line(retries, DEADLINE).await.unwrap();
    let away = watch(&scene, &["--url", "http://127.0.0.1:1"]);
    let retries = |line: &str| line.contains("refused") && line.contains("s at http://127.0.0.1:1; ");
    away.wait_for_line(retries, DEADLINE).await.unwrap();
}
