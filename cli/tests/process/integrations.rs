//! The programs in `docs/integrations`.

use std::{
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use testkit::{nats::NatsServer, require_nats, wait_until};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
    sync::Mutex,
    time::timeout,
};

use crate::{
    access,
    author::{Author, Written},
    harness::{DEADLINE, INTERVAL, Scene, has_price, moving_upstream},
    tools::{browser_script, code_blocks, node_packages, python_with, workspace},
};

/// The page with the program that sends alerts.
const ALERTS: &str = "docs/integrations/alerts.md";

/// The price around which the written prices move.
const LEVEL: &str = "50000";

/// How many times the program that sends alerts is killed while it sends one.
const KILLS: usize = 8;

/// 1 October 2026.
const FIRST_SLOT: i64 = 1_790_812_800_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_program_of_the_integrations_runs() {
    let Some(python) = python_with(&["requests", "jinja2", "yaml"]) else { return };
    if browser_script("page.mjs").is_none() || node_packages("lightweight-charts").is_none() {
        return;
    }
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD");
    let pod = scene.standalone("only").await;
    has_price(&pod).await;
    // So many that lists have several pages.
    pod.reaches(20).await;
    let mut command = Command::new(python);
    command.arg("-B").arg(workspace().join("cli/tests/process/integrations/run.py")).arg(&pod.url);
    let output = command.kill_on_drop(true).output().await.unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    println!("{said}");
    assert!(output.status.success(), "{said}");
    let ran = said.lines().filter(|line| line.ends_with(": ok")).count();
    assert!(ran > 20 || said.contains("skipped: "), "only {ran} programs ran: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_the_comparison_exists() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD");
    let pod = scene.standalone("only").await;
    has_price(&pod).await;
    let page = std::fs::read_to_string(workspace().join("docs/compared.md")).unwrap();
    let table = page.split("\n| theirs | ours |\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let ours = table.lines().filter_map(|row| row.trim_end_matches(" |").rsplit_once(" | "));
    let paths =
        ours.flat_map(|(_, ours)| ours.split('`').skip(1).step_by(2)).filter(|path| path.starts_with('/'));
    // A stream does not end, so its response is not read here.
    let paths: Vec<&str> = paths.filter(|path| !path.starts_with("/v1/stream")).collect();
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths {
        assert_eq!(pod.get(path).await.status, 200, "{path}");
    }
}

/// A server that receives alerts.
struct Receiver {
    url: String,
    /// Whether it leaves alerts without a response, so that their sender waits.
    is_silent: Arc<AtomicBool>,
    texts: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/topic", listener.local_addr().unwrap());
        let texts = Arc::new(Mutex::new(Vec::new()));
        let is_silent = Arc::new(AtomicBool::new(false));
        let (received, silent) = (texts.clone(), is_silent.clone());
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut request = Vec::new();
                // Python sends the length, and closes the connection after the response.
                let body = loop {
                    if connection.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        break None;
                    }
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
                    if body.len() == length.parse::<usize>().unwrap() {
                        break Some(body.to_owned());
                    }
                };
                // The sender may have been killed before it had sent everything.
                let Some(body) = body else { continue };
                received.lock().await.push(body);
                if silent.load(Ordering::SeqCst) {
                    // The connection is closed when the sender is killed.
                    let _ = connection.read_buf(&mut request).await;
                    continue;
                }
                let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = connection.write_all(response).await;
            }
        });
        Self { url, is_silent, texts }
    }
}

/// The alerts that the written ticks must cause, from the tick with the index `first` on.
fn expected(written: &[Written], first: usize) -> Vec<String> {
    let level: f64 = LEVEL.parse().unwrap();
    let ticks: Vec<&Written> = written.iter().filter(|written| written.price.is_some()).collect();
    let is_above = |tick: &Written| tick.price.as_ref().unwrap().parse::<f64>().unwrap() > level;
    let crossed = ticks[first..].windows(2).filter(|pair| is_above(pair[0]) != is_above(pair[1]));
    let text = |tick: &Written| {
        let side = if is_above(tick) { "above" } else { "below" };
        let price = tick.price.as_ref().unwrap();
        format!("BTC-USD is {side} {LEVEL}: {price} at {}", crate::records::time_text(tick.slot))
    };
    crossed.map(|pair| text(pair[1])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_is_neither_repeated_nor_forgotten_when_its_program_is_killed() {
    require_nats!();
    let Some(python) = python_with(&["json"]) else { return };
    let nats = NatsServer::start().await.unwrap();
    let mut author = Author::begin(&nats, 5, &["BTC-USD"], FIRST_SLOT).await;
    author.write_up_to(5).await;
    let scene = Scene::new(Duration::from_secs(60)).over(&nats);
    let pod = scene.pod("pod").await;
    pod.reaches(author.last()).await;
    let receiver = Receiver::start().await;

    let folder = tempfile::tempdir().unwrap();
    let [program] = &code_blocks(ALERTS, "python")[..] else { panic!("one program in {ALERTS}") };
    assert!(program.lines().count() <= 40, "{ALERTS} promises a short program");
    std::fs::write(folder.path().join("alert.py"), program).unwrap();
    let start = || -> Child {
        let mut command = Command::new(&python);
        command.args(["alert.py", "BTC-USD", LEVEL, &receiver.url]).env("POD", &pod.url);
        command.env("no_proxy", "*").current_dir(folder.path()).kill_on_drop(true).spawn().unwrap()
    };

    // The program begins with the newest tick.
    let first = author.written().iter().filter(|written| written.price.is_some()).count() - 1;
    let mut running = start();
    catches_up(folder.path(), &author).await;
    for _ in 0..3 {
        author.write(20).await;
        catches_up(folder.path(), &author).await;
        running.kill().await.unwrap();
        // Crossings while the program does not run are reported when it runs again.
        author.write(20).await;
        running = start();
        catches_up(folder.path(), &author).await;
    }
    author.write(1).await;
    catches_up(folder.path(), &author).await;
    let all = expected(author.written(), first);
    assert!(all.len() > 5, "{all:?}");
    // The program saves the state before it sends the alert.
    let received = async || receiver.texts.lock().await.clone();
    wait_until("every alert", DEADLINE, async || (received().await.len() >= all.len()).then_some(())).await;
    assert_eq!(received().await, all);

    // It repeats no alert even if it is killed before it has got the response.
    for _ in 0..KILLS {
        receiver.is_silent.store(true, Ordering::SeqCst);
        let before = received().await.len();
        cause(&mut author, first).await;
        let some = async || (received().await.len() > before).then_some(());
        wait_until("another alert", DEADLINE, some).await;
        running.kill().await.unwrap();
        receiver.is_silent.store(false, Ordering::SeqCst);
        running = start();
        catches_up(folder.path(), &author).await;
    }
    let all = expected(author.written(), first);
    wait_until("every alert", DEADLINE, async || (received().await.len() >= all.len()).then_some(())).await;
    assert_eq!(received().await, all);
    drop(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_send_their_key_and_end_with_the_reason_if_a_pod_refuses_them() {
    let Some(python) = python_with(&["json"]) else { return };
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__API__KEYS", access::KNOWN);
    let pod = scene.standalone("keyed").await;
    let alert = scene.folder().join("alert.py");
    std::fs::write(&alert, &code_blocks(ALERTS, "python")[0]).unwrap();
    let follow = workspace().join("docs/examples/follow.py");
    let command = |program: &Path, key: &str, arguments: &[&str]| {
        let mut command = Command::new(&python);
        command.arg(program).args(arguments).env("POD", &pod.url).env("TICKWELL_API_KEY", key);
        command.env("no_proxy", "*").current_dir(scene.folder()).kill_on_drop(true);
        command
    };
    let url = pod.url.as_str();
    for (program, arguments) in
        [(&alert, ["BTC-USD", LEVEL, "http://127.0.0.1:1"].as_slice()), (&follow, &[url, "BTC-USD"])]
    {
        let ended = timeout(DEADLINE, command(program, "wrong", arguments).output()).await.unwrap().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.code() == Some(1) && said.contains("no valid API key"), "{said}");
    }
    let mut following =
        command(&follow, access::KEY, &[url, "BTC-USD"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let line = timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.contains("-USD "), "{line}");
    let _alerting = command(&alert, access::KEY, &["BTC-USD", LEVEL, "http://127.0.0.1:1"]).spawn().unwrap();
    let saved = async || scene.folder().join("alert-BTC-USD.json").exists().then_some(());
    wait_until("the program has a price", DEADLINE, saved).await;
}

/// Writes until there must be another alert.
async fn cause(author: &mut Author, first: usize) {
    let before = expected(author.written(), first).len();
    while expected(author.written(), first).len() == before {
        author.write(20).await;
    }
}

/// Waits until the program has saved the newest tick.
async fn catches_up(folder: &Path, author: &Author) {
    let newest = author.written().iter().rfind(|written| written.price.is_some()).unwrap().sequence;
    wait_until("the program has the newest tick", DEADLINE, async || {
        let state = std::fs::read_to_string(folder.join("alert-BTC-USD.json")).ok()?;
        let state: Value = serde_json::from_str(&state).unwrap();
        let id = state["id"].as_str()?;
        (id.rsplit_once('-').unwrap().1 == newest.to_string()).then_some(())
    })
    .await;
}
