//! What sources do with pairs that an exchange does not have, or has halted, with and without a list of markets.

use std::{sync::Arc, time::Duration};

use common::domain::{Failure, Interval, Pair, Slot, Timestamp};
use poller::source::Source;
use testkit::{
    Venue,
    clock::now_ms,
    market::ScriptMarket,
    upstream::{FakeUpstream, Listing},
};
use tokio::time::Instant;

use crate::{PATIENT, ask, source_for};

/// After how long a list is loaded again if it does not contain all pairs, and a little more.
const UNTIL_NEXT_LIST: Duration = Duration::from_secs(31 * 60);

/// The pairs that the fake exchanges have, in the quote currency that each of them knows.
fn known(venue: Venue) -> Vec<Pair> {
    let quote = if venue == Venue::Binance { "USDT" } else { "USD" };
    let bases = ["BTC", "ETH", "SOL", "XRP", "ADA", "LTC", "DOT", "XLM", "UNI"];
    bases.map(|base| format!("{base}-{quote}").parse().unwrap()).to_vec()
}

async fn upstream(venue: Venue) -> FakeUpstream {
    let pairs: Vec<String> = known(venue).iter().map(ToString::to_string).collect();
    let prices: Vec<(Venue, &str, &str)> =
        pairs.iter().map(|pair| (venue, pair.as_str(), "97012.30")).collect();
    let market = ScriptMarket::constant(&prices, Duration::from_secs(1), now_ms()).unwrap();
    FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await.unwrap()
}

fn slot() -> Slot {
    let interval: Interval = "10s".parse().unwrap();
    interval.slot_at(Timestamp::from_unix_millis(now_ms()).unwrap())
}

/// Lets time pass for everything that does not look at the clock of the machine.
async fn advance(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

fn prices(answers: &poller::source::Answers) -> usize {
    answers.values().filter(|answer| answer.is_ok()).count()
}

#[tokio::test]
async fn a_pair_joins_and_leaves_with_the_exchange_s_list() {
    // CoinGecko has a list of coins, not of markets.
    for venue in Venue::ALL.into_iter().filter(|venue| *venue != Venue::Coingecko) {
        let (upstream, mut pairs) = (upstream(venue).await, known(venue));
        let missing: Pair = if venue == Venue::Binance { "DOGE-USDT" } else { "DOGE-USD" }.parse().unwrap();
        pairs.push(missing);
        let source: Arc<dyn Source> = source_for(venue.name(), &upstream.venue_url(venue), &pairs);
        source.refresh_markets(slot()).await;
        assert_eq!(source.left_out(slot()), [(missing, Failure::Unlisted)].into(), "{venue}");
        let before = upstream.requests_to(venue).len();
        let answers = ask(&source, PATIENT).await;
        assert_eq!((answers[&missing], prices(&answers)), (Err(Failure::Unlisted), 9), "{venue}");
        let asked = &upstream.requests_to(venue)[before..];
        assert!(
            asked.iter().all(|request| !request.path_and_query.to_uppercase().contains("DOGE")),
            "{asked:?}"
        );

        upstream.set_price(venue, &missing.to_string(), Some("0.1503"));
        advance(UNTIL_NEXT_LIST).await;
        source.refresh_markets(slot()).await;
        assert_eq!(source.left_out(slot()), [].into(), "{venue}");
        assert_eq!(prices(&ask(&source, PATIENT).await), 10, "{venue}");
    }
}

#[tokio::test]
async fn a_halted_market_gives_no_price() {
    for venue in Venue::ALL.into_iter().filter(|venue| Listing::Halted.applies_to(*venue)) {
        let (upstream, pairs) = (upstream(venue).await, known(venue));
        upstream.set_listing(venue, &pairs[1].to_string(), Listing::Halted);
        let source = source_for(venue.name(), &upstream.venue_url(venue), &pairs);
        source.refresh_markets(slot()).await;
        let answers = ask(&source, PATIENT).await;
        assert_eq!((answers[&pairs[1]], prices(&answers)), (Err(Failure::Halted), 8), "{venue}");
        upstream.set_listing(venue, &pairs[1].to_string(), Listing::Open);
        advance(UNTIL_NEXT_LIST).await;
        source.refresh_markets(slot()).await;
        assert_eq!(prices(&ask(&source, PATIENT).await), 9, "{venue}");
    }
}

#[tokio::test]
async fn without_a_list_unknown_pairs_are_searched_for_and_cost_no_other_pair() {
    for venue in Venue::ALL {
        let (upstream, mut pairs) = (upstream(venue).await, known(venue));
        upstream.set_lists(venue, false);
        let missing: Vec<Pair> =
            ["DOGE", "AAVE"].map(|base| pairs[0].to_string().replace("BTC", base).parse().unwrap()).to_vec();
        pairs.splice(4..4, missing.iter().copied());
        let source = source_for(venue.name(), &upstream.venue_url(venue), &pairs);
        source.refresh_markets(slot()).await;
        // No response names a culprit. Kraken allows ten requests in a slot, so the search takes two slots there.
        let interval: Interval = "10s".parse().unwrap();
        let first = source.ask(slot(), Instant::now() + PATIENT).await;
        assert!(prices(&first) >= 5, "{venue} {first:?}");
        let asked = upstream.requests_to(venue).len();
        let next = interval.after(slot().start());
        let answers = source.ask(next, Instant::now() + PATIENT).await;
        assert_eq!((answers.len(), prices(&answers)), (11, 9), "{venue} {answers:?}");
        for pair in &missing {
            let expected = [Failure::Unlisted, Failure::Missing];
            assert!(expected.contains(&answers[pair].unwrap_err()), "{venue} {:?}", answers[pair]);
        }
        assert!(asked <= 20 && upstream.requests_to(venue).len() - asked <= 20, "{venue}");
    }
}

#[tokio::test]
async fn a_list_that_fails_is_requested_again_after_ten_minutes_and_changes_nothing() {
    let (upstream, pairs) = (upstream(Venue::Kraken).await, known(Venue::Kraken));
    let source = source_for("kraken", &upstream.venue_url(Venue::Kraken), &pairs);
    upstream.set_lists(Venue::Kraken, false);
    let lists = || {
        let is_list =
            |request: &&testkit::upstream::LoggedRequest| request.path_and_query.contains("AssetPairs");
        upstream.requests_to(Venue::Kraken).iter().filter(is_list).count()
    };
    for _ in 0..3 {
        source.refresh_markets(slot()).await;
    }
    assert_eq!(lists(), 1);
    assert_eq!(prices(&ask(&source, PATIENT).await), 9);
    advance(Duration::from_secs(601)).await;
    source.refresh_markets(slot()).await;
    assert_eq!(lists(), 2);
    assert_eq!(prices(&ask(&source, PATIENT).await), 9);
}

#[tokio::test]
async fn a_search_that_does_not_fit_into_a_slot_continues_in_the_next_ones() {
    // In slots of two seconds, Kraken's limit allows two requests.
    let (upstream, mut pairs) = (upstream(Venue::Kraken).await, known(Venue::Kraken));
    upstream.set_lists(Venue::Kraken, false);
    let missing: Pair = "DOGE-USD".parse().unwrap();
    pairs.push(missing);
    let interval: Interval = "2s".parse().unwrap();
    let source = crate::source_with("kraken", &upstream.venue_url(Venue::Kraken), &pairs, interval);
    let mut slot = interval.slot_at(Timestamp::from_unix_millis(now_ms()).unwrap());
    let (mut found, mut sent) = (0, 0);
    for number in 0..12 {
        let answers = source.ask(slot, Instant::now() + PATIENT).await;
        let asked = upstream.requests_to(Venue::Kraken).len();
        assert!(asked - sent <= 2, "slot {number} took {} requests", asked - sent);
        (found, sent) = (prices(&answers), asked);
        slot = interval.after(slot.start());
        if found == 9 {
            break;
        }
    }
    assert_eq!(found, 9);
}
