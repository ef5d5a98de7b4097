//! Pods whose responses are the same, and pods whose responses differ.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use super::*;
use crate::pod::fake::{self, FakeResponse};

/// A pod at sequence `newest` that serves every route. `change` can modify each response.
async fn pod(newest: u64, change: impl Fn(&str, u64, &mut FakeResponse) + Send + Sync + 'static) -> String {
    fake::start(move |target| {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let at = query.split('&').find_map(|part| part.strip_prefix("at_sequence="));
        let at = at.map_or(newest, |at| at.parse().unwrap());
        let mut response = (200, format!("X-Tickwell-Sequence: {at}\r\n"), body(path, query, at).to_string());
        change(target, at, &mut response);
        response
    })
    .await
}

fn body(path: &str, query: &str, at: u64) -> Value {
    match path {
        "/v1/pairs" => {
            json!({"items": [{"pair": "BTC-USD", "slot": "2026-11-21T00:00:10.000Z", "sequence": at, "stale": false}]})
        }
        _ if path.ends_with("/history") => {
            let next = if query.contains("cursor=") { Value::Null } else { json!("a1") };
            json!({"items": [{"price": "1.50", "sequence": at}, {"price": "1.40", "sequence": at}], "next_cursor": next})
        }
        _ => json!({"asked": path, "query": query, "sequence": at}),
    }
}

fn unchanged(_target: &str, _at: u64, _response: &mut FakeResponse) {}

/// The result, and what was printed.
async fn verified(urls: &[&String]) -> (Result<Tally>, String) {
    let mut printed = String::new();
    let urls: Vec<String> = urls.iter().map(|url| (*url).clone()).collect();
    let tally = verify(&urls, &Key::default(), &mut |line| {
        printed.push_str(line);
        Ok(())
    })
    .await;
    (tally, printed)
}

#[tokio::test]
async fn pods_are_compared_at_the_oldest_of_their_sequences() {
    let (one, other) = (pod(900, unchanged).await, pod(905, unchanged).await);
    let (tally, printed) = verified(&[&one, &other, &one]).await;
    let tally = tally.unwrap();
    assert!(printed.starts_with("Comparing at sequence 900:\n  A  http"), "{printed}");
    assert_eq!((tally.differing, tally.skipped), (0, 0), "{printed}");
    for route in ["/v1/pairs", "/v1/prices", "/v1/sources", "/v1/ticks/900", "/v1/prices/BTC-USD"] {
        assert!(printed.contains(&format!("same     {route}\n")), "{route} in:\n{printed}");
    }
    for part in [
        "convert?from=USD&to=BTC&amount=1.5",
        "window=365d",
        "interval=4h",
        "order=asc&limit=1000&cursor=a1",
        "gaps?order=desc",
        "BTC-USD/at?time=1795219210000&time=1795219209000&time=",
    ] {
        assert!(printed.contains(part), "{part} in:\n{printed}");
    }
    assert_eq!(printed.matches("/v1/ticks/").count(), 32);
}

#[tokio::test]
async fn a_difference_is_reported_with_its_place_and_both_values() {
    let (one, two) = (pod(7, unchanged).await, pod(7, unchanged).await);
    let three = pod(7, |target, _, response| {
        if target.contains("history?order=asc") {
            response.2 = response.2.replace("1.40", "1.41");
        }
    })
    .await;
    let (tally, printed) = verified(&[&one, &two, &three]).await;
    assert_eq!(tally.unwrap().differing, 2, "each page:\n{printed}");
    let expected = "DIFFERS  /v1/prices/BTC-USD/history?order=asc&limit=1000\n           .items[1].price\n             \
                    A  \"1.40\"\n             C  \"1.41\"\n";
    assert!(printed.contains(expected), "{printed}");
}

#[tokio::test]
async fn staleness_is_ignored_and_everything_else_is_compared() {
    let one = pod(7, unchanged).await;
    let stale =
        pod(7, |_, _, response| response.2 = response.2.replace("\"stale\":false", "\"stale\":true")).await;
    assert_eq!(verified(&[&one, &stale]).await.0.unwrap().differing, 0);
    let spaced = pod(7, |_, _, response| response.2 = response.2.replacen(':', ": ", 1)).await;
    let (tally, printed) = verified(&[&one, &spaced]).await;
    assert_eq!(tally.unwrap().same, 0, "the same JSON in other bytes:\n{printed}");
    assert!(printed.contains("byte "), "{printed}");
    let refusing = pod(7, |target, _, response| {
        if target.contains("window=365d") {
            (response.0, response.2) =
                (400, json!({"code": "invalid_parameter", "detail": target}).to_string());
        }
    })
    .await;
    let (tally, printed) = verified(&[&one, &refusing]).await;
    assert_eq!(tally.unwrap().differing, 1);
    assert!(
        printed.contains("status\n             A  200 \n             B  400 invalid_parameter\n"),
        "{printed}"
    );
    let (tally, printed) = verified(&[&refusing, &refusing]).await;
    assert_eq!(tally.unwrap().differing, 0);
    assert!(printed.contains("window=365d: all respond with 400 invalid_parameter\n"), "{printed}");
}

#[tokio::test]
async fn a_route_that_a_pod_does_not_have_is_skipped_and_reported() {
    let without_candles = |target: &str, _at: u64, response: &mut FakeResponse| {
        if target.contains("/candles") {
            (response.0, response.2) = (404, json!({"code": "not_found"}).to_string());
        }
    };
    let (one, old) = (pod(7, unchanged).await, pod(7, without_candles).await);
    let (tally, printed) = verified(&[&one, &old]).await;
    assert_eq!(tally.unwrap().skipped, 12);
    assert!(
        printed.contains(
            "skipped  /v1/prices/BTC-USD/candles?interval=1m&order=desc&limit=1000: B has no such route\n"
        ),
        "{printed}"
    );
    let unknown = |target: &str, _at: u64, response: &mut FakeResponse| {
        if target.contains("/ticks/3") {
            (response.0, response.2) = (404, json!({"code": "unknown_sequence"}).to_string());
        }
    };
    let forgetful = pod(7, unknown).await;
    assert_eq!(verified(&[&one, &forgetful]).await.0.unwrap().differing, 1, "a lost record is a difference");
}

#[tokio::test]
async fn a_pod_that_has_not_reached_the_sequence_is_waited_for() {
    let tries = Arc::new(AtomicUsize::new(0));
    let one = pod(7, unchanged).await;
    let slow = pod(7, move |target, _, response| {
        if target.contains("at_sequence=7") && tries.fetch_add(1, Ordering::Relaxed) < 2 {
            *response = (409, "Retry-After: 0\r\n".to_owned(), json!({"code": "sequence_ahead"}).to_string());
        }
    })
    .await;
    assert_eq!(verified(&[&one, &slow]).await.0.unwrap().differing, 0);
}

#[tokio::test]
async fn pods_that_cannot_be_compared_are_an_error() {
    let one = pod(7, unchanged).await;
    let gone = pod(7, |target, _, response| {
        if target.contains("at_sequence") {
            (response.0, response.2) = (410, json!({"code": "sequence_gone"}).to_string());
        }
    })
    .await;
    let broken = pod(7, |target, _, response| {
        if target.contains("/gaps") {
            (response.0, response.2) = (500, json!({"code": "internal"}).to_string());
        }
    })
    .await;
    let old = pod(8, |_, _, response| response.1 = "X-Tickwell-Sequence: 8\r\n".to_owned()).await;
    let foreign = pod(7, |_, _, response| response.1.clear()).await;
    let of_log = |log: &'static str| {
        move |_: &str, _, response: &mut FakeResponse| {
            response.1.push_str(&format!("X-Tickwell-Log: {log}\r\n"));
        }
    };
    let (a, b) = (pod(7, of_log("aaa")).await, pod(7, of_log("bbb")).await);
    let error = verified(&[&one, &a, &b]).await.0.unwrap_err().to_string();
    assert!(error.contains(&format!("{a} and {b} follow different logs (aaa and bbb)")), "{error}");
    assert_eq!(
        verified(&[&one, &a, &a]).await.0.unwrap().differing,
        0,
        "an old version does not send its log"
    );
    let empty = pod(0, unchanged).await;
    for (other, reason) in [
        (gone, "sequence 7"),
        (broken, "/gaps"),
        (old, "at_sequence"),
        (foreign, "newest sequence"),
        (empty, "no records yet"),
        ("http://127.0.0.1:1".to_owned(), "newest sequence of http://127.0.0.1:1"),
        ("ftp://127.0.0.1".to_owned(), "ftp://127.0.0.1"),
    ] {
        let error = verified(&[&one, &other]).await.0.unwrap_err();
        assert!(format!("{error:#}").contains(reason), "{reason} in: {error:#}");
    }
}
