//! Pods behind nginx and Caddy, which remove a prefix of the path. Their configurations are those of `docs/proxies.md`.

mod servers;

use std::{net::IpAddr, time::Duration};

use serde_json::{Value, json};
use testkit::{nats::NatsServer, require_nats};
use tokio::time::timeout;

use crate::{
    author::Author,
    commands::run,
    harness::{DEADLINE, INTERVAL, Pod, Scene, has_price, moving_upstream},
    page::play,
    stream_client::{Heard, Stream, Transport},
};
use servers::{PREFIX, Proxy};

/// Every way in which events are sent.
const ALL: [Transport; 3] = [Transport::Sse, Transport::Lines, Transport::Socket];

/// Headers with which a client pretends to have another address. The first one is none.
const FORGED: [&str; 4] = ["", "X-Forwarded-For: 9.9.9.9", "Forwarded: for=9.9.9.9", "X-Real-IP: 9.9.9.9"];

/// 1 October 2026.
const FIRST_SLOT: i64 = 1_790_812_800_000;

fn client() -> reqwest::Client {
    let redirect = reqwest::redirect::Policy::none();
    reqwest::Client::builder().no_proxy().no_gzip().timeout(DEADLINE).redirect(redirect).build().unwrap()
}

/// A pod whose log is written by the test, so that nothing happens unless the test wants it.
async fn quiet() -> (NatsServer, Author, Pod) {
    let nats = NatsServer::start().await.unwrap();
    let mut author = Author::begin(&nats, 3, &["BTC-USD"], FIRST_SLOT).await;
    author.write(10).await;
    let scene = Scene::new(Duration::from_secs(60)).over(&nats);
    let pod = scene.pod("pod").await;
    pod.reaches(author.last()).await;
    (nats, author, pod)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_behind_nginx_under_a_prefix() {
    require_nats!();
    let (_nats, mut author, pod) = quiet().await;
    let Some(nginx) = Proxy::nginx(&pod.url).await else { return };
    addresses_lead_to_the_pod(&pod, &nginx).await;
    events_arrive_one_by_one(&nginx, &mut author, &ALL).await;
    commands_work(&pod, &nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_behind_caddy_under_a_prefix() {
    require_nats!();
    let (_nats, mut author, pod) = quiet().await;
    let Some(caddy) = Proxy::caddy(&pod.url).await else { return };
    addresses_lead_to_the_pod(&pod, &caddy).await;
    events_arrive_one_by_one(&caddy, &mut author, &ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_nginx_with_default_settings_does_not_hold_events_back() {
    require_nats!();
    let (_nats, mut author, pod) = quiet().await;
    // By default, nginx buffers responses, and forwards requests as HTTP/1.0, with which it cannot tell where a piece of
    // a response ends.
    let Some(nginx) = Proxy::nginx_with_defaults(&pod.url).await else { return };
    events_arrive_one_by_one(&nginx, &mut author, &[Transport::Sse, Transport::Lines]).await;
}

/// Follows every kind of address that a pod writes.
async fn addresses_lead_to_the_pod(pod: &Pod, proxy: &Proxy) {
    let client = client();
    let get = async |url: reqwest::Url| client.get(url).send().await.unwrap();
    let root: reqwest::Url = format!("{}/", proxy.url).parse().unwrap();

    // Without the slash at the end, the page's addresses would be wrong.
    let redirect = get(proxy.url.parse().unwrap()).await;
    assert!(redirect.status().is_redirection(), "{redirect:?}");
    let location = redirect.headers()["location"].to_str().unwrap();
    assert_eq!(root.join(PREFIX).unwrap().join(location).unwrap(), root);

    for page in ["", "docs/errors"] {
        let at = root.join(page).unwrap();
        let text = get(at.clone()).await.text().await.unwrap();
        let links =
            text.split("href=\"").chain(text.split(" src=\"")).filter_map(|part| part.split_once('"'));
        let links: Vec<&str> = links.map(|(link, _)| link).filter(|link| link.contains('.')).collect();
        assert!(!links.is_empty(), "{text}");
        for link in links {
            let target = at.join(link).unwrap();
            assert_eq!(get(target.clone()).await.status(), 200, "{target}");
        }
    }

    let at = root.join("openapi.json").unwrap();
    let document: Value = get(at.clone()).await.json().await.unwrap();
    let server = at.join(document["servers"][0]["url"].as_str().unwrap()).unwrap();
    assert_eq!(server, root);
    for link in document["info"]["description"].as_str().unwrap().split("](").skip(1) {
        let link = at.join(link.split(')').next().unwrap()).unwrap();
        assert_eq!(get(link.clone()).await.status(), 200, "{link}");
    }

    for list in ["history?", "gaps?", "candles?interval=1m&"] {
        let path = format!("v1/prices/BTC-USD/{list}order=asc&limit=3");
        let all = pod.get(&format!("/{}", path.replace("limit=3", "limit=1000"))).await.found();
        let (mut found, mut next) = (Vec::new(), root.join(&path).unwrap());
        loop {
            let response = get(next.clone()).await;
            assert_eq!(response.status(), 200, "{next}");
            let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
            let page: Value = response.json().await.unwrap();
            found.extend_from_slice(page["items"].as_array().unwrap());
            let Some(link) = link else { break };
            next = next.join(link.split(['<', '>']).nth(1).unwrap()).unwrap();
        }
        assert_eq!(Value::from(found), all["items"], "{list}");
    }

    let coin: Value = get(root.join("api/v3/simple/price?ids=bitcoin&vs_currencies=usd").unwrap())
        .await
        .json()
        .await
        .unwrap();
    let price = pod.get("/v1/prices/BTC-USD").await.found()["price"].as_str().unwrap().to_owned();
    assert_eq!(coin["bitcoin"]["usd"].as_f64(), price.parse().ok(), "{coin}");
}

/// Each event must arrive although no further event pushes it out of a buffer of the proxy.
async fn events_arrive_one_by_one(proxy: &Proxy, author: &mut Author, transports: &[Transport]) {
    for transport in transports {
        // A proxy that holds events back holds the head of the response back, too, so that this times out.
        let opened = timeout(DEADLINE, Stream::open(&proxy.url, *transport, "", None)).await;
        let mut stream = opened.unwrap().unwrap();
        arrives(&mut stream, author.last()).await;
        for _ in 0..2 {
            author.write(1).await;
            arrives(&mut stream, author.last()).await;
        }
    }
}

/// Waits for the event with this sequence, which is the newest one.
async fn arrives(stream: &mut Stream, sequence: u64) {
    loop {
        match timeout(DEADLINE, stream.next()).await.unwrap() {
            Some(Heard::Event(event)) if event["sequence"] == sequence => return,
            Some(Heard::Event(_) | Heard::Heartbeat) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The address with the prefix is the base address of our own commands.
async fn commands_work(pod: &Pod, proxy: &Proxy) {
    let folder = tempfile::tempdir().unwrap();
    let behind = format!("{}/", proxy.url);
    for command in ["price BTC-USD --at 2026-10-01T00:05:00Z", "export --pair BTC-USD"] {
        let said = async |url: &str| {
            let arguments: Vec<&str> = command.split(' ').chain(["--url", url]).collect();
            let (code, said) = run(folder.path(), &arguments, &[]).await;
            assert_eq!(code, Some(0), "{command}: {said}");
            said.lines().filter(|line| line.contains("2026-10-01")).map(str::to_owned).collect::<Vec<_>>()
        };
        let (direct, behind) = (said(&pod.url).await, said(&behind).await);
        assert!(direct == behind && !direct.is_empty(), "{direct:#?} {behind:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_each_client_has_its_own_rate_limit_and_cannot_forge_another() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL)
        .asking(&upstream)
        .with("TICKWELL__API__TRUSTED_PROXIES", "127.0.0.1")
        .with("TICKWELL__API__RATE_LIMIT", "4/m");
    let pod = scene.standalone("pod").await;
    let Some(nginx) = Proxy::nginx(&pod.url).await else { return };
    let from = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        reqwest::Client::builder().no_proxy().local_address(address).timeout(DEADLINE).build().unwrap()
    };
    let ask = async |client: &reqwest::Client, url: &str, forged: &str| {
        let request = client.get(format!("{url}/v1/pairs"));
        let request = match forged.split_once(": ") {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        let response = request.send().await.unwrap();
        let left = response.headers().get("ratelimit").map(|left| left.to_str().unwrap().to_owned());
        (response.status().as_u16(), left.unwrap_or_default())
    };
    let [one, other] = ["127.0.0.2", "127.0.0.3"].map(from);
    // Nothing that a client sends makes it another client, neither through the proxy nor directly.
    for (client, url) in [(&one, &nginx.url), (&from("127.0.0.4"), &pod.url)] {
        let mut refused = [false; FORGED.len()];
        for attempt in 0..100 {
            let at = attempt % FORGED.len();
            refused[at] |= ask(client, url, FORGED[at]).await.0 == 429;
        }
        assert_eq!(refused, [true; FORGED.len()], "{url}: {FORGED:?}");
    }
    let (status, left) = ask(&other, &nginx.url, "").await;
    assert!(status == 200 && left.contains("r=3"), "{status} {left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_headers_of_a_proxy_change_nothing() {
    require_nats!();
    let (_nats, _author, pod) = quiet().await;
    let client = client();
    for path in ["/", "/docs", "/openapi.json", "/v1/prices/BTC-USD/history?limit=1", "/v1/prices/X-Y"] {
        let plain = client.get(format!("{}{path}", pod.url));
        let dressed = client
            .get(format!("{}{path}", pod.url))
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "example.org")
            .header("X-Forwarded-Port", "8443")
            .header("X-Forwarded-Prefix", "/other")
            .header("Forwarded", "for=192.0.2.1;proto=https;host=example.org");
        let mut seen = Vec::new();
        for request in [plain, dressed] {
            // Problems have an id of the request, which is taken from this header.
            let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            let response = request.header("traceparent", trace).send().await.unwrap();
            let link = response.headers().get("link").cloned();
            seen.push(json!([
                response.status().as_u16(),
                link.map(|link| link.to_str().unwrap().to_owned()),
                response.text().await.unwrap()
            ]));
        }
        assert_eq!(seen[0], seen[1], "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_and_swagger_ui_work_behind_nginx_under_a_prefix() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD");
    let pod = scene.standalone("only").await;
    has_price(&pod).await;
    let Some(nginx) = Proxy::nginx(&pod.url).await else { return };
    play(&nginx.url, &["prefix"], async |request| panic!("unknown request: {request}")).await;
}
