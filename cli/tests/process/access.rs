//! Commands that send requests to a pod that requires an API key.

use testkit::{process::Tickwell, require_nats};

use crate::{
    commands::run,
    harness::{BINARY, DEADLINE, Pod, Scene, has_price, world},
};

/// The key that [`KNOWN`] contains.
pub(crate) const KEY: &str = "foo";

/// [`KEY`] as it is written in `api.keys`.
pub(crate) const KNOWN: &str = "team=2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// The commands that send requests with an API key, except `watch`, which does not exit.
fn commands(one: &str, keyed: &str) -> [Vec<String>; 3] {
    let words = |line: String| line.split(' ').map(str::to_owned).collect();
    [
        words(format!("export --pair BTC-USD --url {keyed}")),
        words(format!("recompute 1 --url {keyed}")),
        words(format!("verify-pods {one} {keyed}")),
    ]
}

async fn said(
    scene: &Scene,
    command: &[String],
    more: &[&str],
    environment: &[(&str, &str)],
) -> (Option<i32>, String) {
    let arguments: Vec<&str> = command.iter().map(String::as_str).chain(more.iter().copied()).collect();
    run(scene.folder(), &arguments, environment).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_send_the_key_that_a_pod_requires() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let _poller = scene.poller().await;
    let one = scene.pod("one").await;
    let keyed =
        Pod::of(scene.command("keyed").env("TICKWELL__API__KEYS", KNOWN).arg("api").start().unwrap()).await;
    has_price(&one).await;
    // With the key, `watch` prints a price.
    let watching = Tickwell::command(BINARY, scene.folder())
        .args(["watch", "BTC-USD", "--json", "--url", &keyed.url])
        .env("TICKWELL_API_KEY", KEY);
    let watching = watching.start().unwrap();
    watching.wait_for_line(|line| line.contains("\"price\""), DEADLINE).await.unwrap();

    let file = scene.folder().join("key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let file = file.to_str().unwrap();
    let watch: Vec<String> = ["watch", "BTC-USD", "--url", &keyed.url].map(str::to_owned).into();
    for command in commands(&one.url, &keyed.url) {
        let (code, said_with) = said(&scene, &command, &[], &[("TICKWELL_API_KEY", KEY)]).await;
        assert_eq!(code, Some(0), "{command:?}: {said_with}");
        // The key in the file overrides the key in the environment variable, which is not valid here.
        let (code, said_with) =
            said(&scene, &command, &["--key-file", file], &[("TICKWELL_API_KEY", "bar")]).await;
        assert_eq!(code, Some(0), "{command:?}: {said_with}");
    }
    for command in commands(&one.url, &keyed.url).into_iter().chain([watch]) {
        let (code, without) = said(&scene, &command, &[], &[]).await;
        assert!(code != Some(0) && without.contains("API key"), "{command:?}: {without}");
        for way in ["TICKWELL_API_KEY", "--key-file"] {
            assert!(without.contains(way), "{way} in: {without}");
        }
        let (code, wrong) = said(&scene, &command, &[], &[("TICKWELL_API_KEY", "wrong-one")]).await;
        assert!(
            code != Some(0) && wrong.contains("API key") && wrong.contains("not valid"),
            "{command:?}: {wrong}"
        );
        assert!(!wrong.contains("wrong-one"), "{wrong}");
    }
    let known = keyed.process.lines().join("\n");
    assert!(!known.contains("Bearer") && !known.contains("wrong-one"), "{known}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_with_a_path_is_an_error_with_a_remedy() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let _poller = scene.poller().await;
    let pod = scene.pod("one").await;
    let url = format!("{}/v1", pod.url);
    let watch: Vec<String> = ["watch", "BTC-USD", "--url", &url].map(str::to_owned).into();
    for command in commands(&pod.url, &url).into_iter().chain([watch]) {
        let (code, said) = said(&scene, &command, &[], &[]).await;
        assert!(code != Some(0), "{command:?}: {said}");
        assert!(said.contains("remove /v1 from") && said.contains(&pod.url), "{command:?}: {said}");
    }
}
