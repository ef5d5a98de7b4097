//! Sources that refuse requests for a while. The upstream's log of requests shows when they are polled again.

use testkit::{
    Venue::{self, Bitfinex, Bitstamp, Coinbase, Coingecko, Gemini, Kraken},
    upstream::SentKey,
    wait_until,
};

use super::{RESTING, Trial, fails};
use crate::harness::{DEADLINE, Scene};

/// The times of the requests to a venue since its fault began, oldest first.
fn asked_since(trial: &Trial, venue: Venue) -> Vec<i64> {
    let requests = trial.upstream.requests_to(venue);
    requests.into_iter().map(|request| request.time_ms).filter(|time_ms| *time_ms > trial.began_ms).collect()
}

/// Waits for the second request since the fault began. Returns the times of the first two.
async fn first_two(trial: &Trial, venue: Venue) -> [i64; 2] {
    wait_until("the source is asked again", DEADLINE, async || {
        let asked = asked_since(trial, venue);
        Some([*asked.first()?, *asked.get(1)?])
    })
    .await
}

/// The source asks for two seconds without requests. No request may be sent earlier.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_in_seconds() {
    let mut trial = fails(Kraken, "429:2", "http_429").await;
    let [first, second] = first_two(&trial, Kraken).await;
    assert!(second - first >= 2_000, "asked again after {} ms", second - first);
    trial.upstream.set_fault(Kraken, None);
    trial.read().await;
    assert!(trial.count(Kraken, RESTING) >= 4, "two seconds are eight slots");
    trial.read_until("it is used again", |records| records.last().unwrap().verdict("kraken") == "used").await;
}

/// `Retry-After` may also be an HTTP date.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_as_a_date() {
    let trial = fails(Gemini, "429:date:3", "http_429").await;
    let [first, second] = first_two(&trial, Gemini).await;
    // An HTTP date has whole seconds, so the fraction of a second was cut off.
    let named = (first + 3_000) / 1_000 * 1_000;
    assert!(second >= named, "asked {} ms too early", named - second);
}

/// `Retry-After` is obeyed with any status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unavailable_until_later() {
    let trial = fails_once(Coinbase, "503:2", "http_5xx").await;
    let [first, second] = first_two(&trial, Coinbase).await;
    assert!(second - first >= 2_000, "asked again after {} ms", second - first);
}

/// Like [`fails`], but waits for only one failure, because the source is not polled for a while after it.
async fn fails_once(venue: Venue, fault: &str, verdict: &str) -> Trial {
    let mut trial = Trial::start(&super::five_with(venue)).await;
    trial.begin(&[venue], fault);
    super::is_marked(&mut trial, venue, verdict, 1).await;
    trial
}

/// A source that reports too many requests, without `Retry-After`, is not polled for a minute.
async fn is_left_alone(venue: Venue, fault: &str, verdict: &str) {
    let mut trial = fails(venue, fault, verdict).await;
    trial.read_until("slots pass", |records| records.len() >= 8).await;
    // At most one request may have got the fault's response. If the machine stalled, requests before it may have timed
    // out.
    let late = trial.count(venue, super::LATE);
    assert!(asked_since(&trial, venue).len() <= 1 + late, "{:?}", asked_since(&trial, venue));
    assert!(trial.count(venue, RESTING) >= 6);
}

/// Bitfinex blocks a client for a minute, and does not send `Retry-After`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bitfinex_is_left_alone() {
    is_left_alone(Bitfinex, "limited", "http_429").await;
}

/// Kraken reports "too many requests" in the body of an HTTP 200.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kraken_is_left_alone() {
    is_left_alone(Kraken, "limited", "rate_limited").await;
}

/// Bitstamp reports "too many requests" as a code in the body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bitstamp_is_left_alone() {
    is_left_alone(Bitstamp, "limited", "rate_limited").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_is_obeyed() {
    is_left_alone(Coinbase, "418", "http_418").await;
}

/// A source that keeps failing is asked again after one slot, then two, four and so on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_keeps_failing_is_polled_less_and_less_often() {
    let mut trial = fails(Kraken, "500", "http_5xx").await;
    trial
        .read_until("four tries", |records| {
            records.iter().filter(|record| record.verdict("kraken") != RESTING).count() >= 4
        })
        .await;
    let tried = trial.records.iter().filter(|record| record.verdict("kraken") != RESTING);
    let slots: Vec<i64> = tried.map(|record| record.slot.unwrap().0 / super::SLOT_MS).collect();
    for (number, between) in slots.windows(2).enumerate() {
        // If the machine stalls, the distance between two attempts may be longer, but never shorter.
        assert!(between[1] - between[0] >= 1 << number, "{slots:?}");
    }
    // There is one request per attempt. Another one may have been sent since the records were read.
    assert!(asked_since(&trial, Kraken).len() <= slots.len() + 1);
}

/// Requests to CoinGecko have the configured key, in the header for this kind of key. Requests to other sources have no
/// key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_coingecko_gets_its_key() {
    let keyed = |scene: Scene| scene.with("TICKWELL__SOURCES__COINGECKO__KEY", "CG-not-a-real-key");
    let trial = Trial::with(&super::five_with(Coingecko), keyed).await;
    let sent = SentKey { header: "x-cg-demo-api-key".to_owned(), value: "CG-not-a-real-key".to_owned() };
    for request in trial.upstream.requests() {
        assert_eq!(request.key, (request.venue == Some(Coingecko)).then(|| sent.clone()), "{request:?}");
    }
    let lines = trial.pod.process.lines().join("\n");
    assert!(!lines.contains("not-a-real-key"), "{lines}");
}
