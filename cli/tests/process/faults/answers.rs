//! Responses without a quote, because of their status, their format, or the venue's own error message.

use testkit::Venue::{Binance, Bitfinex, Bitstamp, Coinbase, Coingecko, Gemini, Kraken};

use super::{Trial, fails};
use crate::harness::slots_pass;

/// Defines a test for each line of the macro's input: its name, the venue, the fault, and the expected verdict.
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
    forbidden: Coinbase "403" => "http_403";
    banned: Gemini "418" => "http_418";
    /// HTTP 451: not available in this country.
    unavailable_for_legal_reasons: Bitstamp "451" => "http_451";
    internal_server_error: Bitfinex "500" => "http_5xx";
    service_unavailable: Kraken "503" => "http_5xx";
    /// A page with status 200 that checks for browsers.
    an_html_page: Kraken "html" => "challenge";
    /// Half of the body, with a `Content-Length` that matches it.
    a_truncated_body: Bitstamp "cut" => "malformed";
    /// Bytes that are not UTF-8.
    garbage: Gemini "garbage" => "malformed";
    /// JSON of 100,000 nested lists.
    deeply_nested_json: Coingecko "deep" => "malformed";
    /// The response has a pair, but not the one that was asked for.
    another_pair: Kraken "wrong_pair" => "missing";
    /// The response to a request for one market is about another one.
    another_pair_alone: Bitstamp "wrong_pair" => "malformed";
    /// Redirects are never followed. Nothing listens at the target, so following one would give another verdict.
    a_redirect: Kraken "redirect" => "redirect";
    /// Kraken's errors have status 200.
    an_error_of_krakens_own: Kraken "error" => "unavailable";
    /// The body says that Gemini does not know the symbol.
    an_error_of_geminis_own: Gemini "error" => "unlisted";
    /// CoinGecko's response to an invalid key.
    an_error_of_coingeckos_own: Coingecko "error" => "refused";
    /// Bitfinex returns an empty list for an unknown symbol.
    nothing_from_bitfinex: Bitfinex "empty" => "missing";
    /// If the currency is unknown, CoinGecko returns an empty object for each coin.
    nothing_from_coingecko: Coingecko "empty" => "missing";
    nothing_from_kraken: Kraken "empty" => "missing";
}

/// Binance quotes prices in USDT, which must not be confused with USD. With the fault, Binance rejects the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binance_serves_usdt_alone() {
    let settings = |scene: crate::harness::Scene| {
        scene.with("TICKWELL__FEED__PAIRS", "BTC-USDT").with("TICKWELL__AGGREGATE__MIN_SOURCES", "1")
    };
    let mut trial = Trial::with(&[Binance], settings).await;
    trial.begin(&[Binance], "error");
    trial.read_until("Binance refuses", |records| records.len() >= 3).await;
    let verdicts: Vec<&str> = trial.records.iter().map(|record| record.verdict("binance")).collect();
    let known = ["unlisted", "timeout"];
    assert!(verdicts.iter().all(|verdict| known.contains(verdict)), "{verdicts:?}");
    assert!(trial.records.iter().all(|record| record.cause.as_deref() == Some("too_few_sources")));
    trial.upstream.set_fault(Binance, None);
    slots_pass(1, super::SLOT).await;
    trial.read_until("a tick again", |records| records.last().is_some_and(|one| one.is_tick())).await;
}
