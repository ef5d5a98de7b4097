//! The page in a real browser, as somebody sees it who leaves it open.
//!
//! The scenes are in `tests/browser/page`. They say what is to happen behind the page, in words that a test here turns
//! into deeds: sources fail, a pod dies.

use std::process::Stdio;

use testkit::{Venue, nats::NatsServer, process::Tickwell, require_nats, upstream::FakeUpstream};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::{
    harness::{DEADLINE, INTERVAL, Scene, has_price, moving_upstream, slots_pass},
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
