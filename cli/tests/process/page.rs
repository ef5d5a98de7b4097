//! The page in a real browser, as somebody sees it who leaves it open.
//!
//! The scenes are in `tests/browser/page`. They say what is to happen behind the page, in words that a test here turns
//! into deeds: sources fail, a pod dies.

use std::process::Stdio;

use testkit::{Venue, nats::NatsServer, process::Tickwell, require_nats, upstream::FakeUpstream};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::{
    access::KNOWN,
    harness::{DEADLINE, INTERVAL, Pod, Scene, has_price, moving_upstream, slots_pass},
    replay,
    tools::browser_script,
};

/// Plays scenes from the address of a pod on. `act` does what they ask for, and answers what they wait for.
async fn play(url: &str, scenes: &[&str], mut act: impl AsyncFnMut(&str) -> String) {
    let Some(mut script) = browser_script("page.mjs") else { return };
    let script = script.arg(url).args(scenes).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    let mut answers = script.stdin.take().unwrap();
    let mut wishes = BufReader::new(script.stdout.take().unwrap()).lines();
    while let Some(wish) = wishes.next_line().await.unwrap() {
        let answer = act(&wish).await;
        answers.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
    }
    let status = tokio::time::timeout(DEADLINE, script.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{scenes:?}: its reason is above");
}

fn set_sources_down(upstream: &FakeUpstream, down: bool) {
    for venue in Venue::DEFAULT {
        upstream.set_down(venue, down);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prices_the_chart_and_every_outage_are_seen() {
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
    // The page asks the address that it came from.
    let scene = scene.with("TICKWELL__API__LISTEN", url.strip_prefix("http://").unwrap());
    play(&url, &["prices", "chart", "outage"], async |wish| {
        match wish {
            "sources fail" => set_sources_down(&upstream, true),
            "sources recover" => set_sources_down(&upstream, false),
            "kill the pod" => pod.process.kill(),
            "start the pod" => {
                slots_pass(4, INTERVAL).await;
                pod = scene.pod("pod").await;
            }
            other => panic!("nobody knows how to {other}"),
        }
        "done".to_owned()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hands_move_it_and_it_looks_right_everywhere() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD");
    let pod = scene.standalone("only").await;
    has_price(&pod).await;
    play(&pod.url, &["hands", "looks"], async |wish| panic!("nobody knows how to {wish}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_no_price_it_says_why() {
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
    play(&first.url, &["reasons"], async |wish| {
        let command = scene.command(wish);
        pods.push(match wish {
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
            other => panic!("nobody knows how to {other}"),
        });
        pods.last().unwrap().url.clone()
    })
    .await;
}
