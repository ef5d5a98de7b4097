//! Quotes that are there and wrong: prices that are none, prices of something else, and times.

use rust_decimal::Decimal;
use testkit::Venue::{self, Bitfinex, Bitstamp, Coinbase, Coingecko, Gemini, Kraken};

use super::{Trial, fails, is_set_aside};
use crate::{harness::Scene, oracle, records::decimal};

/// A test for each: name, who, what is wrong, and the verdict on what is no price.
macro_rules! no_price {
    ($($name:ident: $venue:ident $fault:literal => $verdict:literal;)+) => {
        $(/// Row 28.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            fails($venue, $fault, $verdict).await;
        })+
    };
}

no_price! {
    row_28_zero: Kraken "zero" => "invalid";
    row_28_zero_as_a_number: Bitfinex "zero" => "invalid";
    row_28_negative: Coinbase "negative" => "invalid";
    row_28_nan: Bitstamp "nan" => "invalid";
    // A bare NaN is no JSON.
    row_28_nan_as_a_number: Bitfinex "nan" => "malformed";
    row_28_infinite: Gemini "infinite" => "invalid";
    row_28_1e400: Kraken "huge" => "invalid";
    row_28_1e400_as_a_number: Coingecko "huge" => "invalid";
    row_28_a_word: Coinbase "text" => "invalid";
    row_28_a_word_for_a_number: Bitfinex "text" => "invalid";
}

/// A trial of five, one of which has a fault that leaves it with quotes.
async fn quotes_are(venue: Venue, fault: &str, verdict: &str) {
    let mut trial = Trial::start(&super::five_with(venue)).await;
    trial.begin(&[venue], fault);
    is_set_aside(&mut trial, venue, verdict).await;
}

/// Row 29.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_29_a_decimal_shift() {
    quotes_are(Gemini, "times:100", "outlier").await;
}

/// Row 29: Coinbase's answer does not name its pair, and nothing but the price tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_29_the_price_of_another_pair() {
    quotes_are(Coinbase, "swapped", "outlier").await;
}

/// Row 30.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_30_a_flash_crash_on_one_of_three() {
    let mut trial = Trial::start(&Venue::DEFAULT).await;
    trial.begin(&[Coinbase], "times:0.1");
    is_set_aside(&mut trial, Coinbase, "outlier").await;
}

/// Row 31: no earlier price takes part, so the first slot after it has the new price already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_31_a_real_crash_is_followed_at_once() {
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
            assert!((fallen - Decimal::new(5, 1)).abs() < Decimal::new(3, 2), "{fallen} of the price before");
        }
    }
    assert!(trial.records[0].is_tick() || trial.records[1].is_tick());
}

/// Row 32: its price stands still while the others move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_32_a_frozen_price() {
    let soon = |scene: Scene| scene.with("TICKWELL__AGGREGATE__FROZEN_AFTER", "1s");
    let mut trial = Trial::with(&Venue::USD_EXCHANGES, soon).await;
    trial.begin(&[Kraken], "stuck");
    trial
        .read_until("Kraken is frozen", |records| {
            records.iter().any(|record| record.verdict("kraken") == "frozen")
        })
        .await;
    // It is taken for what it was until it has stood still for long enough, and for frozen ever after.
    let verdicts: Vec<&str> = trial.records.iter().map(|record| record.verdict("kraken")).collect();
    let first = verdicts.iter().position(|verdict| *verdict == "frozen").unwrap();
    assert!(verdicts[..first].iter().all(|verdict| ["used", "timeout"].contains(verdict)), "{verdicts:?}");
    assert!(first >= 3, "frozen within a second: {verdicts:?}");
    let frozen = trial.records[first].clone();
    trial.records.drain(..first);
    is_set_aside(&mut trial, Kraken, "frozen").await;
    let stood = |record: &crate::records::Record| {
        record.quotes().iter().find(|quote| quote.source == "kraken").unwrap().price.clone()
    };
    assert!(
        trial.records.iter().all(|record| stood(record).is_none_or(|price| Some(price) == stood(&frozen)))
    );
}

/// Row 33.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_33_a_time_ten_minutes_ago() {
    quotes_are(Bitstamp, "late:600", "stale").await;
}

/// Row 33.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_33_a_time_in_ten_minutes() {
    quotes_are(Coinbase, "early:600", "future").await;
}

/// Row 33, in whole seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_33_an_aggregator_that_trails() {
    quotes_are(Coingecko, "late:600", "stale").await;
}
