//! `tickwell run` without NATS: a single process, whose store contains the only copy of the log.

use testkit::{Venue, wait_until};

use crate::{
    agreement::{averages_are_right, history_is_the_log},
    audit::{audit, nothing_lost},
    harness::{
        Answer, DEADLINE, INTERVAL, Pod, Scene, field, has_event, has_price, moving_upstream, slots_pass,
    },
    records::{self, Record},
    survival::{check_takeovers, end},
};

/// Two pairs that share one log. Their records alternate, but the records of each pair form a chain of their own.
const PAIRS: [&str; 2] = ["BTC-USD", "ETH-USD"];

/// An address at which nothing listens: listening on port 1 needs privileges, and no common service uses this port.
const CLOSED: &str = "http://127.0.0.1:1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_costs_one_gap_and_nothing_that_was_acknowledged() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__FEED__PAIRS", &PAIRS.join(","));
    let mut process = scene.standalone("only").await;
    let mut before = Vec::new();
    for _crash in 0..2 {
        process.takes_in(20).await;
        let seen = records::all(&process).await;
        nothing_lost(if before.is_empty() { &seen } else { &before }, &seen);
        before = seen;
        // The kill can happen at any time, also while a batch is being written to disk.
        process.process.kill();
        slots_pass(4, INTERVAL).await;
        process = scene.standalone("only").await;
        assert!(process.sequence().await >= before.last().unwrap().sequence);
    }
    process.takes_in(20).await;
    averages_are_right(&process).await;
    end(&mut process.process).await;

    let process = resting(&scene, "only").await;
    let records = records::all(&process).await;
    nothing_lost(&before, &records);
    assert_eq!(audit(&records).leads, 4 * PAIRS.len());
    for pair in PAIRS {
        let of_pair: Vec<Record> = records.iter().filter(|record| record.pair == pair).cloned().collect();
        check_takeovers(&of_pair);
    }
    history_is_the_log(&process, &records).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_sources_there_is_no_price_and_one_line_reports_it() {
    let mut scene = Scene::new(INTERVAL).with("TICKWELL__FEED__PAIRS", &PAIRS.join(","));
    for source in ["KRAKEN", "COINBASE", "BITSTAMP"] {
        scene = scene.with(&format!("TICKWELL__SOURCES__{source}__URL"), CLOSED);
    }
    let process = scene.standalone("only").await;
    no_price(&process.get("/v1/prices").await);

    let records = wait_until("four gaps of each pair", DEADLINE, async || {
        let records = records::all(&process).await;
        let gaps =
            |pair| records.iter().filter(|record| record.pair == pair && record.cause.is_some()).count();
        PAIRS.into_iter().all(|pair| gaps(pair) >= 4).then_some(records)
    })
    .await;
    assert_eq!(audit(&records).ticks, 0);
    for path in ["/v1/prices", "/v1/prices/BTC-USD"] {
        no_price(&process.get(path).await);
    }
    for record in records.iter().filter(|record| record.quotes.is_some()) {
        assert_eq!(record.cause.as_deref(), Some("too_few_sources"));
        assert!(record.quotes().iter().all(|quote| quote.price.is_none()), "{record:?}");
    }
    let lines = process.process.lines();
    for pair in PAIRS {
        let of_pair = |line: &&String| {
            has_event(line, "no_price") && field(line, "pair").is_some_and(|found| found == pair)
        };
        assert_eq!(lines.iter().filter(of_pair).count(), 1, "{pair} in:\n{}", lines.join("\n"));
    }
    // Without sources, the process is degraded but ready. If it were not ready, a load balancer would send it no
    // requests, and clients could not read the records that it has.
    let ready = process.get("/readyz?verbose").await;
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("BTC-USD: too_few_sources"), "{}", ready.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_is_labelled_as_simulated_and_shares_no_data() {
    let scene = Scene::new(INTERVAL);
    let demo = Pod::of(scene.command("only").args(["run", "--demo"]).start().unwrap()).await;
    let prices = wait_until("a price", DEADLINE, async || {
        Some(demo.get("/v1/prices").await).filter(|answer| answer.status == 200)
    })
    .await;
    for item in prices.json()["items"].as_array().unwrap() {
        assert_eq!(item["origin"], "simulated");
    }
    assert_eq!(demo.get("/v1/pairs").await.json()["items"][0]["origin"], "simulated");
    demo.takes_in(5).await;
    let records = records::all(&demo).await;
    assert!(audit(&records).ticks > 0);
    assert!(records.iter().all(|record| record.origin == "simulated"));
    assert!(demo.process.lines().iter().any(|line| line.contains("SIMULATED")));

    // A process with real prices and the same store path does not share data with the demo.
    let upstream = moving_upstream(INTERVAL).await;
    let real = scene.asking(&upstream);
    let real = real.standalone("only").await;
    real.takes_in(5).await;
    assert!(records::all(&real).await.iter().all(|record| record.origin == "live"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_or_address_that_is_in_use_is_named() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let first = scene.standalone("only").await;
    let address = first.url.strip_prefix("http://").unwrap().to_owned();

    for (name, listen, setting) in [("only", "127.0.0.1:0", "store.path"), ("other", &*address, "api.listen")]
    {
        let second = scene.command(name).arg("run").env("TICKWELL__API__LISTEN", listen);
        let mut second = second.start().unwrap();
        let status = second.wait_exit(DEADLINE).await.unwrap();
        let lines = second.lines().join("\n");
        assert_eq!(status.code(), Some(1), "{lines}");
        assert!(lines.contains(setting), "{setting} in:\n{lines}");
    }
    // The first process is not affected.
    first.takes_in(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_and_operator_routes_are_served_offline() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let process = scene.standalone("only").await;
    process.takes_in(4).await;

    let docs = process.get("/docs").await;
    assert_eq!(docs.status, 200);
    assert_eq!(foreign_references(&docs.text()), Vec::<String>::new());

    let openapi = process.get("/openapi.json").await.found();
    assert!(openapi["paths"]["/v1/prices/{pair}"]["get"].is_object(), "{openapi}");
    let asyncapi = process.get("/asyncapi.yaml").await;
    assert_eq!((asyncapi.status, asyncapi.text().starts_with("asyncapi: 3.")), (200, true));

    assert_eq!(process.get("/livez").await.status, 200);
    assert_eq!(process.get("/readyz").await.found()["ready"], true);
    assert_eq!(process.get("/readyz?verbose").await.found()["checks"][0]["condition"], "ready");
    assert_eq!(process.get("/version").await.found()["version"], env!("CARGO_PKG_VERSION"));
    let metrics = process.get("/metrics").await.text();
    for name in
        ["tickwell_price{pair=\"BTC-USD\"}", "tickwell_source_quotes_total", "tickwell_ingest_sequence"]
    {
        assert!(metrics.contains(name), "{name} in:\n{metrics}");
    }
}

/// Starts a process with an existing store and an interval of a day, so that no ticks or gaps are written.
pub(crate) async fn resting(scene: &Scene, store: &str) -> Pod {
    let process = scene.command(store).arg("run");
    let process = process.env("TICKWELL__FEED__INTERVAL", "1d").env("TICKWELL__WINDOWS__STALE_AFTER", "2d");
    let process = process.start().unwrap();
    // The process writes a lead for each pair before it logs this event, and then nothing until midnight.
    process.wait_for_line(|line| has_event(line, "leading"), DEADLINE).await.unwrap();
    Pod::of(process).await
}

/// Checks that a response is the error for "no price yet".
fn no_price(answer: &Answer) {
    assert_eq!((answer.status, &answer.json()["code"]), (503, &"no_price_yet".into()), "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(seconds >= 1, "an immediate retry would not help");
    assert!(answer.text().contains("run --demo"), "{}", answer.text());
}

/// The tags of a page with which a browser would fetch something from another host, including tags in its scripts.
/// Links that a person has to follow are not included.
fn foreign_references(page: &str) -> Vec<String> {
    let tags = ["<script", "<link", "<img", "<iframe", "<source", "<object", "<embed", "<base"];
    let starts = tags.iter().flat_map(|tag| page.match_indices(tag)).map(|(start, _)| &page[start..]);
    let tag = |from: &str| from.split('>').next().unwrap_or_default().to_owned();
    let is_foreign =
        |tag: &String| ["http:", "https:", "=\"//", "='//", "=//"].iter().any(|part| tag.contains(part));
    let imports = page.match_indices("@import").map(|(start, _)| page[start..].chars().take(80).collect());
    starts.map(tag).filter(is_foreign).chain(imports).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_process_has_its_last_price_for_the_first_client() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).with("TICKWELL__WINDOWS__STALE_AFTER", "1s");
    let mut pod = scene.standalone("only").await;
    has_price(&pod).await;
    for venue in Venue::DEFAULT {
        upstream.set_down(venue, true);
    }
    // The newest price becomes stale.
    let price = wait_until("a stale price", DEADLINE, async || {
        let price = pod.get("/v1/prices/BTC-USD").await.found();
        price["stale"].as_bool().unwrap().then_some(price)
    })
    .await;
    pod.process.kill();
    for _round in 0..3 {
        // The first request is sent as soon as the process listens, before it has loaded its store.
        let process = scene.command("only").arg("run").start().unwrap();
        let mut pod = Pod::listening(process).await;
        let first = pod.get("/v1/prices/BTC-USD").await.found();
        for member in ["price", "slot", "sequence", "stale", "origin"] {
            assert_eq!(first[member], price[member], "{member}");
        }
        pod.process.kill();
    }
}
