//! Real prices of March 2023, when USDC lost its peg and USDT rose, with a venue that reports USDT prices as USD.

use std::{fmt::Write as _, path::Path, time::Duration};

use testkit::recording::{Recording, recordings_folder};

use crate::{
    audit::audit,
    harness::{Pod, Scene},
    oracle::{check_price, median},
    records::{self, Kind, Record, decimal},
    replay,
};

/// 10 March 2023, 18:00 UTC. In the following hours, USD and USDT prices differed by up to 1.8%.
const FIRST_MINUTE: i64 = 27_974_520;

/// A day and a half.
const MINUTES: i64 = 2_160;

/// The venues that report correct prices, by name and file.
const HONEST: [(&str, &str); 3] =
    [("kraken", "kraken-BTCUSD-"), ("coinbase", "coinbase-BTCUSD-"), ("binanceus", "binanceus-BTCUSD-")];

/// The venue that reports USDT prices as USD.
const LIAR: (&str, &str) = ("liar", "binance-BTCUSDT-2023");

/// Copies the minutes of the test from a recording; `None` if there is no such recording.
fn cut(from: &Path, file: &str, to: &Path) -> Option<()> {
    let mut files = std::fs::read_dir(from).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let path =
        files.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(file)))?;
    let recording = Recording::load(&path).unwrap();
    let mut text = String::from("ts_ms,price\n");
    let rows = recording.rows().iter();
    for row in rows.filter(|row| (FIRST_MINUTE..FIRST_MINUTE + MINUTES).contains(&row.minute())) {
        writeln!(text, "{},{}", row.ts_ms, row.price).unwrap();
    }
    std::fs::write(to, text).unwrap();
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usdt_prices_reported_as_usd_are_outliers_and_move_no_price() {
    let scene = Scene::new(Duration::from_secs(60));
    let mut files = Vec::new();
    for (venue, file) in HONEST.into_iter().chain([LIAR]) {
        let name = format!("{venue}.csv");
        if cut(&recordings_folder(), file, &scene.folder().join(&name)).is_none() {
            println!("skipped: no recording {file}… in {}", recordings_folder().display());
            return;
        }
        files.push(format!("{venue}:BTC-USD:{name}"));
    }
    let scene = scene
        .with("TICKWELL__FEED__SOURCES", "replay")
        .with("TICKWELL__REPLAY__FILES", &files.join(","))
        .with("TICKWELL__REPLAY__SPEED", "max")
        .with("TICKWELL__AGGREGATE__MAX_DEVIATION", "1%");
    let pod = Pod::of(scene.command("store").arg("run").start().unwrap()).await;
    replay::is_over(&pod, (FIRST_MINUTE + MINUTES) * 60_000).await;

    let records = records::all(&pod).await;
    audit(&records);
    let ticks: Vec<&Record> = records.iter().filter(|record| record.is_tick()).collect();
    assert!(records.iter().all(|record| record.kind != Kind::Gap), "every minute has a price");
    assert_eq!(ticks.len(), usize::try_from(MINUTES).unwrap());
    let mut marked = 0;
    for tick in ticks {
        check_price(tick);
        let price = |name: &str| {
            let quote = tick.quotes().iter().find(|quote| quote.source == name)?;
            quote.price.as_deref().map(decimal)
        };
        // A venue without a row in this minute is stale and does not affect the price.
        let fresh = |name: &&str| tick.verdict(name) != "stale" && tick.verdict(name) != "missing";
        let honest: Vec<_> = HONEST.iter().map(|(name, _)| *name).filter(fresh).filter_map(price).collect();
        let agreed = decimal(tick.price.as_deref().unwrap());
        let range = *honest.iter().min().unwrap()..=*honest.iter().max().unwrap();
        assert!(range.contains(&agreed), "{agreed} is not in {range:?}: {tick:?}");
        let lie = price(LIAR.0).unwrap();
        let apart = (lie - median(honest.clone())).abs() / median(honest);
        if apart > decimal("0.0125") {
            assert_eq!(tick.verdict(LIAR.0), "outlier", "{apart}: {tick:?}");
        }
        marked += usize::from(tick.verdict(LIAR.0) == "outlier");
    }
    println!("the liar was marked in {marked} of {MINUTES} minutes");
    assert!(marked > 100, "{marked}");
}
