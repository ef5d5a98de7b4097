//! `tickwell sources`, and the keys of sources, which must only be sent to their own source.

use std::sync::{Arc, Mutex};

use rust_decimal::Decimal;
use testkit::{Venue, process::Tickwell, upstream::LoggedRequest, wait_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::harness::{BINARY, DEADLINE, INTERVAL, Scene, field, has_event, moving_upstream};

const KEY: &str = "CG-nobody-may-see-this";

/// Runs the command. Returns whether it succeeded, and its output.
pub(crate) async fn sources(scene: &Scene, arguments: &[&str]) -> (bool, String) {
    let mut process = scene.command("none").arg("sources").args(arguments).start().unwrap();
    let status = process.wait_exit(DEADLINE).await.unwrap();
    (status.success(), process.lines().join("\n"))
}

/// The cells of the row that starts with these cells.
pub(crate) fn cells<'a>(text: &'a str, start: &[&str]) -> Vec<&'a str> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .into_iter()
        .find(|cells| cells.starts_with(start))
        .unwrap_or_else(|| panic!("no {start:?} in {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_source_is_listed_and_polled_once() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD");

    let (succeeded, shown) = sources(&scene, &["--no-probe"]).await;
    assert!(succeeded, "{shown}");
    assert_eq!(cells(&shown, &["coinbase"])[1..4], ["primary", "2", "240"], "{shown}");
    assert!(shown.contains("coingecko"), "other known sources are listed: {shown}");
    assert_eq!(upstream.requests_to(Venue::Kraken).len(), 0, "--no-probe must not send requests");

    let (succeeded, asked) = sources(&scene, &[]).await;
    assert!(succeeded, "{asked}");
    for source in ["kraken", "coinbase", "bitstamp"] {
        for pair in ["BTC-USD", "ETH-USD"] {
            let cells = cells(&asked, &[source, pair]);
            assert_eq!((cells[4], cells[6], cells[8]), ("last", "bid", "ask"), "{asked}");
            let price = |cell: usize| cells[cell].trim_end_matches(',').parse::<Decimal>().unwrap();
            assert!(price(7) < price(5) && price(5) < price(9), "{asked}");
        }
    }
    let paths: Vec<String> =
        upstream.requests_to(Venue::Kraken).into_iter().map(|request| request.path_and_query).collect();
    assert_eq!(paths, ["/0/public/AssetPairs", "/0/public/Ticker?pair=XBTUSD,ETHUSD"]);

    upstream.set_down(Venue::Bitstamp, true);
    let (succeeded, asked) = sources(&scene, &[]).await;
    assert!(!succeeded, "{asked}");
    assert_eq!(cells(&asked, &["bitstamp", "BTC-USD"])[4], "http_5xx", "{asked}");
    assert!(asked.contains("no price from bitstamp"), "{asked}");
}

/// Starts a server that responds like CoinGecko. Returns its URL and the requests that it receives.
async fn listening() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap_or(0);
            seen.lock().unwrap().push(String::from_utf8_lossy(&head[..length]).into_owned());
            let seconds = testkit::clock::now_ms() / 1_000;
            let body = format!(r#"{{"bitcoin":{{"usd":97012.3,"last_updated_at":{seconds}}}}}"#);
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    (url, requests)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_only_sent_to_its_source() {
    let (url, requests) = listening().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let scene = Scene::new(INTERVAL)
        .with("TICKWELL__FEED__SOURCES", "coingecko")
        .with("TICKWELL__AGGREGATE__MIN_SOURCES", "1")
        .with("TICKWELL__SOURCES__COINGECKO__ROLE", "primary")
        .with("TICKWELL__SOURCES__COINGECKO__URL", &url)
        .with("TICKWELL__LOG__LEVEL", "trace");
    for (setting, value) in [("KEY", KEY), ("KEY_FILE", file.to_str().unwrap())] {
        let run = || scene.command("only").env(format!("TICKWELL__SOURCES__COINGECKO__{setting}"), value);
        let before = requests.lock().unwrap().len();
        let mut process = run().arg("run").start().unwrap();
        wait_until("a few requests", DEADLINE, async || {
            (requests.lock().unwrap().len() > before + 3).then_some(())
        })
        .await;
        process.signal("TERM").unwrap();
        process.wait_exit(DEADLINE).await.unwrap();
        let header = format!("x-cg-demo-api-key: {KEY}\r\n");
        // A connection that was closed before anything was sent is recorded as an empty request.
        let requests = requests.lock().unwrap()[before..].to_vec();
        assert!(requests.iter().all(|request| request.is_empty() || request.contains(&header)));
        unseen(&process.lines());
        for arguments in [["sources"].as_slice(), &["config", "show"], &["config", "check"]] {
            let mut process = run().args(arguments).start().unwrap();
            assert!(process.wait_exit(DEADLINE).await.unwrap().success(), "{:?}", process.lines());
            unseen(&process.lines());
        }
    }
}

#[tokio::test]
async fn no_error_contains_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[feed]\nsources = [\"coingecko\"]\n[sources.coingecko]\nkey = \"{KEY}\n");
    std::fs::write(folder.path().join("broken.toml"), text).unwrap();
    let set = |name: &str| format!("sources.{name}={KEY}");
    let asked = "feed.sources=coingecko";
    for arguments in [
        vec!["--config".to_owned(), "broken.toml".to_owned()],
        vec!["--set".to_owned(), set("coingecko.keyy")],
        vec!["--set".to_owned(), set("kraken.key")],
        vec!["--set".to_owned(), set("coingecko.key") + "\n", "--set".to_owned(), asked.to_owned()],
        vec![
            "--set".to_owned(),
            set("coingecko.key"),
            "--set".to_owned(),
            asked.to_owned(),
            "--set".to_owned(),
            "sources.coingecko.url=http://10.0.0.1".to_owned(),
        ],
    ] {
        let command = Tickwell::command(BINARY, folder.path()).args(&arguments).arg("run");
        let mut process = command.start().unwrap();
        assert!(!process.wait_exit(DEADLINE).await.unwrap().success(), "{arguments:?} was accepted");
        unseen(&process.lines());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_down_is_polled_less_often_and_logged_once() {
    let upstream = moving_upstream(INTERVAL).await;
    upstream.set_down(Venue::Bitstamp, true);
    let pod = Scene::new(INTERVAL).asking(&upstream).standalone("only").await;
    let rests = async || pod.metric("tickwell_source_resting{source=\"bitstamp\"}").await == 1;
    // Wait for four requests: the first failure, the retry, and two more attempts, each after a longer rest.
    let polls = |venue: Venue| {
        let is_for_prices =
            |request: &&LoggedRequest| request.path_and_query.to_lowercase().contains("ticker");
        upstream.requests_to(venue).iter().filter(is_for_prices).count()
    };
    let asked = async || (polls(Venue::Bitstamp) >= 4 && rests().await).then_some(());
    wait_until("the source rests", DEADLINE, asked).await;
    let (asked, others) = (polls(Venue::Bitstamp), polls(Venue::Kraken));
    assert!(others >= asked + 3, "the source that is down was polled {asked} times in {others} slots");
    assert_eq!(pod.metric("tickwell_source_resting{source=\"kraken\"}").await, 0);
    let reports = |line: &&String| {
        field(line, "source").is_some_and(|source| source == "bitstamp") && has_event(line, "source_failing")
    };
    assert_eq!(pod.process.lines().iter().filter(reports).count(), 1);
}

fn unseen(lines: &[String]) {
    let seen = lines.iter().find(|line| line.contains("nobody-may-see"));
    assert_eq!(seen, None);
    assert!(!lines.is_empty());
}
