//! Answers that are none: by their status, their form, or the venue's own words.

use testkit::Venue::{Binance, Bitfinex, Bitstamp, Coinbase, Coingecko, Gemini, Kraken};

use super::{Trial, fails};
use crate::harness::slots_pass;

/// A test for each: name, who, what is wrong, and the verdict.
macro_rules! each_fails {
    ($($(#[$doc:meta])* $name:ident: $venue:ident $fault:literal => $verdict:literal;)+) => {
        $($(#[$doc])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            fails($venue, $fault, $verdict).await;
        })+
    };
}

each_fails! {
    /// Row 22.
    row_22_forbidden: Coinbase "403" => "http_403";
    /// Row 22.
    row_22_banned: Gemini "418" => "http_418";
    /// Row 22, its like.
    row_22_not_here: Bitstamp "451" => "http_451";
    /// Row 23.
    row_23_broken: Bitfinex "500" => "http_5xx";
    /// Row 23.
    row_23_unavailable: Kraken "503" => "http_5xx";
    /// Row 26.
    row_26_a_page_for_people: Kraken "html" => "malformed";
    /// Row 27.
    row_27_cut_off: Bitstamp "cut" => "malformed";
    /// Row 27.
    row_27_garbage: Gemini "garbage" => "malformed";
    /// Row 27.
    row_27_deep_json: Coingecko "deep" => "malformed";
    /// Row 29: the asked pair is not in the answer.
    row_29_another_pair: Kraken "wrong_pair" => "missing";
    /// Row 29, where all markets come in one list.
    row_29_another_pair_in_a_list: Bitstamp "wrong_pair" => "missing";
    /// Row 37. Where it points, nothing listens; that nobody went there, the verdict says.
    row_37_a_redirect: Kraken "redirect" => "redirect";
    /// Kraken's errors come within HTTP 200.
    an_error_of_krakens_own: Kraken "error" => "refused";
    /// Where the status says that it is an error, the status is what counts.
    an_error_of_geminis_own: Gemini "error" => "http_4xx";
    /// CoinGecko's answer to a key that it does not accept.
    an_error_of_coingeckos_own: Coingecko "error" => "http_4xx";
    /// An unknown name is answered by Bitfinex with an empty list.
    nothing_from_bitfinex: Bitfinex "empty" => "missing";
    /// An unknown currency is answered by CoinGecko with an empty object.
    nothing_from_coingecko: Coingecko "empty" => "missing";
    nothing_from_kraken: Kraken "empty" => "missing";
}

/// USDT is not USD: Binance is asked for its own pair, and refuses a list with a stranger in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binance_serves_usdt_alone() {
    let settings = |scene: crate::harness::Scene| {
        scene.with("TICKWELL__FEED__PAIRS", "BTC-USDT").with("TICKWELL__AGGREGATE__MIN_SOURCES", "1")
    };
    let mut trial = Trial::with(&[Binance], settings).await;
    trial.begin(&[Binance], "error");
    trial.read_until("Binance refuses", |records| records.len() >= 3).await;
    let verdicts: Vec<&str> = trial.records.iter().map(|record| record.verdict("binance")).collect();
    let known = ["http_4xx", "backing_off", "timeout"];
    assert!(verdicts.iter().all(|verdict| known.contains(verdict)), "{verdicts:?}");
    assert!(trial.records.iter().all(|record| record.cause.as_deref() == Some("too_few_sources")));
    trial.upstream.set_fault(Binance, None);
    slots_pass(1, super::SLOT).await;
    trial.read_until("it answers again", |records| records.last().is_some_and(|one| one.is_tick())).await;
}
