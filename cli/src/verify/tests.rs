//! Pods whose responses are the same, and pods whose responses differ.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use super::*;
use crate::pod::fake::{self, Said};

/// A pod at sequence `newest` that serves every route. `change` can modify each response.
async fn pod(newest: u64, change: impl Fn(&str, u64, &mut Said) + Send + Sync + 'static) -> String {
    fake::start(move |target| {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let at = query.split('&').find_map(|part| part.strip_prefix("at_sequence="));
        let at = at.map_or(newest, |at| at.parse().unwrap());
        let mut said = (200, format!("X-Tickwell-Sequence: {at}\r\n"), body(path, query, at).to_string());
        change(target, at, &mut said);
        said
    })
    .await
}

fn body(path: &str, query: &str, at: u64) -> Value {
    match path {
        "/v1/pairs" => json!({"items": [{"pair": "BTC-USD", "sequence": at, "stale": false}]}),
        _ if path.ends_with("/history") => {
            let next = if query.contains("cursor=") { Value::Null } else { json!("a1") };
            json!({"items": [{"price": "1.50", "sequence": at}, {"price": "1.40", "sequence": at}], "next_cursor": next})
        }
        _ => json!({"asked": path, "query": query, "sequence": at}),
    }
}

fn honest(_target: &str, _at: u64, _said: &mut Said) {}

/// The result, and what was printed.
async fn verified(urls: &[&String]) -> (Result<Tally>, String) {
    let mut said = String::new();
    let urls: Vec<String> = urls.iter().map(|url| (*url).clone()).collect();
    let tally = verify(&urls, &Key::default(), &mut |line| {
        said.push_str(line);
        Ok(())
    })
    .await;
    (tally, said)
}

#[tokio::test]
async fn pods_are_compared_at_the_oldest_of_their_sequences() {
    let (one, other) = (pod(900, honest).await, pod(905, honest).await);
    let (tally, said) = verified(&[&one, &other, &one]).await;
    let tally = tally.unwrap();
    assert!(said.starts_with("Comparing at sequence 900:\n  A  http"), "{said}");
    assert_eq!((tally.differing, tally.skipped), (0, 0), "{said}");
    for route in ["/v1/pairs", "/v1/prices", "/v1/sources", "/v1/ticks/900", "/v1/prices/BTC-USD"] {
        assert!(said.contains(&format!("same     {route}\n")), "{route} in:\n{said}");
    }
    for part in [
        "convert?from=USD&to=BTC&amount=1.5",
        "window=365d",
        "interval=4h",
        "order=asc&limit=1000&cursor=a1",
        "gaps?order=desc",
    ] {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
    assert_eq!(said.matches("/v1/ticks/").count(), 32);
}

#[tokio::test]
async fn a_difference_is_reported_with_its_place_and_both_values() {
    let (one, two) = (pod(7, honest).await, pod(7, honest).await);
    let three = pod(7, |target, _, said| {
        if target.contains("history?order=asc") {
            said.2 = said.2.replace("1.40", "1.41");
        }
    })
    .await;
    let (tally, said) = verified(&[&one, &two, &three]).await;
    assert_eq!(tally.unwrap().differing, 2, "each page:\n{said}");
    let expected = "DIFFERS  /v1/prices/BTC-USD/history?order=asc&limit=1000\n           .items[1].price\n             \
                    A  \"1.40\"\n             C  \"1.41\"\n";
    assert!(said.contains(expected), "{said}");
}

#[tokio::test]
async fn staleness_is_ignored_and_everything_else_is_compared() {
    let one = pod(7, honest).await;
    let stale = pod(7, |_, _, said| said.2 = said.2.replace("\"stale\":false", "\"stale\":true")).await;
    assert_eq!(verified(&[&one, &stale]).await.0.unwrap().differing, 0);
    let spaced = pod(7, |_, _, said| said.2 = said.2.replacen(':', ": ", 1)).await;
    let (tally, said) = verified(&[&one, &spaced]).await;
    assert_eq!(tally.unwrap().same, 0, "the same JSON in other bytes:\n{said}");
    assert!(said.contains("byte "), "{said}");
    let refusing = pod(7, |target, _, said| {
        if target.contains("window=365d") {
            (said.0, said.2) = (400, json!({"code": "invalid_parameter", "detail": target}).to_string());
        }
    })
    .await;
    let (tally, said) = verified(&[&one, &refusing]).await;
    assert_eq!(tally.unwrap().differing, 1);
    assert!(said.contains("status\n             A  200 \n             B  400 invalid_parameter\n"), "{said}");
    let (tally, said) = verified(&[&refusing, &refusing]).await;
    assert_eq!(tally.unwrap().differing, 0);
    assert!(said.contains("window=365d: all respond with 400 invalid_parameter\n"), "{said}");
}

#[tokio::test]
async fn a_route_that_a_pod_does_not_have_is_skipped_and_reported() {
    let without_candles = |target: &str, _at: u64, said: &mut Said| {
        if target.contains("/candles") {
            (said.0, said.2) = (404, json!({"code": "not_found"}).to_string());
        }
    };
    let (one, old) = (pod(7, honest).await, pod(7, without_candles).await);
    let (tally, said) = verified(&[&one, &old]).await;
    assert_eq!(tally.unwrap().skipped, 12);
    assert!(
        said.contains(
            "skipped  /v1/prices/BTC-USD/candles?interval=1m&order=desc&limit=1000: B has no such route\n"
        ),
        "{said}"
    );
    let unknown = |target: &str, _at: u64, said: &mut Said| {
        if target.contains("/ticks/3") {
            (said.0, said.2) = (404, json!({"code": "unknown_sequence"}).to_string());
        }
    };
    let forgetful = pod(7, unknown).await;
    assert_eq!(verified(&[&one, &forgetful]).await.0.unwrap().differing, 1, "a lost record is a difference");
}

#[tokio::test]
async fn a_pod_that_has_not_reached_the_sequence_is_waited_for() {
    let tries = Arc::new(AtomicUsize::new(0));
    let one = pod(7, honest).await;
    let slow = pod(7, move |target, _, said| {
        if target.contains("at_sequence=7") && tries.fetch_add(1, Ordering::Relaxed) < 2 {
            *said = (409, "Retry-After: 0\r\n".to_owned(), json!({"code": "sequence_ahead"}).to_string());
        }
    })
    .await;
    assert_eq!(verified(&[&one, &slow]).await.0.unwrap().differing, 0);
}

#[tokio::test]
async fn pods_that_cannot_be_compared_are_an_error() {
    let one = pod(7, honest).await;
    let gone = pod(7, |target, _, said| {
        if target.contains("at_sequence") {
            (said.0, said.2) = (410, json!({"code": "sequence_gone"}).to_string());
        }
    })
    .await;
    let broken = pod(7, |target, _, said| {
        if target.contains("/gaps") {
            (said.0, said.2) = (500, json!({"code": "internal"}).to_string());
        }
    })
    .await;
    let old = pod(8, |_, _, said| said.1 = "X-Tickwell-Sequence: 8\r\n".to_owned()).await;
    let foreign = pod(7, |_, _, said| said.1.clear()).await;
    let empty = pod(0, honest).await;
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
