//! Connections that break, stall, or lie about what they carry; and none at all.

use testkit::Venue::{self, Bitfinex, Bitstamp, Coinbase, Gemini, Kraken};

use super::{Trial, fails};
use crate::harness::Scene;

/// Row 23.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_a_reset_within_the_body_and_the_way_back() {
    let mut trial = fails(Kraken, "reset", "malformed").await;
    trial.upstream.set_fault(Kraken, None);
    trial
        .read_until("Kraken is used again", |records| records.last().unwrap().verdict("kraken") == "used")
        .await;
    trial.check_honest();
}

/// Row 23.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_a_connection_closed_without_an_answer() {
    fails(Gemini, "close", "unreachable").await;
}

/// Row 23: the slot does not wait for it, and neither do the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_silence() {
    fails(Coinbase, "hang", "timeout").await;
}

/// Row 23: an answer after the deadline is none, and belongs to no later slot either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_an_answer_too_late() {
    fails(Bitstamp, "slow:1", "timeout").await;
}

/// Row 36.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_36_a_drip() {
    fails(Bitfinex, "drip", "timeout").await;
}

/// Row 27: the length that is announced never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_27_too_long_a_length() {
    fails(Coinbase, "short", "malformed").await;
}

/// Row 27: what is left of the body must not become the next slot's answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_27_too_short_a_length_poisons_no_later_answer() {
    let mut trial = fails(Kraken, "long", "malformed").await;
    trial.begin_honest();
    trial
        .read_until("Kraken is used again", |records| {
            records.iter().filter(|record| record.verdict("kraken") == "used").count() >= 2
        })
        .await;
    trial.check_honest();
}

/// Row 24.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_24_a_name_that_is_not_found() {
    // Reserved for this: no resolver knows it. One that cannot be reached takes its time to say so.
    check_address("http://tickwell.invalid", &["dns", "timeout"]).await;
}

/// Row 23: nobody listens at the address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_a_closed_port() {
    check_address("http://127.0.0.1:1", &["unreachable"]).await;
}

/// One of five sources is sent to this address from the start; the others make the price.
async fn check_address(url: &str, expected: &[&str]) {
    let broken = |scene: Scene| scene.with("TICKWELL__SOURCES__GEMINI__URL", url);
    let mut trial = Trial::unproven(&Venue::USD_EXCHANGES, broken).await;
    trial.faulty = vec![Gemini];
    trial.read_until("ticks", |records| records.iter().filter(|record| record.is_tick()).count() >= 4).await;
    let verdicts: Vec<&str> = trial.records.iter().map(|record| record.verdict("gemini")).collect();
    let known = |verdict: &&str| expected.contains(verdict) || ["backing_off", "timeout"].contains(verdict);
    assert!(verdicts.iter().all(known), "{verdicts:?}");
    assert!(verdicts.iter().any(|verdict| expected.contains(verdict)), "{verdicts:?}");
    trial.check_honest();
    assert_eq!(trial.upstream.requests_to(Gemini), []);
}
