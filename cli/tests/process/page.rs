//! Tests the page in a real browser.
//!
//! The scenes are scripts in `tests/browser/page`. When a scene needs a change outside the browser, such as a failure
//! of sources or of a pod, the script prints a request, and the test here carries it out.

use std::process::Stdio;

use testkit::{Venue, nats::NatsServer, process::Tickwell, require_nats, upstream::FakeUpstream};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::{
    access::KNOWN,
    harness::{DEADLINE, INTERVAL, Pod, Scene, has_price, moving_upstream, slots_pass},
    replay,
    tools::browser_script,
};

/// Plays scenes with the page of the pod at `url`. `act` carries out the requests of the scenes. For each request, it
/// returns the line for which the scene waits.
pub(crate) async fn play(url: &str, scenes: &[&str], mut act: impl AsyncFnMut(&str) -> String) {
    let Some(mut script) = browser_script("page.mjs") else { return };
    let script = script.arg(url).args(scenes).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    let mut answers = script.stdin.take().unwrap();
    let mut requests = BufReader::new(script.stdout.take().unwrap()).lines();
    while let Some(request) = requests.next_line().await.unwrap() {
        let answer = act(&request).await;
        answers.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
    }
    let status = tokio::time::timeout(DEADLINE, script.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{scenes:?} failed; see the output above");
}

fn set_sources_down(upstream: &FakeUpstream, down: bool) {
    for venue in Venue::DEFAULT {
        upstream.set_down(venue, down);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_prices_the_chart_and_every_outage() {
    require_nats!();
    let nats = NatsServer::start().await.unwrap();
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL)
        .asking(&upstream)
        .over(&nats)
        .with("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD")
        .with("TICKWELL__WINDOWS__STALE_AFTER", "3s");
    let _poller: Tickwell = scene.poller().await;
    let mut pod = scene.pod("pod").await;
    has_price(&pod).await;
    let url = pod.url.clone();
    // A restarted pod must have the same address, because the page sends its requests there.
    let scene = scene.with("TICKWELL__API__LISTEN", url.strip_prefix("http://").unwrap());
    play(&url, &["prices", "chart", "outage"], async |request| {
        match request {
            "sources fail" => set_sources_down(&upstream, true),
            "sources recover" => set_sources_down(&upstream, false),
            "kill the pod" => pod.process.kill(),
            "start the pod" => {
                slots_pass(4, INTERVAL).await;
                pod = scene.pod("pod").await;
            }
            other => panic!("unknown request: {other}"),
        }
        "done".to_owned()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_reacts_to_input_and_looks_right_everywhere() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD");
    let pod = scene.standalone("only").await;
    has_price(&pod).await;
    play(&pod.url, &["hands", "looks", "newcomer", "speed"], async |request| {
        panic!("unknown request: {request}")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_explains_why_there_is_no_price() {
    require_nats!();
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD");
    set_sources_down(&upstream, true);
    let first = scene.standalone("first").await;
    let recorded = replay::scene();
    let mut nats = NatsServer::start().await.unwrap();
    let bus = nats.url();
    let mut pods: Vec<Pod> = Vec::new();
    let mut processes: Vec<Tickwell> = Vec::new();
    play(&first.url, &["reasons"], async |request| {
        let command = scene.command(request);
        pods.push(match request {
            "sources recover" => {
                set_sources_down(&upstream, false);
                return "done".to_owned();
            }
            "start the log" => {
                nats.restart().await.unwrap();
                let poller = scene.command("poller").arg("poller").env("TICKWELL__BUS__URL", &bus);
                processes.push(poller.start().unwrap());
                return "done".to_owned();
            }
            "start a pod without a log" => {
                nats.kill();
                let process = command.arg("api").env("TICKWELL__BUS__URL", &bus).start().unwrap();
                Pod::listening(process).await
            }
            "start a demo" => Pod::of(command.args(["run", "--demo"]).start().unwrap()).await,
            "start a replay" => {
                Pod::of(replay::at_speed(recorded.command("replay"), "max").arg("run").start().unwrap()).await
            }
            "start a pod with keys" => {
                Pod::of(command.arg("run").env("TICKWELL__API__KEYS", KNOWN).start().unwrap()).await
            }
            other => panic!("unknown request: {other}"),
        });
        pods.last().unwrap().url.clone()
    })
    .await;
}
