//! `tickwell verify-pods` with real pods.

use testkit::require_nats;

use crate::{
    harness::{DEADLINE, Scene, has_price, world},
    nats_stream::{change, operator},
    survival::end,
};

/// Runs the command. Returns its exit code and its output.
async fn verify(scene: &Scene, pods: &[&str]) -> (Option<i32>, String) {
    let mut process = scene.command("unused").arg("verify-pods").args(pods).start().unwrap();
    let code = process.wait_exit(DEADLINE).await.unwrap().code();
    (code, process.lines().join("\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_one_log_agree_and_one_that_differs_is_reported() {
    require_nats!();
    let (nats, _upstream, scene) = world().await;
    let mut poller = scene.poller().await;
    let (one, other) = (scene.pod("one").await, scene.pod("other").await);
    for pod in [&one, &other] {
        has_price(pod).await;
    }
    one.takes_in(6).await;

    // Compare the pods while records arrive.
    let (code, said) = verify(&scene, &[&one.url, &other.url]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" 0 differing, 0 skipped"), "{said}");
    let document = one.get("/openapi.json").await.found();
    // Event streams have no end, and each ticket is different, so they cannot be compared.
    let ends = |path: &&String| !["/v1/stream", "/v1/tickets"].contains(&path.as_str());
    let paths = document["paths"].as_object().unwrap().keys().filter(|path| path.starts_with("/v1/"));
    for path in paths.filter(ends) {
        let asked = path.replace("{pair}", "BTC-USD").replace("{sequence}", "1");
        assert!(said.contains(&format!("same     {asked}")), "{path} is not compared: {said}");
    }

    // The third pod starts after the log has dropped records that the others still have.
    change(&operator(&nats).await, |config| config.max_messages = 4).await;
    let late = scene.pod("late").await;
    has_price(&late).await;
    end(&mut poller).await;
    let (code, said) = verify(&scene, &[&one.url, &other.url, &late.url]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.lines().any(|line| line.starts_with("DIFFERS  /v1/ticks/")), "{said}");
    assert!(said.contains("same     /v1/prices/BTC-USD\n"), "{said}");
    assert!(!said.contains("\n             B  "), "{said}");
    assert!(said.contains("\n             C  "), "{said}");
    let mut gone = other;
    gone.process.kill();
    let (code, said) = verify(&scene, &[&one.url, &gone.url]).await;
    assert!(code == Some(2) && said.contains(&gone.url), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_different_logs_are_not_compared() {
    require_nats!();
    let (ours, theirs) = (world().await, world().await);
    let mut pods = Vec::new();
    for (_nats, _upstream, scene) in [&ours, &theirs] {
        let poller = scene.poller().await;
        let pod = scene.pod("pod").await;
        has_price(&pod).await;
        pods.push((poller, pod));
    }
    let (code, said) = verify(&ours.2, &[&pods[0].1.url, &pods[1].1.url]).await;
    assert!(code == Some(2) && said.contains("follow different logs"), "{said}");
    assert!(pods.iter().all(|(_, pod)| said.contains(&pod.url)), "{said}");
}
