//! What is shown if a stream arrives in pieces, is interrupted, ends, stops sending, or is refused.

use std::{
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::{clock::ManualClock, domain::Timestamp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

use super::*;
use crate::{
    pod::Key,
    watch::{event::Body, text::line},
};

/// How long a pod may send nothing. This is longer than any test takes.
const SILENCE: Duration = Duration::from_secs(600);

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n\n";

/// An output that keeps everything that is written to it.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_millis(second * 1_000).unwrap()
}

pub(super) fn tick(number: i64, price: &str) -> String {
    let slot = at(number * 10);
    let data = format!(
        r#"{{"id":"log-{number}","kind":"tick","pair":"BTC-USD","sequence":{number},"slot":"{slot}","interval":"10s","price":"{price}","epoch":1,"origin":"live"}}"#
    );
    format!("{data}\n")
}

pub(super) fn gap(number: i64, from: i64) -> String {
    let (slot, from) = (at(number * 10), at(from * 10));
    let data = format!(
        r#"{{"id":"log-{number}","kind":"gap","pair":"BTC-USD","sequence":null,"slot":"{slot}","from":"{from}","interval":"10s","cause":"retention","epoch":null,"origin":"simulated"}}"#
    );
    format!("{data}\n")
}

pub(super) fn read(sent: &str) -> Event {
    match Message::read(sent).unwrap() {
        Message::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

/// A pod that sends these bytes to one client after the other and closes each connection. If a part is empty, it
/// sends nothing until the client closes the connection. Returns its address, and the requests that it receives.
async fn pod(says: Vec<Vec<String>>) -> (String, mpsc::Receiver<String>) {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (requests, received) = mpsc::channel(64);
    tokio::spawn(async move {
        for parts in says {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(client.read_u8().await.unwrap());
            }
            requests.send(String::from_utf8(request).unwrap()).await.unwrap();
            for part in parts {
                if part.is_empty() {
                    // Wait until the client closes the connection.
                    let _ = client.read_u8().await;
                }
                client.write_all(part.as_bytes()).await.unwrap();
                client.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        }
        std::future::pending::<()>().await;
    });
    (url, received)
}

/// Watches until `enough` is written. Returns what was written to both outputs.
async fn watched(look: Look, urls: &[&str], enough: impl Fn(&str) -> bool) -> (String, String) {
    let (output, notes) = (Paper::default(), Paper::default());
    let ended = watching(look, urls, SILENCE, (&output, &notes), &enough).await;
    assert!(ended.is_none(), "{ended:?}; {}", notes.text());
    (output.text(), notes.text())
}

async fn watching(
    look: Look,
    urls: &[&str],
    silence: Duration,
    (output, notes): (&Paper, &Paper),
    enough: &impl Fn(&str) -> bool,
) -> Option<String> {
    let pods = urls
        .iter()
        .map(|url| PodClient::streaming("--url", url, &Key::default(), silence).unwrap())
        .collect();
    let mut watch = Watch {
        pods,
        state: State::new(vec!["BTC-USD".parse().unwrap()]),
        screen: Screen::new(
            look,
            Box::new(output.clone()),
            Box::new(notes.clone()),
            Box::new(|| Size::USUAL),
        ),
        clock: Arc::new(ManualClock::new(at(40))),
        first_wait: Duration::from_millis(20),
    };
    let seen = testkit::wait_until("what is waited for", Duration::from_secs(60), async || {
        enough(&output.text()).then_some(())
    });
    tokio::select! {
        ended = watch.run() => Some(format!("{:#}", ended.unwrap_err())),
        () = seen => None,
    }
}

#[tokio::test]
async fn a_broken_stream_resumes_after_the_last_complete_event_at_the_next_pod() {
    let second = tick(2, "101.50");
    let (half, _) = second.split_at(second.len() - 1);
    let (one, mut asked_one) = pod(vec![
        // The events arrive in pieces, with a heartbeat before them and half an event at the end.
        vec![
            STREAM.into(),
            "\n".into(),
            tick(1, "100.00")[..20].into(),
            tick(1, "100.00")[20..].into(),
            half.into(),
        ],
        vec![STREAM.into(), tick(4, "101.2"), String::new()],
    ])
    .await;
    let end = "{\"kind\":\"end\",\"code\":\"shutting_down\",\"detail\":\"this pod is about to stop\"}\n";
    let (other, mut asked_other) =
        pod(vec![vec![STREAM.into(), tick(2, "101.50"), gap(3, 3), end.into()], vec![String::new()]]).await;
    let (shown, noted) = watched(Look::Plain, &[&one, &other], |text| text.lines().count() == 4).await;
    assert_eq!(
        shown.lines().collect::<Vec<_>>(),
        [
            "1970-01-01T00:00:10.000Z BTC-USD 100.00",
            "1970-01-01T00:00:20.000Z BTC-USD 101.50 ▲ +1.50",
            "1970-01-01T00:00:30.000Z BTC-USD gap retention from 1970-01-01T00:00:30.000Z simulated",
            "1970-01-01T00:00:40.000Z BTC-USD 101.2 ▼ −0.30",
        ]
    );
    assert!(asked_one.recv().await.unwrap().starts_with("GET /v1/stream?pairs=BTC-USD HTTP/1.1\r\n"));
    assert!(asked_other.recv().await.unwrap().contains("last-event-id: log-1\r\n"));
    assert!(asked_one.recv().await.unwrap().contains("last-event-id: log-3\r\n"));
    assert!(noted.contains("reason: this pod is about to stop"), "{noted}");
}

#[tokio::test]
async fn a_pod_that_sends_nothing_is_considered_gone() {
    let (url, _asked) = pod(vec![
        vec![STREAM.into(), tick(1, "100.00"), String::new()],
        vec![STREAM.into(), tick(2, "100.00"), String::new()],
    ])
    .await;
    let (output, notes) = (Paper::default(), Paper::default());
    let (silence, enough) = (Duration::from_millis(300), |text: &str| text.lines().count() == 2);
    watching(Look::Plain, &[&url], silence, (&output, &notes), &enough).await;
    assert!(output.text().ends_with("BTC-USD 100.00 = 0\n"), "{}", output.text());
    assert!(notes.text().contains("stopped sending"), "{}", notes.text());
}

#[tokio::test]
async fn an_event_without_an_end_is_cut_off() {
    let (url, _asked) = pod(vec![
        vec![STREAM.into(), tick(1, "1"), "x".repeat(2 * 1024 * 1024), String::new()],
        vec![STREAM.into(), tick(2, "2"), String::new()],
    ])
    .await;
    let (_, noted) = watched(Look::Json, &[&url], |text| text.contains("log-2")).await;
    assert!(!noted.contains("stopped sending"), "{noted}");
}

#[tokio::test]
async fn an_unknown_cursor_is_given_up_and_that_is_reported() {
    let problem = r#"{"code":"unknown_cursor","detail":"that cursor is of another log"}"#;
    let refused = format!(
        "HTTP/1.1 409 Conflict\r\ncontent-type: application/problem+json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{problem}",
        problem.len()
    );
    let (url, mut asked) = pod(vec![
        vec![STREAM.into(), tick(5, "100.00")],
        // The first few refusals may only mean that the pod is behind.
        vec![refused.clone()],
        vec![refused.clone()],
        vec![refused.clone()],
        vec![refused],
        // The pod repeats the newest event, which was already shown.
        vec![STREAM.into(), tick(5, "100.00"), tick(6, "99.9"), String::new()],
    ])
    .await;
    let (shown, noted) = watched(Look::Plain, &[&url], |text| text.lines().count() == 2).await;
    assert!(shown.ends_with("BTC-USD 99.9 ▼ −0.10\n"), "{shown}");
    assert!(noted.contains("another log; starting again"), "{noted}");
    assert_eq!(noted.matches("starting again").count(), 1, "{noted}");
    for has_cursor in [false, true, true, true, true, false] {
        assert_eq!(asked.recv().await.unwrap().contains("last-event-id"), has_cursor);
    }
}

#[tokio::test]
async fn what_a_retry_cannot_fix_is_an_error_with_a_remedy() {
    let response = |status: &str, media_type: &str, body: &str| {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let unknown = r#"{"code":"unknown_pair","detail":"the log has no pair BTC-USD; it has ETH-USD"}"#;
    for (says, expected) in [
        (response("404 Not Found", "application/problem+json", unknown), "it has ETH-USD"),
        (response("200 OK", "text/html", "<p>hello"), "(200 OK)"),
        (response("404 Not Found", "text/plain", "no"), "--url"),
    ] {
        let (url, _asked) = pod(vec![vec![says]]).await;
        let papers = (Paper::default(), Paper::default());
        let ended =
            watching(Look::Plain, &[&url], SILENCE, (&papers.0, &papers.1), &|_| false).await.unwrap();
        assert!(ended.contains(expected) && ended.contains(&url), "{ended}");
    }
}

#[test]
fn waits_grow_are_bounded_and_respect_the_pod() {
    let millis = |failures, asked| {
        let asked = Option::<u64>::map(asked, Duration::from_secs);
        [0, 1].map(|share| wait(FIRST_WAIT, failures, asked, |whole| whole * share).as_millis())
    };
    assert_eq!(millis(0, None), [250, 500]);
    assert_eq!(millis(3, None), [2_000, 4_000]);
    assert_eq!(millis(1_000, None), [16_000, 32_000]);
    assert_eq!(millis(0, Some(7)), [7_000, 7_000]);
    assert_eq!(millis(9, Some(7)), [16_000, 32_000]);
    assert_eq!(millis(0, Some(1_000_000)), [60_000, 60_000]);
}

#[test]
fn an_event_is_a_line_and_is_shown_once() {
    let mut state = State::new(vec!["BTC-USD".parse().unwrap()]);
    state.take(read(&tick(1, "100.0"))).unwrap();
    let shown = state.take(read(&tick(2, "98.25"))).unwrap();
    assert_eq!(line(&shown), "1970-01-01T00:00:20.000Z BTC-USD 98.25 ▼ −1.75");
    // A repeated event and one of another pair are not shown.
    assert!(state.take(read(&tick(2, "98.25"))).is_none());
    assert!(state.take(read(&tick(3, "98.25").replace("BTC-USD", "ETH-USD"))).is_none());
    let shown = state.take(read(&gap(4, 3).replace("retention", "re\\u001b[31mtention"))).unwrap();
    assert!(matches!(&shown.event.body, Body::Gap { cause, .. } if cause.contains('\x1b')));
    assert!(line(&shown).contains("gap re [31mtention from"), "{}", line(&shown));
}

#[tokio::test]
async fn a_table_is_redrawn_in_place() {
    let (url, _asked) =
        pod(vec![vec![STREAM.into(), tick(1, "100.00"), tick(2, "101.00"), String::new()]]).await;
    let look = Look::Table { colour: false };
    let (shown, noted) = watched(look, &[&url], |text| text.contains("▲ +1.00")).await;
    let first = "\x1b[?7l\r\x1b[KBTC-USD    waiting for a price\n\r\x1b[Kconnecting\n\x1b[J\x1b[?7h";
    assert!(shown.starts_with(&format!("{first}\x1b[?7l\x1b[2A\r\x1b[K")), "{shown:?}");
    assert!(
        shown.contains(&format!("\r\x1b[Kconnected to {url}\n")) && noted.is_empty(),
        "{shown:?} {noted}"
    );
}

#[test]
fn a_resized_terminal_is_cleared() {
    let (output, columns) = (Paper::default(), Arc::new(AtomicUsize::new(80)));
    let size = {
        let columns = columns.clone();
        move || Size { columns: columns.load(Ordering::Relaxed), lines: 24 }
    };
    let look = Look::Table { colour: false };
    let mut screen = Screen::new(look, Box::new(output.clone()), Box::new(Paper::default()), Box::new(size));
    let state = State::new(vec!["BTC-USD".parse().unwrap()]);
    let mut drawn = || {
        let before = output.text().len();
        screen.redraw(&state, at(0)).unwrap();
        output.text().split_off(before)
    };
    assert!(drawn().starts_with("\x1b[?7l\r\x1b[KBTC-USD"));
    assert!(drawn().starts_with("\x1b[?7l\x1b[2A\r\x1b[KBTC-USD"));
    columns.store(12, Ordering::Relaxed);
    assert!(drawn().starts_with("\x1b[?7l\x1b[H\x1b[2J\r\x1b[KBTC-USD …\n"));
    assert!(drawn().starts_with("\x1b[?7l\x1b[2A\r"));
}

#[test]
fn malformed_events_are_refused() {
    for json in [
        "{}",
        "no JSON",
        r#"{"kind":"tick"}"#,
        r#"{"kind":"end"}"#,
        &tick(1, "1").replace(r#""kind":"tick""#, r#""kind":"gap""#),
        &tick(1, "0"),
    ] {
        assert!(Message::read(json).is_err(), "{json}");
    }
    // An id becomes a part of a request. Before, one with a line break made every further connection fail.
    for id in ["", "a\\nb", "a\\u0000", "a b", "é"] {
        let hostile = tick(1, "1").replace("\"id\":\"log-1\"", &format!("\"id\":\"{id}\""));
        assert!(Message::read(&hostile).unwrap_err().starts_with("id"), "{hostile}");
    }
    assert_eq!(Message::read(r#"{"kind":"novelty"}"#), Ok(Message::Other));
}
