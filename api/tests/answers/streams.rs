//! Streams: every event exactly once, in the order of the log, wherever a client reconnects.

use std::time::Duration;

use api::{config::RateLimit, server::SharedEndpoint};
use futures::{SinkExt, Stream, StreamExt};
use poem::test::TestClient;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::rig::{Rig, backfilled, gap, lead, not_backfilled, tick};

/// Long enough for any machine, and short enough for a failing test.
const DEADLINE: Duration = Duration::from_secs(60);

/// A client that reads lines of JSON.
struct Client(std::pin::Pin<Box<dyn Stream<Item = String> + Send>>);

impl Client {
    async fn open(rig: &Rig, query: &str) -> Self {
        Self::by(rig.client(), query).await
    }

    async fn by(client: &TestClient<SharedEndpoint>, query: &str) -> Self {
        let mut response = client.get(format!("/v1/stream?format=ndjson{query}")).send().await;
        response.assert_status_is_ok();
        let bytes = response.0.take_body().into_bytes_stream();
        Self(Box::pin(bytes.map(|line| String::from_utf8(line.unwrap().to_vec()).unwrap())))
    }

    /// The next event.
    async fn next(&mut self) -> String {
        let line = tokio::time::timeout(DEADLINE, self.0.next()).await.unwrap();
        let line = line.unwrap();
        assert_eq!(line.find('\n'), Some(line.len() - 1), "{line:?}");
        line
    }

    async fn take(&mut self, count: usize) -> Vec<String> {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(self.next().await);
        }
        events
    }
}

fn field(event: &str, name: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap();
    event[name].as_str().map_or_else(|| event[name].to_string(), str::to_owned)
}

fn ids(events: &[String]) -> Vec<String> {
    events.iter().map(|event| field(event, "id").replace("abc-", "")).collect()
}

/// Sends ticks, gaps, a lead and a message that is not a record. Five records in the middle are lost.
async fn eventful(rig: &mut Rig) {
    rig.send(vec![lead("BTC-USD"), tick("BTC-USD", 10, "1.5"), tick("ETH-USD", 10, "2.50")]).await;
    rig.send(vec![gap("BTC-USD", 20, 40), tick("ETH-USD", 20, "2.51"), b"foreign".to_vec()]).await;
    rig.lose(5);
    rig.send(vec![tick("BTC-USD", 70, "1.6"), tick("ETH-USD", 30, "2.52")]).await;
    rig.send(vec![tick("ETH-USD", 40, "2.53"), tick("BTC-USD", 80, "1.7")]).await;
}

const EVENTFUL: [&str; 9] = ["2", "3", "4", "5", "before-12", "12", "13", "14", "15"];

#[tokio::test]
async fn a_client_that_reconnects_gets_the_rest_and_nothing_twice() {
    let mut rig = Rig::new();
    // A client that is connected from the beginning.
    let mut live = Client::open(&rig, "").await;
    eventful(&mut rig).await;
    let all = live.take(EVENTFUL.len()).await;
    assert_eq!(ids(&all), EVENTFUL);
    for round in ["from memory", "from the store"] {
        for (index, event) in all.iter().enumerate().take(all.len() - 1) {
            let mut client = Client::open(&rig, &format!("&after={}", field(event, "id"))).await;
            assert_eq!(client.take(all.len() - index - 1).await, all[index + 1..], "{round} {event}");
        }
        let mut beginning = Client::open(&rig, "&after=0").await;
        assert_eq!(beginning.take(all.len()).await, all);
        let mut one_pair = Client::open(&rig, "&after=0&pairs=eth_usd").await;
        assert_eq!(ids(&one_pair.take(4).await), ["3", "5", "13", "14"]);
        rig = rig.restarted().await;
    }
}

#[tokio::test]
async fn a_client_without_a_cursor_starts_with_the_newest_events() {
    let mut rig = Rig::new();
    eventful(&mut rig).await;
    rig.send(vec![gap("BTC-USD", 90, 100)]).await;
    let mut both = Client::open(&rig, "").await;
    let mut one = Client::open(&rig, "&pairs=BTC-USD").await;
    assert_eq!(ids(&both.take(3).await), ["14", "15", "16"]);
    assert_eq!(ids(&one.take(2).await), ["15", "16"]);
    rig.send(vec![tick("ETH-USD", 50, "2.54"), tick("BTC-USD", 110, "1.8")]).await;
    let events = both.take(2).await;
    assert_eq!(ids(&events), ["17", "18"]);
    assert_eq!(events[1], one.next().await);
    let expected = serde_json::json!({
        "id": "abc-18", "kind": "tick", "pair": "BTC-USD", "sequence": 18, "slot": "2023-11-14T00:01:50.000Z",
        "interval": "10s", "epoch": 1, "origin": "live", "price": "1.8",
    });
    assert_eq!(serde_json::from_str::<Value>(&events[1]).unwrap(), expected);
    // A client that subscribed to all pairs also gets pairs that are added later.
    rig.send(vec![tick("SOL-USD", 110, "9")]).await;
    assert_eq!(ids(&both.take(1).await), ["19"]);
}

#[tokio::test]
async fn server_sent_events_are_well_formed() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "1.5"), gap("BTC-USD", 20, 40)]).await;
    let mut response = rig.client().get("/v1/stream").header("last-event-id", "abc-0").send().await;
    response.assert_header("content-type", "text/event-stream");
    response.assert_header("cache-control", "no-store");
    let frames = response.0.take_body().into_bytes_stream().take(3).map(Result::unwrap);
    let text = String::from_utf8(frames.collect::<Vec<_>>().await.concat()).unwrap();
    let events: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!((events.len(), events[0]), (3, "retry: 1000"), "{text}");
    for (event, (id, kind)) in events[1..].iter().zip([("abc-1", "tick"), ("abc-2", "gap")]) {
        let data = event.strip_prefix(&format!("id: {id}\nevent: {kind}\ndata: ")).expect(event);
        assert_eq!((field(data, "id").as_str(), field(data, "kind").as_str()), (id, kind));
    }
}

#[tokio::test]
async fn a_cursor_of_another_log_or_beyond_the_end_is_refused() {
    let mut rig = Rig::new();
    eventful(&mut rig).await;
    for (cursor, status, code) in [
        ("other-3", 409, "unknown_cursor"),
        ("abc-999", 409, "unknown_cursor"),
        ("16", 409, "unknown_cursor"),
        ("abc", 400, "invalid_parameter"),
        ("-1", 400, "invalid_parameter"),
        ("a.b-1", 400, "invalid_parameter"),
        ("1.5", 400, "invalid_parameter"),
    ] {
        let refused = rig.get(&format!("/v1/stream?format=ndjson&after={cursor}")).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (status, Some(code)), "{cursor}");
        assert_eq!(refused.body["parameter"], "after");
    }
    for (cursor, status) in [("other-3", 409), ("16", 409), ("1.5", 400)] {
        // `Last-Event-ID` takes precedence over `after`, even if only `after` is valid.
        let refused = rig.ask("/v1/stream?after=0&format=ndjson", &[("last-event-id", cursor)]).await;
        assert_eq!((refused.status, refused.body["parameter"].as_str()), (status, Some("Last-Event-ID")));
    }
    let json = rig.get_as("/v1/stream", "application/json").await;
    assert_eq!((json.status, json.body["code"].as_str()), (406, Some("not_acceptable")));
    let none_yet = rig.client().get("/v1/stream").header("last-event-id", "").send().await;
    none_yet.assert_status_is_ok();
    let unknown = rig.get("/v1/stream?pairs=BTC-USD,DOGE-USD").await;
    assert_eq!((unknown.status, unknown.body["parameter"].as_str()), (404, Some("pairs")));
    assert_eq!(rig.get("/v1/ws").await.status, 426);
}

#[tokio::test]
async fn a_client_that_is_slightly_ahead_waits_for_the_pod() {
    let mut rig = Rig::new();
    eventful(&mut rig).await;
    let client = rig.another_client();
    let (mut client, ()) = tokio::join!(Client::by(&client, "&after=abc-16"), async {
        tokio::task::yield_now().await;
        rig.send_only(vec![tick("ETH-USD", 50, "2.54"), tick("ETH-USD", 60, "2.55")]).await;
    });
    assert_eq!(ids(&client.take(1).await), ["17"]);
}

#[tokio::test]
async fn a_cursor_older_than_history_is_refused() {
    let mut rig = Rig::new();
    const DAY: i64 = 86_400;
    rig.send(vec![tick("BTC-USD", 0, "1"), tick("BTC-USD", 10, "2")]).await;
    // History is kept for two days, so after these records it begins with the tick at 10 s.
    rig.send(vec![gap("BTC-USD", 20, 2 * DAY), tick("BTC-USD", 2 * DAY + 10, "3")]).await;
    rig = rig.restarted().await;
    assert_eq!(ids(&Client::open(&rig, "&after=1").await.take(2).await), ["2", "3"]);
    rig.send(vec![tick("BTC-USD", 2 * DAY + 20, "4")]).await;
    rig = rig.restarted().await;
    let gone = rig.get("/v1/stream?format=ndjson&after=1").await;
    assert_eq!((gone.status, gone.body["code"].as_str()), (410, Some("sequence_gone")));
    assert_eq!(ids(&Client::open(&rig, "&after=2").await.take(2).await), ["3", "4"]);
    assert_eq!(ids(&Client::open(&rig, "&after=0").await.take(2).await), ["3", "4"]);
}

#[tokio::test]
async fn a_client_gets_backfilled_events_only_if_it_asks_for_them() {
    let mut rig = Rig::new();
    rig.send(vec![lead("BTC-USD"), backfilled("BTC-USD", 60, "1.1"), backfilled("BTC-USD", 120, "1.2")])
        .await;
    let (mut newest, mut all) = (Client::open(&rig, "").await, Client::open(&rig, "&after=0").await);
    // More than memory has, so that these are read from the store.
    let past = (3..=1_500).map(|minute| backfilled("BTC-USD", minute * 60, "1.3"));
    rig.send(past.chain([not_backfilled("BTC-USD", 90_010, 90_020)]).collect()).await;
    rig.send(vec![tick("BTC-USD", 90_030, "2"), tick("BTC-USD", 90_040, "3")]).await;
    let events = newest.take(2).await;
    assert_eq!(events.iter().map(|event| field(event, "price")).collect::<Vec<_>>(), ["2", "3"]);
    let events = all.take(1_503).await;
    assert_eq!(events.iter().filter(|event| field(event, "backfilled") == "true").count(), 1_501);
    assert_eq!(field(&events[1_502], "backfilled"), "null");
    assert!(events.iter().all(|event| field(event, "origin") == "live"));
}

/// The reason that a stream gives at its end.
async fn end_code(rig: &Rig, end: impl AsyncFnOnce()) -> String {
    let mut response = rig.client().get("/v1/stream?after=abc-0").send().await;
    let mut frames = response.0.take_body().into_bytes_stream();
    frames.next().await.unwrap().unwrap();
    end().await;
    let rest: Vec<_> = tokio::time::timeout(DEADLINE, frames.map(Result::unwrap).collect()).await.unwrap();
    let last = String::from_utf8(rest.last().unwrap().to_vec()).unwrap();
    let data = last.strip_prefix("event: end\ndata: ").unwrap();
    assert!(!field(data, "detail").is_empty());
    field(data, "code")
}

#[tokio::test]
async fn a_stream_gives_the_reason_for_its_end() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 0, "1")]).await;
    let rig = rig;
    assert_eq!(end_code(&rig, async || rig.stop()).await, "shutting_down");

    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 0, "1")]).await;
    let mut lines = Client::open(&rig, "&after=abc-0").await;
    assert_eq!(field(&lines.next().await, "kind"), "tick");
    rig.stop();
    let last = lines.next().await;
    assert_eq!((field(&last, "kind"), field(&last, "code")), ("end".into(), "shutting_down".into()));
    assert!(!field(&last, "detail").is_empty() && lines.0.next().await.is_none());

    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 0, "1")]).await;
    let mut response = rig.client().get("/v1/stream?after=abc-0").send().await;
    let frames = response.0.take_body().into_bytes_stream();
    rig.lose_log().await;
    let text: Vec<_> = frames.map(Result::unwrap).collect::<Vec<_>>().await.concat();
    assert!(String::from_utf8(text).unwrap().contains("log_replaced"));
}

#[tokio::test]
async fn a_client_that_falls_too_far_behind_is_disconnected_and_can_resume() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 0, "1")]).await;
    let slow = rig.client().get("/v1/stream?after=abc-0").send().await;
    let mut frames = { slow }.0.take_body().into_bytes_stream();
    for _ in 0..2 {
        frames.next().await.unwrap().unwrap();
    }
    // The client reads nothing in the meantime.
    for batch in 0..11 {
        let ticks = (0..1_000).map(|index| tick("BTC-USD", 10 * (1 + batch * 1_000 + index), "1"));
        rig.send(ticks.collect()).await;
    }
    let rest: Vec<_> = frames.map(Result::unwrap).collect().await;
    assert!(rest.len() == 1 && String::from_utf8_lossy(&rest[0]).contains("too_slow"), "{rest:?}");
    // The client reconnects, and is not disconnected again as long as it catches up.
    let mut client = Client::open(&rig, "&after=abc-1").await;
    let all = client.take(11_000).await;
    assert_eq!((field(&all[0], "id"), field(&all[10_999], "id")), ("abc-2".into(), "abc-11001".into()));
}

#[tokio::test]
async fn more_streams_than_the_limit_are_refused() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 0, "1")]).await;
    let mut clients = Vec::new();
    // Two of twelve connections are reserved for requests.
    for _ in 0..10 {
        clients.push(Client::open(&rig, "").await);
    }
    let refused = rig.get("/v1/stream?format=ndjson").await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (503, Some("too_many_streams")));
    assert!(refused.header("retry-after").is_some() && rig.get("/v1/pairs").await.status == 200);
    clients.pop();
    Client::open(&rig, "").await.next().await;
}

#[tokio::test]
async fn a_client_whose_next_events_have_expired_is_disconnected() {
    let mut rig = Rig::new();
    let ticks = |from: i64, count: i64| (from..from + count).map(|index| tick("BTC-USD", 10 * index, "1"));
    // The gap takes the log almost to the end of the two days for which history is kept.
    rig.send(ticks(1, 900).chain([gap("BTC-USD", 9_010, 172_000)]).collect()).await;
    let mut response = rig.client().get("/v1/stream?after=0").send().await;
    let mut frames = response.0.take_body().into_bytes_stream();
    for _ in 0..10 {
        frames.next().await.unwrap().unwrap();
    }
    // The events after the client's current page are now neither in memory nor in the store.
    rig.send(ticks(17_201, 1_000).collect()).await;
    let rest: Vec<String> = tokio::time::timeout(DEADLINE, frames.collect::<Vec<_>>())
        .await
        .unwrap()
        .into_iter()
        .map(|frame| String::from_utf8(frame.unwrap().to_vec()).unwrap())
        .collect();
    let (last, events) = rest.split_last().unwrap();
    assert!(last.contains("history_gone"), "{last}");
    let sequence = |event: &String| event[8..event.find('\n').unwrap()].parse::<u64>().unwrap();
    assert!(events.windows(2).all(|pair| sequence(&pair[0]) + 1 == sequence(&pair[1])));
    let behind = format!("/v1/stream?format=ndjson&after=abc-{}", sequence(events.last().unwrap()));
    assert_eq!(rig.get(&behind).await.body["code"].as_str(), Some("sequence_gone"));
}

#[tokio::test]
async fn a_websocket_counts_as_a_connection_and_gets_a_close_reason() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 0, "1")]).await;
    let served = rig.serve(RateLimit::Off).await;
    let url = format!("ws://{}/v1/ws", served.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let first = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert_eq!((field(&first, "id").as_str(), rig.connections()), ("abc-1", 1));
    // Messages are ignored, but one that is too long closes the connection.
    socket.send(Message::text("hello")).await.unwrap();
    rig.send(vec![tick("BTC-USD", 10, "1")]).await;
    assert!(socket.next().await.unwrap().unwrap().is_text());
    socket.send(Message::text("x".repeat(5_000))).await.unwrap();
    let Message::Close(Some(close_frame)) = socket.next().await.unwrap().unwrap() else {
        unreachable!("a close frame")
    };
    assert_eq!(u16::from(close_frame.code), 1_002);
    drop(socket);
    testkit::wait_until("the connection is gone", DEADLINE, async || (rig.connections() == 0).then_some(()))
        .await;
}

#[tokio::test]
async fn only_a_get_request_with_an_upgrade_becomes_a_websocket() {
    let rig = Rig::new();
    let asking = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    let plain = rig.get("/v1/ws").await;
    assert_eq!((plain.status, plain.header("upgrade")), (426, Some("websocket")));
    assert_eq!(plain.header("sec-websocket-version"), Some("13"));
    let head = rig.client().head("/v1/ws");
    let head = asking.iter().fold(head, |head, (name, value)| head.header(*name, *value)).send().await;
    head.assert_status(poem::http::StatusCode::UPGRADE_REQUIRED);
}
