//! The hot paths whose instructions are counted. Each is prepared, and then run as often as asked.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use common::{
    domain::{Body, Evidence, Observation, Pair, Quote, Sequence, Slot, Tick, Timestamp},
    wire,
};
use ledger::{
    candle::{Buckets, CandleInterval},
    store::{Order, Store, Stored, pack, unpack},
    summary::Point,
    window::{Window, WindowTick},
};
use poem::Endpoint;
use poller::aggregate::aggregate;

use crate::{
    ours::identity,
    pod::Pod,
    year::{self, Year},
};

/// A hot path.
pub struct Path {
    pub name: &'static str,
    /// How often the path is run for a count. The result is the average.
    pub times: u64,
    pub run: fn(u64) -> Result<()>,
}

/// The number of records that are prepared: four hours of two pairs.
const RECORDS: usize = 4 * 360 * 2;

/// The numbers of records in a pack, of ticks on a page, and of candles.
const PACKED: usize = 64;
const PAGE: usize = 100;
const CANDLES: usize = 40;

/// The path of the newest price.
const NEWEST: &str = "/v1/prices/BTC-USD";

/// The number of ticks in 24 hours.
const DAY: usize = 8_640;

pub const PATHS: [Path; 13] = [
    Path { name: "encode a tick", times: 2_000, run: encode },
    Path { name: "decode a tick", times: 2_000, run: decode },
    Path { name: "aggregate 3 quotes", times: 2_000, run: |times| aggregation(3, times) },
    Path { name: "aggregate 8 quotes", times: 2_000, run: |times| aggregation(8, times) },
    Path { name: "add a tick to the window of a snapshot", times: 10_000, run: push },
    Path { name: "time-weighted average of 24 hours", times: 10_000, run: average },
    Path { name: "40 candles of 5 minutes, from the store", times: 200, run: candles },
    Path { name: "pack 64 records", times: 100, run: packing },
    Path { name: "unpack 64 records", times: 200, run: unpacking },
    Path { name: "a kept answer, without HTTP", times: 2_000, run: |times| answers(NEWEST, false, times) },
    Path {
        name: "the newest price, computed, without HTTP",
        times: 500,
        run: |times| answers(NEWEST, true, times),
    },
    Path {
        name: "averages of three windows with known medians, computed, without HTTP",
        times: 500,
        run: |times| answers("/v1/prices/BTC-USD/averages?window=10m,1h,4h", true, times),
    },
    Path {
        name: "history of 100 ticks, computed, without HTTP",
        times: 500,
        run: |times| answers("/v1/prices/BTC-USD/history", true, times),
    },
];

fn records() -> Vec<Stored> {
    Year::new(1).take(RECORDS).collect()
}

/// Ticks as messages of the log. The first two records are no ticks.
fn payloads(count: usize) -> Vec<(Sequence, Vec<u8>)> {
    let ticks = records().into_iter().skip(2).take(count);
    ticks.map(|stored| (stored.sequence, wire::encode(&stored.record))).collect()
}

/// Valgrind counts only what is executed in this function, and not what other threads do meanwhile.
#[inline(never)]
pub fn counted(run: &mut dyn FnMut()) {
    run();
}

/// Runs something with each of the items in turn.
fn repeat<T>(items: &[T], times: u64, mut run: impl FnMut(&T)) {
    counted(&mut || {
        for item in items.iter().cycle().take(usize::try_from(times).unwrap_or(usize::MAX)) {
            run(item);
        }
    });
}

fn encode(times: u64) -> Result<()> {
    repeat(&records(), times, |stored| {
        black_box(wire::encode(black_box(&stored.record)));
    });
    Ok(())
}

fn decode(times: u64) -> Result<()> {
    let payloads = payloads(PAGE);
    ensure!(payloads.iter().all(|(_, bytes)| wire::decode(bytes).is_ok()));
    repeat(&payloads, times, |(_, bytes)| {
        let _ = black_box(wire::decode(black_box(bytes)));
    });
    Ok(())
}

/// Aggregates the quotes of as many sources, which are close to each other.
fn aggregation(sources: usize, times: u64) -> Result<()> {
    let records = records();
    let slots: Vec<(Slot, Vec<Quote>)> = records
        .iter()
        .filter_map(|stored| match &stored.record.body {
            Body::Tick(tick) => Some((tick.slot, quotes(sources, &tick.evidence))),
            _ => None,
        })
        .collect();
    let policy = year::policy();
    repeat(&slots, times, |(slot, quotes)| {
        black_box(aggregate(black_box(quotes), &policy, *slot, year::interval()));
    });
    Ok(())
}

fn quotes(sources: usize, evidence: &Evidence) -> Vec<Quote> {
    let observations: Vec<Observation> =
        evidence.quotes.iter().filter_map(|judged| judged.observation).collect();
    let named = observations.iter().cycle().take(sources).enumerate();
    named
        .map(|(place, observation)| Quote {
            source: format!("source_{place}").parse().expect("a name"),
            shadow: false,
            result: Ok(*observation),
        })
        .collect()
}

/// The ticks of a pair, for a window.
fn ticks(count: usize) -> Result<Vec<WindowTick>> {
    let pair: Pair = year::PAIRS[0].parse()?;
    let records = Year::new(365).filter(|stored| stored.record.pair == pair);
    let ticks = records.filter_map(|stored| match stored.record.body {
        Body::Tick(Tick { slot, interval, price, backfilled, .. }) => {
            Some(WindowTick { point: Point { slot, interval, price, backfilled }, sequence: stored.sequence })
        }
        _ => None,
    });
    Ok(ticks.take(count).collect())
}

fn push(times: u64) -> Result<()> {
    let ticks = ticks(usize::try_from(times)?)?;
    let mut window = Window::default();
    repeat(&ticks, times, |tick| {
        // A snapshot shares the window while the next one is made.
        let shared = window.clone();
        window = std::mem::take(&mut window).push(*tick);
        black_box(shared);
    });
    Ok(())
}

fn average(times: u64) -> Result<()> {
    let ticks = ticks(2 * DAY)?;
    let window = ticks.iter().fold(Window::default(), |window, tick| window.push(*tick));
    repeat(&ticks[DAY..], times, |WindowTick { point, .. }| {
        let from = point.slot.start().minus(std::time::Duration::from_secs(86_400));
        let summary = black_box(&window).summarize(from, point.slot);
        black_box(summary.map(|summary| summary.twap()));
    });
    Ok(())
}

fn candles(times: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::open_copy(folder.path(), &identity(), year::begin())?;
    let records = records();
    let last = records.last().context("a record")?.sequence;
    store.commit(&records, last, &[], Timestamp::EPOCH)?;
    let pair = year::PAIRS[0].parse()?;
    let newest = year::interval().slot_at(year::begin().plus(std::time::Duration::from_secs(4 * 3_600)));
    let buckets = Buckets { pair, interval: CandleInterval::FiveMinutes, newest, next: newest };
    let range = (year::begin(), newest.start());
    repeat(&[()], times, |()| {
        let found = buckets.page(&store, range, Order::Descending, CANDLES).expect("candles");
        assert_eq!(found.len(), CANDLES);
    });
    Ok(())
}

fn packing(times: u64) -> Result<()> {
    let payloads = payloads(PACKED);
    repeat(&[payloads], times, |payloads| {
        black_box(packed(black_box(payloads)).expect("a pack"));
    });
    Ok(())
}

fn unpacking(times: u64) -> Result<()> {
    repeat(&[packed(&payloads(PACKED))?], times, |packed| {
        assert_eq!(unpack(black_box(packed)).expect("records").len(), PACKED);
    });
    Ok(())
}

fn packed(payloads: &[(Sequence, Vec<u8>)]) -> Result<Vec<u8>> {
    Ok(pack(payloads.iter().map(|(sequence, bytes)| (*sequence, bytes.as_slice())))?)
}

/// Responses to a path, with all middleware of a pod, but without a connection. If they are `computed`, each request
/// has another header, so that the pod has not kept its response.
fn answers(path: &str, computed: bool, times: u64) -> Result<()> {
    let request = |number: u64| {
        let accept = if computed { format!("*/*;q=0.9{number}") } else { "*/*".to_owned() };
        let request = poem::Request::builder().uri_str(path).header("host", "bench");
        request.header("accept", accept).finish()
    };
    // On a single thread, so that everything is counted.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let pod = runtime.block_on(Pod::start_with(RECORDS))?;
    let numbers: Vec<u64> = (0..times).collect();
    repeat(&numbers, times, |number| {
        let response = runtime.block_on(pod.endpoint.call(request(*number))).expect("a response");
        assert!(response.is_ok());
    });
    Ok(())
}
