//! What sources do with pairs that an exchange does not have, or has halted, with and without a list of markets.

use std::{sync::Arc, time::Duration};

use common::domain::{Failure, Interval, Pair, Slot, Timestamp};
use poller::source::{Source, exchanges};
use testkit::{
    Venue,
    clock::now_ms,
    market::ScriptMarket,
    upstream::{FakeUpstream, Listing, LoggedRequest},
};
use tokio::time::Instant;

use crate::{
    PATIENT, ask,
    rests::{canned, response},
    source_for,
};

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
        assert_eq!(source.refresh_markets(slot()).await, Ok(()));
        assert_eq!(source.left_out().pairs, [(missing, Failure::Unlisted)].into(), "{venue}");
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
        assert_eq!(source.refresh_markets(slot()).await, Ok(()));
        assert_eq!(source.left_out().pairs, [].into(), "{venue}");
        assert_eq!(prices(&ask(&source, PATIENT).await), 10, "{venue}");
    }
}

#[tokio::test]
async fn a_halted_market_gives_no_price() {
    for venue in Venue::ALL.into_iter().filter(|venue| Listing::Halted.applies_to(*venue)) {
        let (upstream, pairs) = (upstream(venue).await, known(venue));
        upstream.set_listing(venue, &pairs[1].to_string(), Listing::Halted);
        let source = source_for(venue.name(), &upstream.venue_url(venue), &pairs);
        assert_eq!(source.refresh_markets(slot()).await, Ok(()));
        let answers = ask(&source, PATIENT).await;
        assert_eq!((answers[&pairs[1]], prices(&answers)), (Err(Failure::Halted), 8), "{venue}");
        upstream.set_listing(venue, &pairs[1].to_string(), Listing::Open);
        advance(UNTIL_NEXT_LIST).await;
        assert_eq!(source.refresh_markets(slot()).await, Ok(()));
        assert_eq!(prices(&ask(&source, PATIENT).await), 9, "{venue}");
    }
}

/// The most requests that a source sends in a slot of ten seconds.
fn budget(venue: Venue) -> usize {
    exchanges::named(venue.name()).unwrap().limit(None).unwrap().most("10s".parse().unwrap())
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
        assert_eq!(source.refresh_markets(slot()).await, Err(Failure::Http5xx));
        // No response names a culprit. The search takes several slots if the source's limit allows few requests.
        let interval: Interval = "10s".parse().unwrap();
        let (mut next, mut sent, mut last) = (slot(), 1, None);
        for _ in 0..10 {
            let answers = source.ask(next, Instant::now() + PATIENT).await;
            let asked = upstream.requests_to(venue).len();
            assert!(asked - sent <= budget(venue), "{venue} sent {} requests", asked - sent);
            (next, sent) = (interval.after(next.start()), asked);
            assert_eq!(answers.len(), 11, "{venue} {answers:?}");
            last = Some(answers);
        }
        let answers = last.unwrap();
        assert_eq!(prices(&answers), 9, "{venue} {answers:?}");
        for pair in &missing {
            let expected = [Failure::Unlisted, Failure::Missing];
            assert!(expected.contains(&answers[pair].unwrap_err()), "{venue} {:?}", answers[pair]);
        }
    }
}

#[tokio::test]
async fn a_list_that_fails_is_requested_again_later_and_changes_nothing() {
    let (upstream, pairs) = (upstream(Venue::Kraken).await, known(Venue::Kraken));
    let source = source_for("kraken", &upstream.venue_url(Venue::Kraken), &pairs);
    upstream.set_lists(Venue::Kraken, false);
    let lists = || {
        let is_list = |request: &&LoggedRequest| request.path_and_query.contains("AssetPairs");
        upstream.requests_to(Venue::Kraken).iter().filter(is_list).count()
    };
    assert_eq!(source.refresh_markets(slot()).await, Err(Failure::Http5xx));
    assert_eq!(source.refresh_markets(slot()).await, Ok(()), "not due");
    assert_eq!((lists(), source.left_out().list), (1, Some(Failure::Http5xx)));
    assert_eq!(prices(&ask(&source, PATIENT).await), 9);
    // Ten minutes, and then twenty.
    for minutes in [10, 20] {
        let before = lists();
        advance(Duration::from_secs(minutes * 60 - 5)).await;
        assert_eq!((source.refresh_markets(slot()).await, lists()), (Ok(()), before));
        advance(Duration::from_secs(10)).await;
        assert_eq!((source.refresh_markets(slot()).await, lists()), (Err(Failure::Http5xx), before + 1));
        assert_eq!(prices(&ask(&source, PATIENT).await), 9);
    }
    upstream.set_lists(Venue::Kraken, true);
    advance(Duration::from_secs(41 * 60)).await;
    assert_eq!((source.refresh_markets(slot()).await, source.left_out().list), (Ok(()), None));
}

#[tokio::test]
async fn a_market_that_halts_later_gives_no_price_after_the_next_list() {
    for venue in [Venue::Kraken, Venue::Coinbase, Venue::Bitstamp, Venue::Gemini] {
        let (upstream, pairs) = (upstream(venue).await, known(venue));
        let source = source_for(venue.name(), &upstream.venue_url(venue), &pairs);
        assert_eq!(source.refresh_markets(slot()).await, Ok(()));
        assert_eq!(prices(&ask(&source, PATIENT).await), 9, "{venue}");
        upstream.set_listing(venue, &pairs[1].to_string(), Listing::Halted);
        advance(Duration::from_secs(901)).await;
        assert_eq!(source.refresh_markets(slot()).await, Ok(()));
        let answers = ask(&source, PATIENT).await;
        assert_eq!((answers[&pairs[1]], prices(&answers)), (Err(Failure::Halted), 8), "{venue}");
    }
}

#[tokio::test]
async fn the_search_ends_when_the_source_asks_to_wait() {
    let unknown = response("200 OK", "", r#"{"error":["EQuery:Unknown asset pair"]}"#);
    let busy = response("429 Too Many Requests", "retry-after: 30\r\n", "");
    let server = canned(&[unknown, busy]).await;
    let source = source_for("kraken", &server.url, &known(Venue::Kraken));
    let answers = source.ask(slot(), Instant::now() + PATIENT).await;
    assert_eq!(prices(&answers), 0);
    // The first request is refused. Both halves are sent at once, but nothing more.
    assert_eq!(server.requests.lock().unwrap().len(), 3);
}
