//! Pages of another origin than the pod, in a real browser: what they may do, and what they learn if they may not.

use std::process::Stdio;

use serde_json::{Value, json};
use testkit::process::Tickwell;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
    time::timeout,
};

use crate::{
    access::KNOWN,
    harness::{DEADLINE, INTERVAL, Pod, Scene, field, has_event, has_price, moving_upstream},
    tools::{browser_script, workspace},
};

/// A second API key, `bar`, as it is written in `api.keys`. The first one is `foo`.
const ANOTHER: &str = "team=fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9";

/// A page that runs a script.
struct Page {
    lines: Lines<BufReader<ChildStdout>>,
    console: Vec<String>,
    _process: Child,
}

impl Page {
    fn open(script: &str) -> Option<Self> {
        let mut command = browser_script("other_origin.mjs")?;
        let mut process = command.arg(script).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Some(Self { lines, console: Vec::new(), _process: process })
    }

    /// What the script has heard next.
    async fn hears(&mut self) -> Value {
        loop {
            let line = timeout(DEADLINE, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("nothing more; the console: {:?}", self.console));
            let line = line.unwrap().unwrap_or_else(|| panic!("the page is gone: {:?}", self.console));
            match line.strip_prefix("console: ") {
                Some(error) => self.console.push(error.to_owned()),
                None => return serde_json::from_str(&line).unwrap(),
            }
        }
    }
}

/// Gets a price in three ways. Reports a price, or a problem, or that a connection failed.
fn prices(url: &str) -> String {
    let socket = url.replace("http://", "ws://");
    format!(
        "(async () => {{
            const answer = await fetch('{url}/v1/prices/BTC-USD', {{ headers: {{ 'X-API-Key': 'foo' }} }});
            const {{ code, detail, price }} = await answer.json();
            await heard({{ by: 'fetch', origin: location.origin, code, detail, price }});
            const stream = new EventSource('{url}/v1/stream?pairs=BTC-USD');
            const streamed = await new Promise((resolve) => {{
                stream.addEventListener('tick', ({{ data }}) => resolve(JSON.parse(data).price));
                stream.addEventListener('error', () => resolve('failed'));
            }});
            await heard({{ by: 'EventSource', price: streamed }});
            const socket = new WebSocket('{socket}/v1/ws?pairs=BTC-USD');
            const sent = await new Promise((resolve) => {{
                socket.onmessage = ({{ data }}) => resolve(JSON.parse(data).price);
                socket.onerror = () => resolve('failed');
            }});
            await heard({{ by: 'WebSocket', price: sent }});
        }})();"
    )
}

fn is_price(heard: &Value) -> bool {
    heard["price"].as_str().is_some_and(|price| price.parse::<f64>().is_ok_and(|price| price > 0.0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_can_read_a_demo() {
    let scene = Scene::new(INTERVAL);
    let demo = Pod::of(scene.command("demo").args(["run", "--demo"]).start().unwrap()).await;
    has_price(&demo).await;
    let Some(mut page) = Page::open(&prices(&demo.url)) else { return };
    for by in ["fetch", "EventSource", "WebSocket"] {
        let heard = page.hears().await;
        assert!(heard["by"] == by && is_price(&heard), "{heard}; {:?}", page.console);
    }
    assert_eq!(page.console, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_page_learns_which_setting_allows_it() {
    let upstream = moving_upstream(INTERVAL).await;
    let pod = Scene::new(INTERVAL).asking(&upstream).standalone("only").await;
    has_price(&pod).await;
    let Some(mut page) = Page::open(&prices(&pod.url)) else { return };
    let refused = page.hears().await;
    assert_eq!(refused["code"], "origin_not_allowed", "{refused}; {:?}", page.console);
    assert!(refused["detail"].as_str().unwrap().contains("api.cors_origins"), "{refused}");
    for by in ["EventSource", "WebSocket"] {
        assert_eq!(page.hears().await, json!({"by": by, "price": "failed"}));
    }
    // The console shows the status. It does not show a missing header, because the page may read the refusal.
    let console = page.console.join("\n");
    assert!(console.contains("403") && !console.contains("CORS policy"), "{console}");
    let logged = |line: &&String| has_event(line, "origin_refused");
    let lines = pod.process.lines();
    let lines: Vec<&String> = lines.iter().filter(logged).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(field(lines[0], "origin").as_deref(), refused["origin"].as_str());
    assert_eq!(field(lines[0], "setting").as_deref(), Some("api.cors_origins"));
}

/// The function in docs/streams.md that follows a stream with tickets.
fn documented() -> String {
    let text = std::fs::read_to_string(workspace().join("docs/streams.md")).unwrap();
    let blocks = text.split("```js\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut blocks = blocks.filter(|block| block.contains("function followWithTickets"));
    blocks.next().unwrap().to_owned()
}

fn keyed(scene: &Scene, key: &str) -> Tickwell {
    scene.command("only").env("TICKWELL__API__KEYS", key).arg("run").start().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_follows_a_pod_with_tickets_and_without_its_key_in_any_log() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__API__CORS_ORIGINS", "*");
    let scene = scene.with("TICKWELL__LOG__LEVEL", "debug");
    let mut pod = Pod::of(keyed(&scene, KNOWN)).await;
    let (url, address) = (pod.url.clone(), pod.url.strip_prefix("http://").unwrap().to_owned());
    // The key of the page changes together with that of the pod. So the ticket of the first key has ended when the
    // `EventSource` reconnects, as if a minute had passed.
    let script = format!(
        "{}
        let keys = ['foo', 'bar'], key = 'foo';
        const newTicket = async () => {{
            let answer = await fetch('{url}/v1/tickets', {{ method: 'POST', headers: {{ 'X-API-Key': key }} }});
            if (answer.status === 401) key = 'bar';
            if (!answer.ok) throw new Error(`HTTP ${{answer.status}}`);
            const {{ ticket }} = await answer.json();
            await heard({{ ticket }});
            return ticket;
        }};
        followWithTickets('{url}', newTicket, (event) => heard(event));",
        documented()
    );
    let Some(mut page) = Page::open(&script) else { return };
    let first = page.hears().await["ticket"].as_str().unwrap().to_owned();
    let (mut events, mut tickets) = (Vec::new(), vec![first]);
    while events.len() < 3 {
        events.push(page.hears().await);
    }
    pod.process.kill();
    let before = pod.process.lines();
    let again = scene.with("TICKWELL__API__LISTEN", &address);
    pod = Pod::of(keyed(&again, ANOTHER)).await;
    let enough = events.len() + 6;
    while events.len() < enough || tickets.len() < 2 {
        let heard = page.hears().await;
        match heard["ticket"].as_str() {
            Some(ticket) => tickets.push(ticket.to_owned()),
            None => events.push(heard),
        }
    }
    let sequences: Vec<u64> = events.iter().filter_map(|event| event["sequence"].as_u64()).collect();
    assert!(sequences.is_sorted_by(|earlier, later| earlier < later), "{sequences:?}");
    let log = before.into_iter().chain(pod.process.lines()).collect::<Vec<_>>().join("\n");
    for secret in &tickets {
        let (_, code) = secret.split_once('-').unwrap();
        assert!(!log.contains(code), "the log has a ticket");
    }
}
