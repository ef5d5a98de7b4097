//! `tickwell healthcheck`, as a container engine runs it: next to the process, with the same settings.

use testkit::{Venue, require_nats, wait_until};
use tokio::net::TcpListener;

use crate::{
    backup::operators,
    commands::run,
    harness::{DEADLINE, INTERVAL, Scene, has_price, moving_upstream, world},
};

/// Runs the health check of the process at `url`. The command gets the process's address from `setting`. Returns the
/// exit code and the output.
async fn check(setting: &str, url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let address = url.strip_prefix("http://").unwrap();
    // The check must ignore the proxy settings of the environment.
    let environment = [(setting, address), ("http_proxy", "http://127.0.0.1:1")];
    run(folder.path(), &[&["healthcheck"], arguments].concat(), &environment).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_can_be_alive_but_not_ready() {
    require_nats!();
    let (_nats, _upstream, scene) = world().await;
    let scene = scene.with("TICKWELL__ADMIN__LISTEN", "127.0.0.1:0");
    // No poller has created the stream yet, so the pod waits for it.
    let pod = scene.waiting_pod("pod").await;
    pod.process.wait_for_line(|line| line.contains("there is no stream TICKS"), DEADLINE).await.unwrap();
    let admin = operators(&pod.process).await;
    for (setting, url) in [("TICKWELL__API__LISTEN", &pod.url), ("TICKWELL__ADMIN__LISTEN", &admin)] {
        assert_eq!(check(setting, url, &[]).await, (Some(0), format!("{url} is alive")));
        let (code, said) = check(setting, url, &["--ready"]).await;
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains(&format!("{url} is not ready: log: ")), "{said}");
    }

    let poller = scene.poller().await;
    has_price(&pod).await;
    for url in [&admin, &pod.url, &operators(&poller).await] {
        assert_eq!(
            check("TICKWELL__ADMIN__LISTEN", url, &["--ready"]).await,
            (Some(0), format!("{url} is ready"))
        );
        // With --url, the settings are not used.
        let checked = check("TICKWELL__ADMIN__LISTEN", "http://127.0.0.1:1", &["--url", url]).await;
        assert_eq!(checked, (Some(0), format!("{url} is alive")));
    }
}

#[tokio::test]
async fn the_check_fails_in_time_if_the_process_hangs_is_not_running_or_is_not_tickwell() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = format!("http://{}", silent.local_addr().unwrap());
    let other = testkit::upstream::FakeUpstream::start(
        std::sync::Arc::new(testkit::market::WalkMarket::new(7, DEADLINE).unwrap()),
        "127.0.0.1:0",
    )
    .await
    .unwrap();
    for (url, reason) in
        [(hangs.as_str(), "timed out"), ("http://127.0.0.1:1", "admin.listen"), (&other.url(), "/livez")]
    {
        let (code, said) = check("TICKWELL__API__LISTEN", url, &[]).await;
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains(url) && said.contains(reason), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_ready_but_the_check_fails_until_there_has_been_a_price() {
    let upstream = moving_upstream(INTERVAL).await;
    Venue::USD_EXCHANGES.into_iter().for_each(|venue| upstream.set_down(venue, true));
    let pod = Scene::new(INTERVAL).asking(&upstream).standalone("only").await;
    // Once the pod has a record, it is ready: it can say why there is no price.
    wait_until("the pod is ready", DEADLINE, async || (pod.get("/readyz").await.status == 200).then_some(()))
        .await;
    assert_eq!(check("TICKWELL__API__LISTEN", &pod.url, &[]).await.0, Some(0));
    let (code, said) = check("TICKWELL__API__LISTEN", &pod.url, &["--ready"]).await;
    assert!(code == Some(1) && said.contains("prices: no price has been agreed yet"), "{said}");

    Venue::USD_EXCHANGES.into_iter().for_each(|venue| upstream.set_down(venue, false));
    has_price(&pod).await;
    let ready = (Some(0), format!("{} is ready", pod.url));
    assert_eq!(check("TICKWELL__API__LISTEN", &pod.url, &["--ready"]).await, ready);

    // Later, the check passes also without sources, because the pod has a price.
    Venue::USD_EXCHANGES.into_iter().for_each(|venue| upstream.set_down(venue, true));
    let gap = async || (pod.get("/readyz?verbose").await.text().contains("too_few_sources")).then_some(());
    wait_until("the sources are down", DEADLINE, gap).await;
    assert_eq!(check("TICKWELL__API__LISTEN", &pod.url, &["--ready"]).await, ready);
}
