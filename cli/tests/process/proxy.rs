//! Asks sources through a proxy, with hosts that do not exist for anyone but the proxy.

use std::net::SocketAddr;

use testkit::{
    Venue,
    proxy::{FakeProxy, Protocol},
    upstream::FakeUpstream,
};

use crate::{
    backup::operators,
    harness::{DEADLINE, INTERVAL, Scene, has_price, moving_upstream},
    sources::{cells, sources},
};

const PASSWORD: &str = "hunter2";

fn address(upstream: &FakeUpstream) -> SocketAddr {
    upstream.url().strip_prefix("http://").unwrap().parse().unwrap()
}

/// A scene whose sources have names that only a proxy can resolve. The names are reserved (RFC 2606).
fn hidden(upstream: &FakeUpstream, venues: &[Venue]) -> Scene {
    let scene = Scene::new(INTERVAL).asking(upstream);
    venues.iter().fold(scene, |scene, venue| {
        let variable = format!("TICKWELL__SOURCES__{}__URL", venue.name().to_uppercase());
        scene.with(&variable, &format!("http://{venue}.invalid/{venue}"))
    })
}

/// The hosts that were asked for, each once.
fn hosts(proxy: &FakeProxy) -> Vec<String> {
    let mut hosts: Vec<String> = proxy.seen().into_iter().map(|proxied| proxied.host).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_source_is_asked_through_its_proxy_and_the_password_is_never_shown() {
    let upstream = moving_upstream(INTERVAL).await;
    for (scheme, protocol, sent) in
        [("http", Protocol::Forward, "Basic bWU6aHVudGVyMg=="), ("socks5h", Protocol::Socks5, "me:hunter2")]
    {
        let proxy = FakeProxy::start(address(&upstream)).await.unwrap();
        let url = format!("{scheme}://me:{PASSWORD}@{}", proxy.address());
        let scene = hidden(&upstream, &[Venue::Kraken])
            .with("TICKWELL__SOURCES__KRAKEN__PROXY", &url)
            // Everything is logged, including what the HTTP libraries log.
            .with("TICKWELL__LOG__LEVEL", "trace,reqwest=trace,hyper=trace,hyper_util=trace");
        let pod = scene.standalone("only").await;
        has_price(&pod).await;
        let sequence = pod.get("/v1/prices/BTC-USD").await.json()["sequence"].clone();
        let record = pod.get(&format!("/v1/ticks/{sequence}")).await.json();
        let quotes = record["quotes"].as_array().unwrap();
        assert!(quotes.iter().all(|quote| quote["verdict"] == "used"), "{record}");
        assert_eq!(quotes.len(), 3);
        assert_eq!(hosts(&proxy), ["kraken.invalid"], "the others are asked directly");
        let first = proxy.seen().into_iter().next().unwrap();
        assert_eq!((first.protocol, first.credentials.as_deref()), (protocol, Some(sent)));
        for line in pod.process.lines() {
            assert!(!line.contains(PASSWORD) && !line.contains(sent), "{line}");
        }

        let mut shown = scene.command("shown").args(["config", "show"]).start().unwrap();
        assert!(shown.wait_exit(DEADLINE).await.unwrap().success());
        let shown = shown.lines().join("\n");
        assert!(shown.contains("[redacted]@127.0.0.1") && !shown.contains(PASSWORD), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_for_all_sources_is_not_used_for_this_machine_or_for_sources_that_turn_it_off() {
    let upstream = moving_upstream(INTERVAL).await;
    let proxy = FakeProxy::start(address(&upstream)).await.unwrap();
    let url = format!("http://me:{PASSWORD}@{}", proxy.address());
    let scene = hidden(&upstream, &[Venue::Kraken, Venue::Coinbase])
        .with("TICKWELL__SOURCES__PROXY", &url)
        .with("TICKWELL__SOURCES__COINBASE__PROXY", "off");
    let (succeeded, shown) = sources(&scene, &[]).await;
    assert!(!succeeded);
    assert!(cells(&shown, &["kraken", "BTC-USD"])[4].starts_with("last"), "{shown}");
    assert_eq!(cells(&shown, &["coinbase", "BTC-USD"])[4], "dns", "{shown}");
    // The list of markets, and the price.
    assert_eq!(upstream.requests_to(Venue::Bitstamp).len(), 2, "{shown}");
    assert_eq!(hosts(&proxy), ["kraken.invalid"]);
    assert!(shown.contains(" through http://[redacted]@127.0.0.1:") && !shown.contains(PASSWORD), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_cannot_be_used_is_refused_or_named() {
    let upstream = moving_upstream(INTERVAL).await;
    for setting in ["sources.proxy", "sources.kraken.proxy"] {
        let wrong = format!("{setting}=ftp://me:{PASSWORD}@proxy.example");
        let (succeeded, said) = sources(&Scene::new(INTERVAL), &["--no-probe", "--set", &wrong]).await;
        assert!(!succeeded && said.contains(&format!("{setting}: must be")), "{said}");
        assert!(!said.contains(PASSWORD), "{said}");
    }
    // Port 1 is reserved, and nothing listens there.
    let dead = format!("sources.proxy=http://me:{PASSWORD}@127.0.0.1:1");
    let (succeeded, said) = sources(&hidden(&upstream, &[Venue::Kraken]), &["--set", &dead]).await;
    assert!(!succeeded);
    assert_eq!(cells(&said, &["kraken", "BTC-USD"])[4], "unreachable", "{said}");
    assert!(said.contains("sources.proxy") && !said.contains(PASSWORD), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn environment_variables_name_a_proxy_unless_a_setting_does() {
    let upstream = moving_upstream(INTERVAL).await;
    let proxy = FakeProxy::start(address(&upstream)).await.unwrap();
    let url = format!("http://me:{PASSWORD}@{}", proxy.address());
    let scene = || hidden(&upstream, &[Venue::Kraken]).with("HTTP_PROXY", &url);
    let verdict = async |scene: Scene| {
        let (_, shown) = sources(&scene, &[]).await;
        assert!(!shown.contains(PASSWORD), "{shown}");
        cells(&shown, &["kraken", "BTC-USD"])[4].to_owned()
    };
    assert_eq!(verdict(scene().with("NO_PROXY", "kraken.invalid")).await, "dns");
    assert_eq!(verdict(scene().with("TICKWELL__SOURCES__PROXY", "off")).await, "dns");
    let dead = "http://127.0.0.1:1";
    assert_eq!(verdict(scene().with("TICKWELL__SOURCES__KRAKEN__PROXY", dead)).await, "unreachable");
    assert_eq!(proxy.seen(), []);
    let price = verdict(scene()).await;
    assert!(price.starts_with("last"), "{price}");
    // The other sources are on this machine.
    assert_eq!(hosts(&proxy), ["kraken.invalid"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_reach_pods_without_a_proxy() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__ADMIN__LISTEN", "127.0.0.1:0");
    let pod = scene.standalone("only").await;
    has_price(&pod).await;
    let admin_url = operators(&pod.process).await;
    let proxy = FakeProxy::start(address(&upstream)).await.unwrap();
    let url = format!("http://{}", proxy.address());
    let pod_url = pod.url.as_str();
    let command = |arguments: &[&str]| {
        scene.command("other").args(arguments.iter().copied()).env("HTTP_PROXY", &url).env("ALL_PROXY", &url)
    };
    let watch = command(&["watch", "BTC-USD", "--json", "--url", pod_url]).start().unwrap();
    watch.wait_for_line(|line| line.contains("BTC-USD"), DEADLINE).await.unwrap();
    assert_eq!(proxy.seen(), []);
    for arguments in [
        &["healthcheck", "--url", pod_url] as &[&str],
        &["export", "--pair", "BTC-USD", "--url", pod_url],
        &["verify-pods", pod_url, pod_url],
        &["recompute", "1", "--url", pod_url],
        &["backup", "--from", &admin_url, "--output", "backup"],
    ] {
        let mut process = command(arguments).start().unwrap();
        let status = process.wait_exit(DEADLINE).await.unwrap();
        assert!(status.success(), "{arguments:?}: {:?}", process.lines());
        assert_eq!(proxy.seen(), [], "{arguments:?}");
    }
}
