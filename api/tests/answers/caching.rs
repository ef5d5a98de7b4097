//! Tests of caching headers and tags.

use crate::rig::{Answer, Rig, at, gap, tick};

const ROUTES: [&str; 7] = [
    "/v1/pairs",
    "/v1/prices",
    "/v1/prices/BTC-USD",
    "/v1/prices/BTC-USD/averages?window=10s",
    "/v1/prices/BTC-USD/history",
    "/v1/prices/BTC-USD/candles?interval=1m",
    "/v1/ticks/1",
];

fn tag(answer: &Answer) -> String {
    answer.header("etag").unwrap().to_owned()
}

#[tokio::test]
async fn an_answer_that_the_client_already_has_is_not_sent_again() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100"), tick("ETH-USD", 10, "5")]).await;
    rig.clock.set(at(12));
    for path in ROUTES {
        let answer = rig.get(path).await;
        let strong = tag(&answer);
        assert!(strong.starts_with('"') && strong.len() == 34, "{path}: {strong}");
        assert_eq!(answer.header("cache-control"), Some("public, max-age=8, must-revalidate"), "{path}");
        for (known, expected) in [
            (strong.clone(), strong.clone()),
            (format!("W/{strong}"), format!("W/{strong}")),
            (format!("\"other\", W/\"more\" ,{strong}"), strong.clone()),
            ("*".to_owned(), strong.clone()),
        ] {
            let same = rig.ask(path, &[("if-none-match", &known)]).await;
            assert_eq!((same.status, same.bytes.len()), (304, 0), "{path} {known}");
            assert_eq!(tag(&same), expected, "{path}");
            for name in ["cache-control", "vary", "x-tickwell-sequence"] {
                assert_eq!(same.header(name), answer.header(name), "{path} {name}");
            }
            assert_eq!(same.header("content-type"), None, "{path}");
        }
        for known in ["", "\"other\"", strong.trim_matches('"'), &strong.to_uppercase()] {
            let other = rig.ask(path, &[("if-none-match", known)]).await;
            assert_eq!((other.status, other.bytes.len()), (200, answer.bytes.len()), "{path} {known}");
        }
    }
}

#[tokio::test]
async fn a_tag_is_the_same_on_every_pod_and_changes_with_the_bytes() {
    let mut rig = Rig::new();
    let mut other = Rig::keeping(std::time::Duration::from_secs(60));
    for pod in [&mut rig, &mut other] {
        pod.send(vec![tick("BTC-USD", 10, "100"), gap("BTC-USD", 20, 30), tick("BTC-USD", 40, "101")]).await;
        pod.clock.set(at(41));
    }
    let mut rig = rig.restarted().await;
    rig.clock.set(at(45));
    let mut tags = Vec::new();
    for path in ROUTES {
        let (one, two) = (rig.get(path).await, other.get(path).await);
        assert_eq!((tag(&one), &one.bytes), (tag(&two), &two.bytes), "{path}");
        tags.push(tag(&one));
    }
    let distinct: std::collections::BTreeSet<&String> = tags.iter().collect();
    assert_eq!(distinct.len(), ROUTES.len());
    // Whether a price is fresh or stale is part of the bytes.
    let fresh = tag(&rig.get("/v1/prices/BTC-USD").await);
    rig.clock.set(at(100));
    let stale = rig.ask("/v1/prices/BTC-USD", &[("if-none-match", &fresh)]).await;
    assert_eq!((stale.status, &stale.body["stale"]), (200, &serde_json::json!(true)));
    let before = tag(&rig.get("/v1/ticks/1").await);
    rig.send(vec![tick("BTC-USD", 50, "102")]).await;
    let (price, record) = (rig.get("/v1/prices/BTC-USD").await, rig.get("/v1/ticks/1").await);
    assert!(tag(&price) != fresh && tag(&price) != tag(&stale));
    assert_eq!(tag(&record), before, "an answer that did not change keeps its tag at a later sequence");
}

#[tokio::test]
async fn an_answer_is_cached_until_the_next_slot_or_until_a_price_becomes_stale() {
    let mut rig = Rig::new();
    let held = async |rig: &Rig| {
        rig.get("/v1/prices/BTC-USD").await.header("cache-control").unwrap_or_default().to_owned()
    };
    assert_eq!(
        rig.get("/v1/pairs").await.header("cache-control"),
        Some("public, max-age=0, must-revalidate"),
        "an empty log"
    );
    rig.send(vec![tick("BTC-USD", 10, "100"), tick("ETH-USD", 10, "5")]).await;
    for (second, seconds) in [(10, 10), (11, 9), (19, 1), (20, 0), (25, 0), (39, 0), (41, 0), (1_000, 0)] {
        rig.clock.set(at(second));
        assert_eq!(held(&rig).await, format!("public, max-age={seconds}, must-revalidate"), "{second}");
    }
    // ETH is no longer polled, and BTC has gaps, so its price becomes stale 30 s after its last tick.
    rig.send(vec![gap("BTC-USD", 20, 30), tick("BTC-USD", 1_000, "1"), gap("BTC-USD", 1_010, 1_020)]).await;
    rig.clock.set(at(1_022));
    assert_eq!(held(&rig).await, "public, max-age=8, must-revalidate");
    rig.send(vec![gap("BTC-USD", 1_030, 1_030)]).await;
    rig.clock.set(at(1_030));
    assert_eq!(held(&rig).await, "public, max-age=0, must-revalidate", "about to become stale");
}

#[tokio::test]
async fn closed_history_is_cached_for_a_day() {
    let mut rig = Rig::new();
    let ticks: Vec<i64> = (1..=30).map(|index| index * 10).collect();
    rig.send(ticks.iter().map(|second| tick("BTC-USD", *second, "1")).collect()).await;
    rig.clock.set(at(301));
    let millis = |second: i64| at(second).unix_millis();
    let range = |from: i64, to: i64| format!("from={}&to={}", millis(from), millis(to));
    let far = format!("from={}&to={}", millis(-3 * 86_400), millis(100));
    for (query, is_closed) in [
        (range(10, 300), true),
        (range(0, 0), true),
        // Slot 300 is the newest. As `to` is not included, a range may end one millisecond after that slot, but not
        // later.
        (format!("from={}&to={}", millis(10), millis(300) + 1), true),
        (format!("from={}&to={}", millis(10), millis(300) + 2), false),
        (range(10, 310), false),
        (far, false),
        (format!("from={}", millis(10)), false),
        (format!("to={}", millis(300)), false),
        (range(10, 300) + "&at_sequence=30", true),
        (range(10, 300) + "&at_sequence=20", false),
        (range(10, 190) + "&at_sequence=20", true),
        (range(10, 300) + "&limit=2&order=asc", true),
    ] {
        for list in ["history", "gaps"] {
            let answer = rig.get(&format!("/v1/prices/BTC-USD/{list}?{query}")).await;
            let is_held = answer.header("cache-control") == Some("public, max-age=86400, immutable");
            assert_eq!((answer.status, is_held), (200, is_closed), "{list}?{query}");
        }
    }
    // A range is closed only if its last bucket has ended too. A bucket that begins in the range may end after the
    // range.
    for (interval, from, to, is_closed) in [
        ("1m", 0, 300, true),
        ("1m", 0, 241, true),
        ("1m", 0, 301, false),
        ("5m", 0, 300, true),
        ("15m", 0, 60, false),
    ] {
        let path = format!("/v1/prices/BTC-USD/candles?interval={interval}&{}", range(from, to));
        let answer = rig.get(&path).await;
        let is_held = answer.header("cache-control") == Some("public, max-age=86400, immutable");
        assert_eq!((answer.status, is_held), (200, is_closed), "{path}");
    }
}

#[tokio::test]
async fn a_compressed_answer_has_no_strong_tag() {
    let mut rig = Rig::new();
    rig.send((1..=60).map(|index| tick("BTC-USD", index * 10, "97012.30")).collect()).await;
    let path = "/v1/prices/BTC-USD/history";
    let plain = rig.get(path).await;
    let packed = rig.ask(path, &[("accept-encoding", "br, gzip")]).await;
    assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("gzip")));
    assert!(packed.bytes.len() < plain.bytes.len() / 2 && plain.header("content-encoding").is_none());
    assert_eq!(tag(&packed), format!("W/{}", tag(&plain)));
    for answer in [&plain, &packed] {
        assert_eq!(answer.headers("vary"), ["Accept", "Origin", "Accept-Encoding"]);
    }
    let same = rig.ask(path, &[("accept-encoding", "gzip"), ("if-none-match", &tag(&packed))]).await;
    assert_eq!((same.status, same.header("content-encoding"), tag(&same)), (304, None, tag(&packed)));
    for (path, coding) in
        [(path, "gzip;q=0"), (path, "br"), ("/v1/prices/BTC-USD", "gzip"), ("/v1/nothing", "gzip")]
    {
        let answer = rig.ask(path, &[("accept-encoding", coding)]).await;
        assert_eq!(answer.header("content-encoding"), None, "{path} {coding}");
    }
}

#[tokio::test]
async fn a_head_answer_has_the_headers_of_the_get_answer() {
    let mut rig = Rig::new();
    rig.send((1..=60).map(|index| tick("BTC-USD", index * 10, "97012.30")).collect()).await;
    for path in ROUTES.into_iter().chain(["/openapi.json", "/asyncapi.yaml", "/docs", "/v1/nothing"]) {
        let whole = rig.ask(path, &[("accept-encoding", "gzip")]).await;
        let head = rig.client().head(path).header("accept-encoding", "gzip").send().await;
        assert_eq!(head.0.status().as_u16(), whole.status, "{path}");
        for name in
            ["etag", "cache-control", "vary", "content-type", "content-encoding", "x-tickwell-sequence"]
        {
            let value = head.0.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(value, whole.header(name), "{path} {name}");
        }
        let known = whole.header("etag").unwrap_or("\"none\"");
        let again = rig.client().head(path).header("if-none-match", known).send().await;
        assert_eq!(again.0.status().as_u16(), if whole.status == 200 { 304 } else { whole.status }, "{path}");
    }
}

#[tokio::test]
async fn documents_are_revalidated_and_errors_are_never_cached() {
    let rig = Rig::new();
    for path in ["/openapi.json", "/asyncapi.yaml", "/docs"] {
        let answer = rig.get(path).await;
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{path}");
        assert_eq!(rig.ask(path, &[("if-none-match", &tag(&answer))]).await.status, 304, "{path}");
    }
    for path in ["/livez", "/readyz", "/version", "/metrics", "/v1/prices", "/v1/nothing", "/v1/pairs?x=1"] {
        let answer = rig.ask(path, &[("if-none-match", "*")]).await;
        assert_eq!(
            (answer.header("cache-control"), answer.header("etag")),
            (Some("no-store"), None),
            "{path}"
        );
        assert_ne!(answer.status, 304, "{path}");
    }
}

#[tokio::test]
async fn a_stream_is_neither_cached_nor_compressed() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    for path in ["/v1/stream", "/v1/stream?format=ndjson"] {
        let request = rig.client().get(path).header("accept-encoding", "gzip").header("if-none-match", "*");
        let response = request.send().await.0;
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!((response.status().as_u16(), header("cache-control")), (200, Some("no-store")), "{path}");
        assert_eq!((header("etag"), header("content-encoding")), (None, None), "{path}");
    }
}
