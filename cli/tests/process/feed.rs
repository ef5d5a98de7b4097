//! A poller, two pods and a real nats-server, with recorded prices.
//!
//! The replay starts shortly before the longest hole in Coinbase's recording: consecutive minutes without rows. During
//! the hole, the simulated Coinbase repeats its last trade, whose age grows with every slot. The published records are
//! compared with the text of the recording.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use testkit::{
    Venue,
    market::{Market, RecordedMarket, Trade},
    nats::NatsServer,
    recording::{Hole, Recordings, recordings_folder},
    require_nats,
    upstream::FakeUpstream,
};

use crate::{
    agreement::{averages_are_right, history_is_the_log, pods_agree, same_records},
    audit::audit,
    harness::{DEADLINE, Pod, Scene},
    oracle,
    records::{self, Quote, Record},
};

/// Each slot of one second replays one recorded minute.
const SLOT: Duration = Duration::from_secs(1);
const SLOT_MS: i64 = 1_000;

/// How old a quote may be.
const MAX_QUOTE_AGE: &str = "3s";
/// For how many slots of the hole Coinbase's last trade is still used: until it is as old as [`MAX_QUOTE_AGE`].
const AGED_SLOTS: i64 = 3;

/// How many minutes before the hole the replay starts, and how many minutes of the hole it includes.
const MINUTES_BEFORE: i64 = 12;
const MINUTES_WITHIN: i64 = 12;

/// How many ticks before the hole must use every source, and how many within it must have a stale quote of Coinbase. On
/// a slow machine, some ticks show neither.
const ENOUGH: usize = 3;

/// A recording whose replay starts when the test calls [`DelayedMarket::begin`], however long the processes took to
/// start. Until then, no venue has a market.
#[derive(Default)]
struct DelayedMarket(OnceLock<RecordedMarket>);

impl Market for DelayedMarket {
    fn pairs(&self, venue: Venue, now_ms: i64) -> Vec<String> {
        self.0.get().map_or_else(Vec::new, |market| market.pairs(venue, now_ms))
    }

    fn trade(&self, venue: Venue, pair: &str, now_ms: i64) -> Option<Trade> {
        self.0.get()?.trade(venue, pair, now_ms)
    }
}

impl DelayedMarket {
    fn begin(&self) -> (&RecordedMarket, Hole) {
        let recordings = Recordings::load(&recordings_folder()).unwrap();
        let hole = recordings.venue(Venue::Coinbase).longest_hole().unwrap();
        let first = hole.last_minute - MINUTES_BEFORE;
        let market = RecordedMarket::new(recordings, SLOT, Some(first), testkit::clock::now_ms()).unwrap();
        (self.0.get_or_init(|| market), hole)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pod_returns_the_recorded_prices_unchanged() {
    require_nats!();
    let nats = NatsServer::start().await.unwrap();
    let delayed = Arc::new(DelayedMarket::default());
    let upstream = FakeUpstream::start(delayed.clone(), "127.0.0.1:0").await.unwrap();
    let scene = Scene::new(SLOT)
        .asking(&upstream)
        .over(&nats)
        .with("TICKWELL__AGGREGATE__MAX_QUOTE_AGE", MAX_QUOTE_AGE);
    let mut poller = scene.poller().await;
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    pods[0].reaches(1).await;
    let (market, hole) = delayed.begin();

    let end_ms = market.first_slot_ms() + (MINUTES_BEFORE + MINUTES_WITHIN) * SLOT_MS;
    while newest_slot(pods[0]).await < end_ms {
        // Compare also while the log grows, and not only at the end.
        pods[0].takes_in(4).await;
        pods_agree(pods).await;
        averages_are_right(pods[1]).await;
    }

    poller.signal("TERM").unwrap();
    assert!(poller.wait_exit(DEADLINE).await.unwrap().success());
    let records = same_records(pods).await;
    pods_agree(pods).await;
    averages_are_right(pods[0]).await;
    history_is_the_log(pods[0], &records).await;

    audit(&records);
    let ticks: Vec<&Record> = records.iter().filter(|record| record.is_tick()).collect();
    for tick in &ticks {
        oracle::check_price(tick);
        oracle::check_verdicts(tick);
        for quote in tick.quotes() {
            check_recorded(quote, tick.slot.unwrap().0, market);
        }
    }
    check_hole(&ticks, market, hole);
}

async fn newest_slot(pod: &Pod) -> i64 {
    let sequence = pod.sequence().await;
    let newest = records::at(pod, sequence).await;
    newest.covers().map_or(0, |(_, last)| last)
}

/// Checks a quote's price and time against the recorded minute of its slot.
fn check_recorded(quote: &Quote, slot: i64, market: &RecordedMarket) {
    let Some(price) = &quote.price else { return };
    let venue: Venue = quote.source.parse().unwrap();
    // The source usually sends its response in the slot itself. If the machine stalled, the response may come from any
    // slot up to the time at which it was received.
    let seen = quote.observed_at.unwrap().0;
    let mut slots = (slot..=seen.max(slot)).step_by(usize::try_from(SLOT_MS).unwrap());
    let recorded = slots.any(|given| {
        let minute = market.minute_at(given);
        let row = market.recordings().venue(venue).newest_at_or_before(minute).unwrap();
        let traded = given - (minute - row.minute()) * SLOT_MS;
        let time = (venue != Venue::Kraken).then_some(traded);
        row.price == *price && quote.source_time.map(|time| time.0) == time
    });
    assert!(recorded, "{quote:?} in the slot of minute {}", market.minute_at(slot));
}

/// Checks that Coinbase's quotes were used before the hole, and not within the hole once Coinbase's last trade
/// was too old. From then on, the price must come from the two other sources.
fn check_hole(ticks: &[&Record], market: &RecordedMarket, hole: Hole) {
    let minute = |tick: &Record| market.minute_at(tick.slot.unwrap().0);
    // Whether no source was late, so that all quotes come from the slot's own minute.
    let is_complete = |tick: &Record| {
        let end = tick.slot.unwrap().0 + SLOT_MS;
        tick.quotes().iter().all(|quote| quote.observed_at.is_some_and(|time| time.0 < end))
    };

    let before = ticks.iter().filter(|tick| minute(tick) <= hole.last_minute && is_complete(tick));
    let all_used = before.filter(|tick| tick.used().len() == Venue::DEFAULT.len()).count();
    assert!(all_used >= ENOUGH, "only {all_used} ticks before the hole used every source");

    let aged = hole.last_minute + AGED_SLOTS;
    let within = |minute: i64| minute > aged && minute <= hole.last_minute + hole.missing_minutes;
    let within: Vec<&&Record> = ticks.iter().filter(|tick| within(minute(tick))).collect();
    for tick in &within {
        assert!(["stale", "timeout"].contains(&tick.verdict("coinbase")), "{tick:?}");
        // The two remaining sources must agree. The price is their midpoint.
        let sources: Vec<&str> = tick.used().iter().map(|quote| quote.source.as_str()).collect();
        assert_eq!(sources, ["kraken", "bitstamp"], "{tick:?}");
    }
    let stale = within.iter().filter(|tick| tick.verdict("coinbase") == "stale" && is_complete(tick)).count();
    assert!(stale >= ENOUGH, "only {stale} ticks in the hole had a stale quote of Coinbase");
}
