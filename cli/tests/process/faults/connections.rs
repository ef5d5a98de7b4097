//! Connections that break, stall or announce a wrong length, and addresses to which no connection is possible.

use testkit::Venue::{self, Bitfinex, Bitstamp, Coinbase, Gemini, Kraken};

use super::{Trial, fails};
use crate::harness::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_within_the_body_and_the_recovery() {
    let mut trial = fails(Kraken, "reset", "malformed").await;
    trial.upstream.set_fault(Kraken, None);
    trial
        .read_until("Kraken is used again", |records| records.last().unwrap().verdict("kraken") == "used")
        .await;
    trial.check_honest();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closed_without_an_answer() {
    fails(Gemini, "close", "unreachable").await;
}

/// A source that accepts the request and never responds delays neither the slot nor the other sources.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence() {
    fails(Coinbase, "hang", "timeout").await;
}

/// A response that arrives after the deadline is discarded. The response must not be used for a later slot either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_too_late() {
    fails(Bitstamp, "slow:1", "timeout").await;
}

/// If a body arrives one byte at a time, the poller stops reading it at the deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drip() {
    fails(Bitfinex, "drip", "timeout").await;
}

/// The body ends before its announced length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_long_a_length() {
    fails(Coinbase, "short", "malformed").await;
}

/// The body is longer than its announced length. The rest must not be read as the response to the next request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_short_a_length_poisons_no_later_answer() {
    let mut trial = fails(Kraken, "long", "malformed").await;
    trial.begin_honest();
    trial
        .read_until("Kraken is used again", |records| {
            records.iter().filter(|record| record.verdict("kraken") == "used").count() >= 2
        })
        .await;
    trial.check_honest();
}

/// The host name does not resolve.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_not_found() {
    // This domain is reserved and never resolves. The verdict is `timeout` if the resolver itself cannot be reached.
    check_address("http://tickwell.invalid", &["dns", "timeout"]).await;
}

/// Nothing listens at the address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_port() {
    check_address("http://127.0.0.1:1", &["unreachable"]).await;
}

/// Checks a process in which one of five sources has this address from the start. The price must come from the other
/// four.
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
