//! Hostile clients in small: what `just hostile trial` measures, as numbers that do not depend on the speed of the machine.

use std::{fmt::Write as _, fs, net::SocketAddr};

use testkit::{
    hostile::clients::{address, get, get_once, send, upgrade},
    usage::usage,
    wait_until,
};
use tokio::{io::AsyncReadExt as _, task::JoinSet};

use crate::harness::{DEADLINE, INTERVAL, Pod, Scene, has_price, moving_upstream};

/// How many minutes of history the process has: as many as there are items on the largest page.
const MINUTES: i64 = 10_000;

/// How many clients ask for something large at once. This is more than may wait for long work.
const CLIENTS: u16 = 100;

/// The most memory that a stream may take whose client does not read, in bytes. The events that are read at once, and the
/// bytes that are collected for one write, take about half of it. In the past it was 180 kB.
const STALLED_BYTES: u64 = 64 * 1_024;

const MINUTE_MS: i64 = 60_000;

/// Imports a price for each minute.
async fn import(scene: &Scene, name: &str) {
    let now = testkit::clock::now_ms() / MINUTE_MS;
    let mut text = "time,price\n".to_owned();
    for minute in now - MINUTES..now {
        let time = chrono::DateTime::from_timestamp(minute * 60, 0).unwrap();
        let time = time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        writeln!(text, "{time},{}.{:02}", 97_000 + minute % 977, minute % 89).unwrap();
    }
    let file = scene.folder().join("history.csv");
    fs::write(&file, text).unwrap();
    let mut import = scene.command(name).args(["import", "--pair", "BTC-USD"]).arg(&file).start().unwrap();
    assert!(import.wait_exit(DEADLINE).await.unwrap().success(), "{}", import.lines().join("\n"));
}

/// The `nice` values of the process's threads for long work.
fn long_threads(process: u32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    // A thread may end meanwhile.
    let stats = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("stat")).ok());
    stats.filter(|stat| stat.contains("(long-work)")).map(|stat| nice(&stat)).collect()
}

/// The `nice` value in a `stat` file: the 17th field after the name.
fn nice(stat: &str) -> i32 {
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().parse().unwrap()
}

/// The statuses of responses to clients that ask for these paths at the same time, each with an address of its own.
async fn statuses(server: SocketAddr, paths: impl Iterator<Item = String>) -> Vec<String> {
    let mut asking = JoinSet::new();
    for (client, path) in (1..).zip(paths) {
        asking.spawn(async move {
            let mut stream = send(server, address(client), &get_once(&path), false).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            String::from_utf8_lossy(answer.get(9..12).unwrap_or_default()).into_owned()
        });
    }
    asking.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_pages_have_a_few_threads_of_low_priority_and_prices_are_served_beside_them() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    import(&scene, "only").await;
    let pod = scene.standalone("only").await;
    has_price(&pod).await;
    let server = server(&pod);
    let own = nice(&fs::read_to_string(format!("/proc/{}/stat", pod.process.id())).unwrap());
    // No two of the pages are the same, so each must be computed.
    let pages =
        (0..CLIENTS).map(|less| format!("/v1/prices/BTC-USD/candles?interval=1m&limit={}", 10_000 - less));
    let prices = (0..CLIENTS).map(|_| "/v1/prices/BTC-USD".to_owned());
    let (pages, prices) = tokio::join!(statuses(server, pages), statuses(server, prices));
    assert!(prices.iter().all(|status| status == "200"), "{prices:?}");
    // Some may have waited too long.
    assert!(pages.iter().all(|status| status == "200" || status == "503"), "{pages:?}");
    assert!(pages.iter().any(|status| status == "200"), "{pages:?}");
    let threads = long_threads(pod.process.id());
    let places = std::thread::available_parallelism().unwrap().get().div_ceil(2);
    assert!((1..=2 * places).contains(&threads.len()), "{threads:?}");
    assert!(threads.iter().all(|nice| *nice == (own + 10).min(19)), "{threads:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_whose_clients_do_not_read_take_little_memory() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    import(&scene, "only").await;
    let pod = scene.standalone("only").await;
    has_price(&pod).await;
    let server = server(&pod);
    for (request, transport) in [(get("/v1/stream?after=0"), "sse"), (upgrade("/v1/ws?after=0"), "websocket")]
    {
        let clients = format!("tickwell_stream_clients{{transport=\"{transport}\"}}");
        let mut memory = Vec::new();
        let mut stalled = Vec::new();
        // The first clients fill caches that all share.
        for count in [CLIENTS, 3 * CLIENTS] {
            for number in 0..count - u16::try_from(stalled.len()).unwrap() {
                stalled.push(send(server, address(number), &request, true).await.unwrap());
            }
            let all = async || (pod.metric(&clients).await == u64::from(count)).then_some(());
            wait_until("all clients are connected", DEADLINE, all).await;
            // Meanwhile the pod sends as much as the clients' buffers take.
            pod.takes_in(20).await;
            memory.push(usage(pod.process.id()).unwrap().memory);
        }
        let each = memory[1].saturating_sub(memory[0]) / u64::from(2 * CLIENTS);
        assert!(each < STALLED_BYTES, "{transport}: {each} bytes each, {memory:?}");
        drop(stalled);
        let none = async || (pod.metric(&clients).await == 0).then_some(());
        wait_until("no client is left", DEADLINE, none).await;
    }
}

fn server(pod: &Pod) -> SocketAddr {
    pod.url.trim_start_matches("http://").parse().unwrap()
}
