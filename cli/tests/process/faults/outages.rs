//! If too few sources agree, the slot is a gap that explains why, and no price is invented.

use testkit::{
    Venue::{self, Coinbase, Kraken},
    wait_until,
};

use super::Trial;
use crate::{audit::audit, harness::DEADLINE, harness::Scene, records};

/// While all sources are down, no price is invented: the API returns the newest price unchanged and marks it as stale.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sources_down() {
    let soon = |scene: Scene| scene.with("TICKWELL__WINDOWS__STALE_AFTER", "1s");
    let mut trial = Trial::with(&Venue::USD_EXCHANGES, soon).await;
    trial.begin(&Venue::USD_EXCHANGES, "503");
    trial.read_until("gaps", |records| records.len() >= 3).await;
    for record in &trial.records {
        assert_eq!(record.cause.as_deref(), Some("too_few_sources"), "{record:?}");
        assert_eq!(record.quotes().len(), Venue::USD_EXCHANGES.len(), "{record:?}");
        let known = |verdict: &str| ["http_5xx", "backing_off", "timeout"].contains(&verdict);
        assert!(
            record.quotes().iter().all(|quote| known(&quote.verdict) && quote.price.is_none()),
            "{record:?}"
        );
    }
    trial.readiness_says("degraded").await;

    let stale = wait_until("the price is stale", DEADLINE, async || {
        let price = trial.pod.get("/v1/prices/BTC-USD").await.found();
        (price["stale"] == true).then_some(price)
    })
    .await;
    let all = records::all(&trial.pod).await;
    let newest = all.iter().rev().find(|record| record.is_tick()).unwrap();
    assert_eq!(stale["price"].as_str(), newest.price.as_deref());

    Venue::USD_EXCHANGES.into_iter().for_each(|venue| trial.upstream.set_fault(venue, None));
    trial.read_until("a price again", |records| records.last().is_some_and(|record| record.is_tick())).await;
    trial.readiness_says("ready").await;
    audit(&records::all(&trial.pod).await);
}

/// If two sources differ by more than the allowed deviation, there is no way to know which is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sources_that_disagree_make_a_gap() {
    let mut trial = Trial::start(&[Kraken, Coinbase]).await;
    trial.begin(&[Kraken], "times:1.03");
    trial
        .read_until("a disagreement", |records| {
            records.iter().filter(|record| record.cause.as_deref() == Some("disagreement")).count() >= 3
        })
        .await;
    for record in trial.records.iter().filter(|record| trial.is_undisturbed(record)) {
        let kraken_late = record.verdict("kraken") == "timeout";
        assert!(record.cause.as_deref() == Some("disagreement") || kraken_late, "{record:?}");
        // Both quotes are kept, because they explain the gap.
        assert!(kraken_late || record.quotes().iter().all(|quote| quote.price.is_some()), "{record:?}");
        assert!(record.quotes().iter().all(|quote| quote.verdict != "used"), "{record:?}");
    }
    trial.readiness_says("degraded").await;
}

/// With three of five sources down, the price is the midpoint of the two others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_five_are_enough() {
    let mut trial = Trial::start(&Venue::USD_EXCHANGES).await;
    let [.., third, fourth, fifth] = Venue::USD_EXCHANGES;
    trial.begin(&[third, fourth, fifth], "hang");
    trial
        .read_until("ticks of two", |records| records.iter().filter(|record| record.is_tick()).count() >= 3)
        .await;
    trial.check_honest();
    assert!(trial.records.iter().all(|record| record.used().len() <= 2));
}
