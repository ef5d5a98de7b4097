//! How a process exits after SIGTERM and SIGINT.

use std::time::Duration;

use testkit::{Venue, fault::Fault, process::Tickwell, require_nats, wait_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    agreement::PAIR,
    harness::{DEADLINE, INTERVAL, Pod, Scene, field, has_event, has_price, moving_upstream, world},
    records::{self, Record, Time},
};

/// How long a process may take to exit: the shortest default grace period of common orchestrators.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a process continues to serve after SIGTERM, in milliseconds.
const GRACE_MS: i64 = 1_000;

/// The number of attempts for tests that must act within a short period. If the machine stalls, an attempt may miss
/// that period.
const TRIES: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_poller_and_pod_whatever_their_clients_do() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let mut poller = scene.poller().await;
    let mut pod = scene.pod("pod").await;
    has_price(&pod).await;
    let mut idle = connect(&pod).await;
    let mut silent = connect(&pod).await;
    let mut halfway = connect(&pod).await;
    // Reading a response first ensures that the connection is kept alive.
    ask(&mut idle).await;
    halfway.write_all(b"GET /v1/prices HTTP/1.1\r\nhost: half").await.unwrap();

    terminate(&mut pod.process).await;
    terminate(&mut poller).await;
    for connection in [&mut idle, &mut silent, &mut halfway] {
        // The connection may be closed or reset.
        let _ended = connection.read_to_end(&mut Vec::new()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_a_process_whose_log_is_down() {
    require_nats!();
    let (nats, _upstream, scene) = world().await;
    // Without a poller, there is no stream.
    let mut waiting = scene.command("pod").arg("api").start().unwrap();
    waiting.wait_for_line(|line| line.contains("there is no stream TICKS"), DEADLINE).await.unwrap();
    terminate(&mut waiting).await;

    let mut poller = scene.poller().await;
    let mut pod = scene.pod("pod").await;
    has_price(&pod).await;
    drop(nats);
    // Wait until the poller has a record that it cannot publish.
    poller.wait_for_line(|line| has_event(line, "publish_failed"), DEADLINE).await.unwrap();
    terminate(&mut poller).await;
    terminate(&mut pod.process).await;

    let mut waiting = scene.command("poller").arg("poller").start().unwrap();
    waiting.wait_for_line(|line| has_event(line, "nats_unreachable"), DEADLINE).await.unwrap();
    terminate(&mut waiting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_a_process_of_both_halves() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let mut both = scene.standalone("both").await;
    has_price(&both).await;
    let mut idle = connect(&both).await;
    ask(&mut idle).await;
    terminate(&mut both.process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_pod_is_unready_first_and_serves_a_moment_longer() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    for _try in 0..TRIES {
        let mut both = scene.standalone("both").await;
        has_price(&both).await;
        assert_eq!(both.get("/readyz").await.status, 200);
        both.process.signal("TERM").unwrap();
        let served = serves_while_unready(&both).await;
        assert!(both.process.wait_exit(PATIENCE).await.unwrap().success());
        if served {
            return;
        }
    }
    panic!("in {TRIES} attempts, no price was served well after /readyz had returned 503");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_ends_at_once() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let mut took = Vec::new();
    for _try in 0..TRIES {
        let mut both = scene.standalone("both").await;
        has_price(&both).await;
        both.process.signal("INT").unwrap();
        assert!(both.process.wait_exit(PATIENCE).await.unwrap().success());
        took.push(logged_at(&both.process, "stopped") - logged_at(&both.process, "stopping"));
        if took.iter().any(|took| *took < GRACE_MS) {
            return;
        }
    }
    panic!("stopping took {took:?} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_being_polled_is_published_before_the_end() {
    // Slots are long and sources take a second to respond, so that the test knows which slot is being polled.
    let interval = Duration::from_secs(4);
    let upstream = moving_upstream(interval).await;
    let scene = Scene::new(interval).asking(&upstream);
    for _try in 0..TRIES {
        let mut both = scene.standalone("both").await;
        has_price(&both).await;
        for venue in Venue::DEFAULT {
            upstream.set_fault(venue, Fault::Slow(1));
        }
        let before = upstream.requests_to(Venue::Bitstamp).len();
        let polls = async || upstream.requests_to(Venue::Bitstamp).get(before).map(|request| request.time_ms);
        let polled_at = wait_until("the next poll", DEADLINE, polls).await;
        both.process.signal("INT").unwrap();
        assert!(both.process.wait_exit(PATIENCE).await.unwrap().success());
        let refused = |line: &String| has_event(line, "publish_failed");
        assert!(!both.process.lines().iter().any(refused), "{:?}", both.process.lines());
        for venue in Venue::DEFAULT {
            upstream.set_fault(venue, None);
        }
        let again = scene.standalone("both").await;
        let polled_slot = polled_at / 4_000 * 4_000;
        let records = records::all(&again).await;
        let kept = records.iter().find(|record| record.covers().is_some_and(|(_, last)| last == polled_slot));
        if kept.is_some_and(Record::is_tick) {
            return;
        }
    }
    panic!("in {TRIES} attempts, no slot that was being polled became a tick");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_drains_like_sigterm() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let mut both = scene.standalone("both").await;
    has_price(&both).await;
    // Before, the process was killed by the signal, without a word.
    both.process.signal("HUP").unwrap();
    assert_eq!(both.process.wait_exit(PATIENCE).await.unwrap().code(), Some(0));
    assert!(both.process.lines().iter().any(|line| has_event(line, "stopped")));
}

async fn terminate(process: &mut Tickwell) {
    process.signal("TERM").unwrap();
    let status = process.wait_exit(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", process.lines().join("\n"));
}

/// Whether a request on a new connection was served well after the pod had become unready.
async fn serves_while_unready(pod: &Pod) -> bool {
    let unready = async || match pod.try_get("/readyz").await {
        Ok(answer) => (answer.status == 503).then_some(true),
        Err(_gone) => Some(false),
    };
    if !wait_until("unready or gone", DEADLINE, unready).await {
        return false;
    }
    let halfway = logged_at(&pod.process, "stopping") + GRACE_MS / 2;
    let later = async || (testkit::clock::now_ms() > halfway).then_some(());
    wait_until("half of the grace period", DEADLINE, later).await;
    let Ok(mut connection) = TcpStream::connect(address(pod)).await else { return false };
    let request = format!("GET /v1/prices/{PAIR} HTTP/1.1\r\nhost: late\r\nconnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let exchanged = connection.write_all(request.as_bytes()).await.is_ok()
        && connection.read_to_end(&mut answer).await.is_ok();
    exchanged && answer.starts_with(b"HTTP/1.1 200 ")
}

fn address(pod: &Pod) -> &str {
    pod.url.strip_prefix("http://").unwrap()
}

async fn connect(pod: &Pod) -> TcpStream {
    TcpStream::connect(address(pod)).await.unwrap()
}

/// Sends a request over a connection, and reads the beginning of the response.
async fn ask(connection: &mut TcpStream) {
    connection.write_all(b"GET /livez HTTP/1.1\r\nhost: tickwell\r\n\r\n").await.unwrap();
    assert!(connection.read(&mut [0; 4_096]).await.unwrap() > 0);
}

/// When this event was logged, in unix milliseconds.
fn logged_at(process: &Tickwell, event: &str) -> i64 {
    let line = process.lines().into_iter().find(|line| has_event(line, event)).unwrap();
    Time::try_from(field(&line, "timestamp").unwrap()).unwrap().0
}
