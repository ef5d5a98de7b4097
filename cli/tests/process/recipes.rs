//! The scripts of `just k8s-apply`, `just smoke` and `just metrics`, with a simulated cluster that each test describes.

mod stand_in;

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use testkit::require_nats;
use tokio::time::Instant;

use crate::{
    harness::{DEADLINE, INTERVAL, Pod, Scene, has_price, moving_upstream, world},
    tools::{python_beside_kubectl, workspace},
};
use stand_in::{Cluster, ended, job, unschedulable, waiting};

/// How soon a pod that cannot start must be reported, as promised in the documentation.
const REPORTED_WITHIN: Duration = Duration::from_secs(30);

const NOT_FOUND: &str =
    "Back-off pulling image \"registry.example.org/tickwell:0.1.0\": ErrImagePull: not found";

#[tokio::test]
async fn a_job_that_cannot_pull_its_image_is_reported_within_half_a_minute() {
    let pods = [json!([]), waiting("tickwell-log-x7k2p", "ImagePullBackOff", NOT_FOUND)];
    let Some(cluster) = Cluster::new(&json!({ "jobs": [job(None)], "pods": { "log": pods } })) else {
        return;
    };
    let outcome = cluster.apply(None).await;
    assert_eq!(outcome.code, Some(1), "{}", outcome.text());
    assert!(
        outcome.err.contains(&format!("tickwell-log-x7k2p: ImagePullBackOff: {NOT_FOUND}")),
        "{}",
        outcome.text()
    );
    assert!(outcome.took < REPORTED_WITHIN, "after {:?}", outcome.took);
    assert!(!outcome.applied_all(), "pollers and pods must not be applied: {}", outcome.text());
}

#[tokio::test]
async fn every_stage_reports_a_pod_that_cannot_start() {
    let stages = [
        ("nats", "statefulset/tickwell-nats", "ErrImagePull"),
        ("poller", "deployment/tickwell-poller", "CreateContainerConfigError"),
        ("api", "statefulset/tickwell-api", "CrashLoopBackOff"),
        ("smoke", "", "InvalidImageName"),
    ];
    let reported = stages.map(async |(component, workload, reason)| {
        let scene = json!({
            "jobs": [job(Some("Complete"))],
            "pods": { component: [waiting("it", reason, "for a reason")] },
            "rollouts": { workload: 60 },
        });
        let cluster = Cluster::new(&scene)?;
        let outcome = cluster.apply(Some(1)).await;
        assert_eq!(outcome.code, Some(1), "{component}: {}", outcome.text());
        let line = format!("it: {reason}: for a reason");
        assert!(outcome.err.lines().any(|it| it == line), "{component}: {}", outcome.text());
        assert!(
            outcome.took < Duration::from_secs(60),
            "the script waited for {component}: {:?}",
            outcome.took
        );
        Some(())
    });
    join_all(reported).await;
}

#[tokio::test]
async fn an_unschedulable_pod_is_reported_and_waited_for() {
    // The script keeps waiting, because an autoscaled cluster may soon add a node for the pod.
    let full = unschedulable("tickwell-log-x7k2p", "0/3 nodes are available: 3 Insufficient memory.");
    let jobs = [vec![job(None); 2], vec![job(Some("Complete"))]].concat();
    let scene = json!({ "jobs": jobs, "pods": { "log": [full], "smoke": [ended(0)] } });
    let Some(cluster) = Cluster::new(&scene) else { return };
    let outcome = cluster.apply(Some(1)).await;
    assert!(outcome.code == Some(0) && outcome.applied_all(), "{}", outcome.text());
    let reported = outcome.err.matches("Unschedulable: 0/3 nodes are available").count();
    assert_eq!(reported, 1, "{}", outcome.text());
}

#[tokio::test]
async fn a_job_whose_pods_are_refused_is_reported_with_the_reason() {
    let event = |of: &str, minute: u8, message: &str| {
        json!({
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": { "name": message, "creationTimestamp": format!("2026-11-21T10:{minute}:00Z") },
            "involvedObject": { "name": of },
            "reason": "FailedCreate",
            "message": message,
        })
    };
    let events = [
        event("tickwell-log", 12, "no PriorityClass with name tickwell-log was found"),
        event("tickwell-log", 11, "too old"),
        event("tickwell-api", 13, "exceeded quota"),
    ];
    let jobs = [vec![job(None); 2], vec![job(Some("Complete"))]].concat();
    let scene = json!({ "jobs": jobs, "events": events, "pods": { "smoke": [ended(0)] } });
    let Some(cluster) = Cluster::new(&scene) else { return };
    let outcome = cluster.apply(Some(1)).await;
    let lines: Vec<&str> = outcome.err.lines().filter(|line| line.contains("FailedCreate")).collect();
    // Each stage reports only the newest event of its own workload.
    let expected = [
        "tickwell-log: FailedCreate: no PriorityClass with name tickwell-log was found",
        "tickwell-api: FailedCreate: exceeded quota",
    ];
    assert_eq!((outcome.code, lines), (Some(0), expected.to_vec()), "{}", outcome.text());
}

#[tokio::test]
async fn a_job_that_failed_is_reported_with_what_it_logged() {
    let logs = json!({ "app.kubernetes.io/component=log": "the stream TICKS cannot be used\n" });
    let Some(cluster) = Cluster::new(&json!({ "jobs": [job(None), job(Some("Failed"))], "logs": logs }))
    else {
        return;
    };
    let outcome = cluster.apply(Some(1)).await;
    assert!(outcome.code == Some(1) && !outcome.applied_all(), "{}", outcome.text());
    assert!(outcome.err.contains("the stream TICKS cannot be used"), "{}", outcome.text());
}

#[tokio::test]
async fn an_install_without_a_price_is_a_warning_with_the_sources_reasons() {
    let logs = json!({ "pod/tickwell-smoke": "  kraken: unreachable:12\n" });
    let endings = [(0, 0, false), (3, 0, true), (1, 1, false)].map(async |(exit_code, expected, warned)| {
        let pods = json!({ "smoke": [ended(exit_code)] });
        let cluster = Cluster::new(&json!({ "jobs": [job(Some("Complete"))], "pods": pods, "logs": &logs }))?;
        let outcome = cluster.apply(Some(1)).await;
        assert_eq!(outcome.code, Some(expected), "{}", outcome.text());
        assert_eq!(outcome.err.contains("warning:"), warned, "{}", outcome.text());
        assert!(outcome.out.contains("kraken: unreachable:12"), "{}", outcome.text());
        let removed = |call: &&String| call.starts_with("delete --filename k8s/smoke.yaml");
        assert_eq!(outcome.calls.iter().filter(removed).count(), 2, "before and after: {}", outcome.text());
        // The script that runs only the smoke test exits with the smoke test's exit code, so a missing price is a
        // failure.
        let outcome = cluster.run("k8s-smoke", &[], Some(1)).await;
        assert_eq!(outcome.code, Some(exit_code), "{}", outcome.text());
        Some(())
    });
    join_all(endings).await;
}

/// Runs the commands of the smoke test on this machine, with the pods' port at `url` and the admin port closed.
async fn smoke(url: &str) -> (Option<i32>, String) {
    let python = crate::tools::python().unwrap();
    let print =
        "import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))['spec']['containers'][0]['args'][0])";
    let mut command = tokio::process::Command::new(python);
    let output = command.args(["-c", print]).arg(workspace().join("k8s/smoke.yaml")).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text
        .replace("http://tickwell-api:8080", url)
        .replace("http://tickwell-api-pods:9090", "http://127.0.0.1:1");
    let mut command = tokio::process::Command::new("sh");
    let output = command.args(["-euc", &text]).env("pause_seconds", "0.3").output().await.unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), said.concat())
}

fn is_there(program: &str) -> bool {
    let there =
        std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|path| path.join(program).exists());
    if !there {
        println!("skipped: no {program}");
    }
    there
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_smoke_test_distinguishes_a_price_no_price_yet_and_a_wrong_response() {
    if python_beside_kubectl().is_none() || !is_there("curl") {
        return;
    }
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let pod = Pod::of(scene.command("run").arg("run").start().unwrap()).await;
    has_price(&pod).await;
    let (code, said) = smoke(&pod.url).await;
    assert!(code == Some(0) && said.contains("\"pair\":\"BTC-USD\""), "{said}");

    let unreachable = ["KRAKEN", "COINBASE", "BITSTAMP"];
    let scene = unreachable.into_iter().fold(Scene::new(INTERVAL), |scene, source| {
        scene.with(&format!("TICKWELL__SOURCES__{source}__URL"), "http://127.0.0.1:1")
    });
    let process = scene.command("run").arg("run").start().unwrap();
    let pod = Pod::of(process).await;
    let (code, said) = smoke(&pod.url).await;
    assert_eq!(code, Some(3), "{said}");
    for source in unreachable {
        let reason = format!("  {}: ", source.to_lowercase());
        let line = said.lines().find(|line| line.starts_with(&reason));
        assert!(line.is_some_and(|line| line.contains("unreachable:")), "{source}: {said}");
    }

    // The path does not exist, so the pod returns 404. This status fails the smoke test at once, because waiting would
    // not change it.
    let began = Instant::now();
    let (code, said) = smoke(&format!("{}/v2", pod.url)).await;
    assert!(code == Some(1) && said.contains("404"), "{said}");
    assert!(began.elapsed() < DEADLINE / 10, "{:?}", began.elapsed());
    let (code, said) = smoke("http://127.0.0.1:1").await;
    assert!(code == Some(1) && said.contains("http://127.0.0.1:1"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_of_metrics_names_its_pod() {
    require_nats!();
    let (nats, _upstream, scene) = world().await;
    let poller = scene.poller().await;
    let pods = [scene.pod("one").await, scene.pod("other").await];
    has_price(&pods[0]).await;
    let running = |name: &str| json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": name } });
    let port = |url: &str| url.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let names = ["pod/tickwell-api-0", "pod/tickwell-api-1"];
    let scene = json!({
        "pods": { "api": [[running("tickwell-api-0"), running("tickwell-api-1")]], "nats": [[running("tickwell-nats-0")]] },
        "ports": { names[0]: port(&pods[0].url), names[1]: port(&pods[1].url), "pod/tickwell-nats-0": nats.monitor_port() },
    });
    let Some(cluster) = Cluster::new(&scene) else { return };
    let outcome = cluster.run("k8s-metrics", &["api"], None).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    for name in names {
        let line = format!("[{name}] tickwell_nats_denials_total 0");
        assert!(outcome.out.lines().any(|it| it == line), "{}", outcome.text());
    }
    assert!(outcome.out.lines().all(|line| line.starts_with("[pod/tickwell-api-")), "{}", outcome.text());

    for who in ["nats", "pod/tickwell-nats-0"] {
        let outcome = cluster.run("k8s-metrics", &[who], None).await;
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
        for figure in ["{\"status\":\"ok\"}", "version \"", "name \"TICKS\"", "last_seq "] {
            let line = format!("[pod/tickwell-nats-0]   {figure}");
            assert!(outcome.out.lines().any(|it| it.starts_with(&line)), "{figure}: {}", outcome.text());
        }
    }
    drop(poller);
}
