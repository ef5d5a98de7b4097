//! Quotes that are wrong: invalid prices, prices of another pair, and wrong times.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use testkit::Venue::{self, Bitfinex, Bitstamp, Coinbase, Coingecko, Gemini, Kraken};

use super::{Trial, fails, is_set_aside};
use crate::{harness::Scene, oracle, records::decimal};

/// Defines a test of an invalid price for each line of the macro's input: its name, the venue, the fault, and the
/// expected verdict.
macro_rules! invalid_prices {
    ($($name:ident: $venue:ident $fault:literal => $verdict:literal;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            fails($venue, $fault, $verdict).await;
        })+
    };
}

invalid_prices! {
    zero: Kraken "zero" => "invalid";
    zero_as_a_number: Bitfinex "zero" => "invalid";
    negative: Coinbase "negative" => "invalid";
    nan: Bitstamp "nan" => "invalid";
    // NaN without quotation marks is not valid JSON.
    nan_as_a_number: Bitfinex "nan" => "malformed";
    infinite: Gemini "infinite" => "invalid";
    a_price_of_1e400: Kraken "huge" => "invalid";
    a_price_of_1e400_as_a_number: Coingecko "huge" => "invalid";
    a_word: Coinbase "text" => "invalid";
    a_word_for_a_number: Bitfinex "text" => "invalid";
}

/// One of five sources has this fault. All its quotes must have this verdict.
async fn quotes_are(venue: Venue, fault: &str, verdict: &str) {
    let mut trial = Trial::start(&super::five_with(venue)).await;
    trial.begin(&[venue], fault);
    is_set_aside(&mut trial, venue, verdict).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decimal_shift() {
    quotes_are(Gemini, "times:100", "outlier").await;
}

/// Coinbase's response does not name its pair, so only the price shows that it is the wrong one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_price_of_another_pair() {
    quotes_are(Coinbase, "swapped", "outlier").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flash_crash_on_one_of_three() {
    let mut trial = Trial::start(&Venue::DEFAULT).await;
    trial.begin(&[Coinbase], "times:0.1");
    is_set_aside(&mut trial, Coinbase, "outlier").await;
}

/// A price does not depend on earlier prices, so the first slot after the crash already has the new price.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_crash_is_followed_at_once() {
    let mut trial = Trial::start(&Venue::USD_EXCHANGES).await;
    trial.read().await;
    let before = decimal(trial.records.iter().rev().find_map(|record| record.price.as_deref()).unwrap());
    trial.begin(&Venue::USD_EXCHANGES, "times:0.5");
    trial.read_until("slots of the crash", |records| records.len() >= 4).await;
    for record in &trial.records {
        assert!(
            record.quotes().iter().all(|quote| ["used", "timeout"].contains(&&*quote.verdict)),
            "{record:?}"
        );
        assert!(record.is_tick() || record.used().is_empty(), "{record:?}");
        if let Some(price) = &record.price {
            oracle::check_price(record);
            let fallen = decimal(price) / before;
            assert!(
                (fallen - Decimal::new(5, 1)).abs() < Decimal::new(3, 2),
                "the price fell to {fallen} of the earlier one"
            );
        }
    }
    assert!(trial.records[0].is_tick() || trial.records[1].is_tick());
}

/// Kraken's quote stays the same. As long as the market hardly moves, it is used, even after `frozen_after`. Once the
/// prices of the other sources have moved away from it by one percent, it is frozen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_price() {
    let soon = |scene: Scene| scene.with("TICKWELL__AGGREGATE__FROZEN_AFTER", "1s");
    let mut trial = Trial::with(&Venue::USD_EXCHANGES, soon).await;
    trial.begin(&[Kraken], "stuck");
    trial.read_until("slots after a second", |records| records.len() >= 8).await;
    for record in &trial.records {
        assert!(["used", "timeout"].contains(&record.verdict("kraken")), "{record:?}");
    }
    let others: Vec<Venue> = Venue::USD_EXCHANGES.into_iter().filter(|venue| *venue != Kraken).collect();
    trial.begin(&others, "times:1.01");
    trial.faulty.push(Kraken);
    is_set_aside(&mut trial, Kraken, "frozen").await;
    let quoted = |record: &crate::records::Record| {
        record.quotes().iter().find(|quote| quote.source == "kraken").unwrap().price.clone()
    };
    let prices: BTreeSet<String> = trial.records.iter().filter_map(quoted).collect();
    assert_eq!(prices.len(), 1, "{prices:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_ten_minutes_ago() {
    quotes_are(Bitstamp, "late:600", "stale").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_in_ten_minutes() {
    quotes_are(Bitstamp, "early:600", "future").await;
}

/// Coinbase's time is that of the last trade, so it only matters if the last trade counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_of_the_last_trade() {
    let last = |scene: Scene| scene.with("TICKWELL__AGGREGATE__PRICE", "last");
    let mut trial = Trial::with(&super::five_with(Coinbase), last).await;
    trial.begin(&[Coinbase], "late:600");
    is_set_aside(&mut trial, Coinbase, "stale").await;
}

/// CoinGecko's timestamps, which have whole seconds, are ten minutes old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregator_that_trails() {
    quotes_are(Coingecko, "late:600", "stale").await;
}
