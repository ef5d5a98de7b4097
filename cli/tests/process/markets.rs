//! Markets that are thin, tiny, halted or unlisted, at exchanges that have their own names for them.

use std::{sync::Arc, time::Duration};

use rust_decimal::Decimal;
use testkit::{
    Venue,
    market::{Market, Trade},
    nats::NatsServer,
    oracle::check_price,
    require_nats,
    upstream::{FakeUpstream, Listing},
    wait_until,
};

use crate::{
    audit::audit,
    harness::{DEADLINE, INTERVAL, Pod, Scene, field, has_event, has_price, moving_upstream},
    records,
    sources::{cells, sources},
    survival::end,
};

/// A pair whose price moves a little: its middle without the decimal point, the number of decimal places, by how many
/// units it moves, and how many slots it stands still.
struct Mover {
    pair: &'static str,
    middle: i64,
    scale: u32,
    units: i64,
    slots: i64,
}

const fn mover(pair: &'static str, middle: i64, scale: u32, units: i64, slots: i64) -> Mover {
    Mover { pair, middle, scale, units, slots }
}

/// Stablecoins and currencies that hardly move, tokens with tiny prices, gold, and pairs that are not quoted in dollars.
const MOVERS: [Mover; 9] = [
    mover("USDT-USD", 99_941, 5, 4, 1),
    mover("USDC-USD", 99_998, 5, 3, 1),
    mover("EUR-USD", 115_873, 5, 9, 3),
    mover("DOGE-USD", 150_300, 6, 150, 1),
    mover("SHIB-USD", 84_210, 10, 90, 1),
    mover("PEPE-USD", 42_137, 10, 60, 1),
    mover("PAXG-USD", 418_025, 2, 40, 20),
    mover("BTC-EUR", 8_345_012, 2, 2_000, 1),
    mover("ETH-BTC", 3_505_123, 8, 500, 1),
];

/// Stablecoins move at this venue only. At the others, nothing of their quotes ever changes.
const LIVELY: Venue = Venue::Coinbase;

/// The last trade of a thin market is this old. Only Coinbase tells when it was.
const THIN_MILLIS: i64 = 3_600_000;

const SOURCES: [Venue; 6] =
    [Venue::Kraken, Venue::Coinbase, Venue::Bitstamp, Venue::Gemini, Venue::Bitfinex, Venue::Binance];

/// All exchanges have all pairs, except that Binance has none in dollars.
#[derive(Debug, Clone, Copy)]
struct NineMarkets {
    interval: i64,
}

impl NineMarkets {
    fn price(self, venue: Venue, mover: &Mover, time_ms: i64) -> Decimal {
        let is_stable = mover.pair.starts_with("USD");
        let slot = if is_stable && venue != LIVELY { 0 } else { time_ms / self.interval / mover.slots };
        let venue = i64::try_from(SOURCES.iter().position(|own| *own == venue).unwrap()).unwrap();
        let offset = (slot * 7_919 + venue * 31) % (2 * mover.units + 1) - mover.units;
        Decimal::new(mover.middle + offset, mover.scale)
    }
}

impl Market for NineMarkets {
    fn pairs(&self, venue: Venue, _now_ms: i64) -> Vec<String> {
        let has = |mover: &&Mover| venue != Venue::Binance || !mover.pair.ends_with("-USD");
        MOVERS.iter().filter(has).map(|mover| mover.pair.to_owned()).collect()
    }

    fn trade(&self, venue: Venue, pair: &str, now_ms: i64) -> Option<Trade> {
        let mover = MOVERS.iter().find(|mover| mover.pair == pair)?;
        let age = if venue == Venue::Coinbase { THIN_MILLIS } else { 0 };
        let has = self.pairs(venue, now_ms).iter().any(|own| own == pair);
        has.then(|| Trade { price: self.price(venue, mover, now_ms).to_string(), time_ms: now_ms - age })
    }
}

/// With `TICKWELL_MARKET_MINUTES=30`, this runs for half an hour with slots of ten seconds and the default rules.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thin_still_and_tiny_markets_have_a_price_in_every_slot() {
    let minutes: Option<u64> =
        std::env::var("TICKWELL_MARKET_MINUTES").ok().map(|minutes| minutes.parse().unwrap());
    let (interval, frozen_after) =
        if minutes.is_some() { (Duration::from_secs(10), "10m") } else { (INTERVAL, "1s") };
    let slots = minutes.map_or(12, |minutes| minutes * 6);
    let market = NineMarkets { interval: i64::try_from(interval.as_millis()).unwrap() };
    let upstream = FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await.unwrap();
    let pairs = MOVERS.map(|mover| mover.pair).join(",");
    let scene = Scene::new(interval)
        .asking(&upstream)
        .with("TICKWELL__FEED__PAIRS", &pairs)
        .with("TICKWELL__FEED__SOURCES", &SOURCES.map(Venue::name).join(","))
        .with("TICKWELL__AGGREGATE__FROZEN_AFTER", frozen_after);
    let mut pod = scene.standalone("only").await;
    has_price(&pod).await;
    // One record per pair and slot, and a lead record per pair.
    let wanted = u64::try_from(MOVERS.len()).unwrap() * (slots + 1);
    let patience = DEADLINE + interval * u32::try_from(slots).unwrap();
    wait_until("all slots", patience, async || (pod.sequence().await >= wanted).then_some(())).await;

    let records = records::all(&pod).await;
    let _findings = audit(&records);
    let mut compared = 0;
    for record in records.iter().filter(|record| record.covers().is_some()) {
        // A slow machine may have no time for some sources, but half an hour with long slots has no gap.
        let is_late = record.quotes().iter().any(|quote| quote.verdict == "timeout");
        assert!(record.is_tick() || (is_late && minutes.is_none()), "{record:?}");
        if record.is_tick() {
            check_price(record);
        }
        let mover = MOVERS.iter().find(|mover| mover.pair == record.pair).unwrap();
        let slot = record.slot.unwrap().0;
        for quote in record.quotes() {
            let venue: Venue = quote.source.parse().unwrap();
            let known =
                if is_late { ["used", "unused", "timeout", "backing_off"].as_slice() } else { &["used"] };
            assert!(known.contains(&quote.verdict.as_str()), "{quote:?} in {record:?}");
            if let Some(price) = &quote.price {
                let expected = market.price(venue, mover, slot);
                assert_eq!(price.parse::<Decimal>().unwrap(), expected, "{quote:?} in {record:?}");
                compared += 1;
            }
        }
    }
    println!("{compared} quotes are those of the market, in {} records", records.len());
    assert!(compared > 100);
    end(&mut pod.process).await;
}

/// The condition and the reason of the readiness check about markets. None if the poller has not started yet.
async fn markets_check(pod: &Pod) -> Option<(String, String)> {
    let ready = pod.get("/readyz?verbose").await.json();
    let check = ready["checks"].as_array()?.iter().find(|check| check["name"] == "markets")?.clone();
    let text = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
    Some((text("condition"), text("reason")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_market_that_is_halted_or_unlisted_is_named_and_costs_no_other_market() {
    let upstream = moving_upstream(INTERVAL).await;
    upstream.set_listing(Venue::Kraken, "ETH-USD", Listing::Halted);
    upstream.set_listing(Venue::Coinbase, "ETH-USD", Listing::Delisted);
    let scene = Scene::new(INTERVAL)
        .asking(&upstream)
        .with("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD")
        .with("TICKWELL__FEED__SOURCES", "kraken,coinbase,bitstamp,gemini");

    let (succeeded, shown) = sources(&scene, &[]).await;
    assert!(!succeeded, "{shown}");
    assert_eq!(cells(&shown, &["kraken", "ETH-USD"])[4], "halted", "{shown}");
    assert_eq!(cells(&shown, &["coinbase", "ETH-USD"])[4], "unlisted", "{shown}");
    assert_eq!(cells(&shown, &["kraken", "BTC-USD"])[4], "last", "{shown}");

    let pod = scene.standalone("only").await;
    let expected = "kraken is not asked for ETH-USD (halted)";
    let named = async || {
        let (condition, reason) = markets_check(&pod).await?;
        (condition == "degraded"
            && reason.contains(expected)
            && reason.contains("coinbase is not asked for ETH-USD (unlisted)"))
        .then_some(())
    };
    wait_until(expected, DEADLINE, named).await;
    let metric = |source: &str, reason: &str| {
        format!("tickwell_source_left_out_pairs{{reason=\"{reason}\",source=\"{source}\"}}")
    };
    assert_eq!(pod.metric(&metric("kraken", "halted")).await, 1);
    assert_eq!(pod.metric(&metric("coinbase", "unlisted")).await, 1);
    assert_eq!(pod.metric(&metric("bitstamp", "unlisted")).await, 0);
    let left_out = |line: &&String| {
        has_event(line, "market_left_out") && field(line, "pair").is_some_and(|pair| pair == "ETH-USD")
    };
    assert_eq!(pod.process.lines().iter().filter(left_out).count(), 2);

    let sequence = pod.takes_in(6).await;
    let records: Vec<_> =
        records::all(&pod).await.into_iter().filter(|record| record.sequence <= sequence).collect();
    let has_tick = |pair: &str, kraken: &str, coinbase: &str| {
        records.iter().any(|record| {
            record.pair == pair
                && record.is_tick()
                && (record.verdict("kraken"), record.verdict("coinbase")) == (kraken, coinbase)
        })
    };
    assert!(has_tick("ETH-USD", "halted", "unlisted"), "{records:?}");
    assert!(has_tick("BTC-USD", "used", "used"), "{records:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pollers_with_different_pairs_take_turns_and_the_gap_says_that_a_pair_was_not_configured() {
    require_nats!();
    let nats = NatsServer::start().await.unwrap();
    let upstream = moving_upstream(INTERVAL).await;
    // The pollers' settings differ while they are restarted one after the other.
    let scene =
        |pairs: &str| Scene::new(INTERVAL).asking(&upstream).over(&nats).with("TICKWELL__FEED__PAIRS", pairs);
    let (with_eth, without_eth) = (scene("BTC-USD,ETH-USD"), scene("BTC-USD"));
    let mut first = with_eth.poller().await;
    let pod = with_eth.pod("one").await;
    pod.takes_in(8).await;

    let mut second = without_eth.standby().await;
    end(&mut first).await;
    pod.takes_in(4).await;

    let mut third = with_eth.standby().await;
    end(&mut second).await;
    pod.takes_in(8).await;
    end(&mut third).await;

    let records = records::all(&pod).await;
    let _findings = audit(&records);
    let gaps: Vec<&str> = records
        .iter()
        .filter(|record| record.pair == "ETH-USD")
        .filter_map(|record| record.cause.as_deref())
        .collect();
    // On a slow machine, there may be other gaps too.
    assert_eq!(gaps.iter().filter(|cause| **cause == "not_configured").count(), 1, "{gaps:?}");
    let btc = records.iter().filter(|record| record.pair == "BTC-USD");
    assert!(btc.filter_map(|record| record.cause.as_deref()).all(|cause| cause != "not_configured"));
}
