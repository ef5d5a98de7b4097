//! Reads a month of records page by page from two pods, while records arrive and a pod is killed.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use testkit::{nats::NatsServer, require_nats, wait_until};
use tokio::sync::mpsc;

use crate::{
    agreement::{PAIR, same_answer},
    author::{Author, INTERVAL_MS},
    client_streams::everything_is_streamed,
    harness::{Answer, DEADLINE, Pod, Scene, has_price},
    oracle,
};

/// The seed of all random choices of the test.
const SEED: u64 = 20_261_121;

/// 1 October 2026.
const FIRST_SLOT: i64 = 1_790_812_800_000;

/// The number of slots in a month, with one slot per minute.
const MONTH: i64 = 30 * 24 * 60;

/// How many slots are written while a pod is down, so that it is behind when it starts again.
const MISSED: i64 = 1_000;

/// How many slots are written while one of the pods cannot reach the log.
const LOST: i64 = 600;

const NAMES: [&str; 2] = ["one", "other"];

/// How a client reads a list.
struct Walk {
    list: &'static str,
    order: &'static str,
    limit: usize,
    /// Whether the client follows the `Link` header instead of `next_cursor`.
    by_link: bool,
}

const WALKS: [Walk; 8] = [
    Walk { list: "history?", order: "asc", limit: 997, by_link: false },
    Walk { list: "history?", order: "desc", limit: 256, by_link: true },
    Walk { list: "history?", order: "asc", limit: 6_000, by_link: true },
    Walk { list: "history?", order: "desc", limit: 3_001, by_link: false },
    Walk { list: "gaps?", order: "asc", limit: 7, by_link: true },
    Walk { list: "gaps?", order: "desc", limit: 50, by_link: false },
    Walk { list: "candles?interval=1h&", order: "asc", limit: 11, by_link: false },
    Walk { list: "candles?interval=1h&", order: "desc", limit: 6, by_link: true },
];

/// The items of all pages, and the sequences of the first and the last page.
struct Listed {
    items: Vec<Value>,
    first: u64,
    last: u64,
}

/// Two pods that follow one log. One of them may be down.
struct Pods<'a> {
    scene: &'a Scene,
    pods: [Option<Pod>; 2],
    chance: StdRng,
    /// Tells the task that writes the log how many more slots to write.
    orders: mpsc::Sender<i64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_is_paged_through_without_missing_or_repeated_items_while_a_pod_is_killed() {
    require_nats!();
    let nats = NatsServer::start().await.unwrap();
    let scene = Scene::new(std::time::Duration::from_secs(60)).over(&nats);
    let mut author = Author::begin(&nats, SEED, &[PAIR, "ETH-USD"], FIRST_SLOT).await;
    let pods = NAMES.map(async |name| Some(scene.waiting_pod(name).await));
    let pods: [Option<Pod>; 2] = futures::future::join_all(pods).await.try_into().ok().unwrap();
    author.write(MONTH).await;
    for pod in pods.iter().flatten() {
        has_price(pod).await;
        pod.reaches(author.last()).await;
    }
    let (orders, mut ordered) = mpsc::channel(64);
    let writing = tokio::spawn(async move {
        while let Some(slots) = ordered.recv().await {
            author.write(slots).await;
        }
        author
    });

    let mut pods = Pods { scene: &scene, pods, chance: StdRng::seed_from_u64(SEED), orders };
    let mut walked = Vec::new();
    for walk in &WALKS {
        walked.push(pods.walk(walk).await);
    }
    // Closing the channel ends the writer.
    let Pods { pods: [Some(one), Some(other)], orders, .. } = pods else { unreachable!("both run again") };
    drop(orders);
    let mut author = writing.await.unwrap();
    for (walk, listed) in WALKS.iter().zip(&walked) {
        check(walk, listed, &author);
    }
    for pod in [&one, &other] {
        pod.reaches(author.last()).await;
    }
    everything_is_streamed(&one, &mut author).await;
    a_pod_that_is_behind_refuses(&scene, &one, other, &mut author).await;
}

/// Checks that a pod refuses a cursor that is ahead of its copy of the log, instead of returning an incomplete page.
async fn a_pod_that_is_behind_refuses(scene: &Scene, pod: &Pod, mut behind: Pod, author: &mut Author) {
    behind.process.kill();
    let from = author.up_to(PAIR, author.last()).next_back().unwrap().slot;
    author.write(LOST).await;
    pod.reaches(author.last()).await;
    // This pod cannot reach the log, so it stays behind.
    let away = scene.command(NAMES[1]).env("TICKWELL__BUS__URL", "nats://127.0.0.1:1").arg("api");
    let behind = Pod::of(away.start().unwrap()).await;
    for list in ["history?", "gaps?", "candles?interval=1h&"] {
        for order in ["asc", "desc"] {
            let path = format!("/v1/prices/{PAIR}/{list}order={order}&from={from}&limit=2");
            let page = pod.get(&path).await.found();
            let cursor = page["next_cursor"].as_str().unwrap();
            let refused = behind.get(&format!("{path}&cursor={cursor}")).await;
            assert_eq!((refused.status, &refused.json()["code"]), (409, &"sequence_ahead".into()), "{path}");
            assert!(refused.headers.contains_key("retry-after"));
            assert_eq!(pod.get(&format!("{path}&cursor={cursor}")).await.status, 200);
        }
    }
}

/// Compares what was listed with what was written.
fn check(walk: &Walk, listed: &Listed, author: &Author) {
    // In descending order, the list contains everything up to the sequence of the first page. In ascending order, it
    // contains everything up to the sequence of the last page.
    let known = if walk.order == "asc" { listed.last } else { listed.first };
    let written = author.up_to(PAIR, known);
    let mut expected: Vec<Value> = match walk.list.split('?').next() {
        Some("history") => written.filter_map(|written| written.history_item()).collect(),
        Some("gaps") => written.filter_map(|written| written.gap_item()).collect(),
        _ => {
            let points: Vec<_> = author.up_to(PAIR, known).filter_map(|written| written.point()).collect();
            let newest = author.up_to(PAIR, known).next_back().unwrap();
            oracle::candles(&points, 3_600_000, newest.slot + INTERVAL_MS)
        }
    };
    if walk.order == "desc" {
        expected.reverse();
    }
    let name = format!("{}order={}&limit={}", walk.list, walk.order, walk.limit);
    let differs = listed.items.iter().zip(&expected).position(|(item, expected)| item != expected);
    if let Some(at) = differs {
        let near = at.saturating_sub(1);
        panic!(
            "{name}: item {at} of {}, after {:?}, is\n{}\nand must be\n{}",
            listed.items.len(),
            listed.items.get(near),
            listed.items[at],
            expected[at]
        );
    }
    assert_eq!(listed.items.len(), expected.len(), "{name} at sequence {known}");
}

impl Pods<'_> {
    /// Reads a list. Meanwhile, a pod is killed and started again some pages later.
    async fn walk(&mut self, walk: &Walk) -> Listed {
        let victim = self.chance.random_range(0..NAMES.len());
        let dies_at = self.chance.random_range(0..3);
        let returns_at = dies_at + self.chance.random_range(1..3);
        let start = format!("/v1/prices/{PAIR}/{}order={}&limit={}", walk.list, walk.order, walk.limit);
        let (mut listed, mut path) = (Listed { items: Vec::new(), first: 0, last: 0 }, start.clone());
        for page in 0.. {
            if page == dies_at {
                self.pods[victim].take().unwrap().process.kill();
                self.orders.send(MISSED).await.unwrap();
                self.pods[1 - victim].as_ref().unwrap().takes_in(MISSED.unsigned_abs()).await;
            }
            if page == returns_at {
                self.pods[victim] = Some(self.scene.waiting_pod(NAMES[victim]).await);
            }
            self.orders.send(self.chance.random_range(0..3)).await.unwrap();
            let answer = self.page(&path).await;
            let found = answer.found();
            let items = found["items"].as_array().unwrap();
            listed.items.extend_from_slice(items);
            listed.last = answer.sequence();
            if page == 0 {
                listed.first = listed.last;
            }
            let Some(cursor) = found["next_cursor"].as_str() else {
                assert!(page > returns_at, "the list has only {page} pages");
                assert!(!answer.headers.contains_key("link"));
                return listed;
            };
            assert_eq!(items.len(), walk.limit, "only the last page may be short: {path}");
            path = match walk.by_link {
                true => linked(&path, &answer),
                false => format!("{start}&cursor={cursor}"),
            };
        }
        unreachable!("pages are counted without end")
    }

    /// Reads a page from a random pod. Sometimes reads the page from both pods, which must return the same bytes.
    async fn page(&mut self, path: &str) -> Answer {
        let serving = async |pod: &Option<Pod>| match pod {
            Some(pod) => pod.get("/readyz").await.status == 200,
            None => false,
        };
        if self.chance.random_ratio(1, 5) && serving(&self.pods[0]).await && serving(&self.pods[1]).await {
            let [Some(one), Some(other)] = &self.pods else { unreachable!("both serve") };
            return same_answer([one, other], path).await;
        }
        let (pods, chance) = (&self.pods, &mut self.chance);
        wait_until(&format!("a page of {path}"), DEADLINE, async || {
            // Chooses a pod like a load balancer without health checks. If that pod is down or behind, the next attempt
            // may choose the other one.
            let answer = pods[chance.random_range(0..NAMES.len())].as_ref()?.try_get(path).await.ok()?;
            if answer.status != 200 {
                assert!(matches!(answer.status, 503 | 409), "{path}: {}", answer.text());
                return None;
            }
            Some(answer)
        })
        .await
    }
}

/// The path of the URL in the `Link` header of a response from this path.
fn linked(path: &str, answer: &Answer) -> String {
    let link = answer.headers["link"].to_str().unwrap();
    let link = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    let linked = reqwest::Url::parse("http://pod").unwrap().join(path).unwrap().join(link).unwrap();
    format!("{}?{}", linked.path(), linked.query().unwrap())
}
