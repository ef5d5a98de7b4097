//! A fake of all the venues that Tickwell supports, on one port.
//!
//! The program prints the settings with which Tickwell uses the fake, and runs until Ctrl-C.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::DateTime;
use clap::{Parser, ValueEnum};
use testkit::clock;
use testkit::fault::Assignment;
use testkit::market::{Market, RecordedMarket, ScriptMarket, WalkMarket};
use testkit::recording::{Recordings, recordings_folder};
use testkit::upstream::FakeUpstream;

/// Serves random, recorded or scripted prices, and lists of markets, in the formats of Kraken, Coinbase and others.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address to serve on.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// How long a price stays the same, for example 10s, 500ms or 1m. Use the value of Tickwell's setting feed.interval.
    #[arg(long, default_value = "10s", value_parser = parse_interval)]
    interval: Duration,
    /// Where prices come from.
    #[arg(long, value_enum, default_value_t = MarketKind::Walk)]
    market: MarketKind,
    /// The script (JSON) for `--market script`.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The directory with recordings for `--market recorded`. The default is $TICKWELL_RECORDINGS or, if it is not set,
    /// the recordings that are found on this machine.
    #[arg(long)]
    recordings: Option<PathBuf>,
    /// The first recorded minute to serve: RFC 3339 (2023-03-04T15:00:00Z) or minutes since the unix epoch.
    #[arg(long, value_parser = parse_minute)]
    first_minute: Option<i64>,
    /// The seed of `--market walk`.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A venue and its fault, for example kraken=stuck. May be repeated.
    #[arg(long = "fault", value_name = "VENUE=FAULT")]
    faults: Vec<Assignment>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MarketKind {
    /// Random prices of BTC-USD and ETH-USD.
    Walk,
    /// Recorded minutes of BTC-USD, one per interval.
    Recorded,
    /// The steps of a script, one per interval.
    Script,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let upstream = FakeUpstream::start(build_market(&arguments)?, arguments.listen).await?;
    for Assignment { venue, fault } in &arguments.faults {
        upstream.set_fault(*venue, *fault);
        println!("{venue} has the fault {fault}");
    }
    println!("serving {:?} prices on {}\n", arguments.market, upstream.url());
    println!("Point Tickwell here:\n");
    for (name, value) in upstream.environment() {
        println!("export {name}={value}");
    }
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")?;
    upstream.stop().await;
    Ok(())
}

fn build_market(arguments: &Arguments) -> anyhow::Result<Arc<dyn Market>> {
    let interval = arguments.interval;
    Ok(match arguments.market {
        MarketKind::Walk => Arc::new(WalkMarket::new(arguments.seed, interval)?),
        MarketKind::Recorded => {
            let folder = arguments.recordings.clone().unwrap_or_else(recordings_folder);
            let recordings = Recordings::load(&folder)?;
            Arc::new(RecordedMarket::new(recordings, interval, arguments.first_minute, clock::now_ms())?)
        }
        MarketKind::Script => {
            let file = arguments.file.as_ref().context("--market script needs --file")?;
            let script =
                std::fs::read_to_string(file).with_context(|| format!("script {}", file.display()))?;
            Arc::new(ScriptMarket::from_json(&script, interval, clock::now_ms())?)
        }
    })
}

/// A whole number and one of the units ms, s and m.
fn parse_interval(text: &str) -> anyhow::Result<Duration> {
    let unit_start = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_start);
    let number: u64 = number.parse().context("the interval must be a number and a unit, such as 10s")?;
    let interval = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60).context("too long")?),
        other => bail!("{other:?} is not one of the units ms, s and m"),
    };
    if interval.is_zero() {
        bail!("the interval is zero");
    }
    Ok(interval)
}

fn parse_minute(text: &str) -> anyhow::Result<i64> {
    if let Ok(minute) = text.parse() {
        return Ok(minute);
    }
    let time = DateTime::parse_from_rfc3339(text)
        .context("the minute must be an RFC 3339 timestamp or a number of minutes")?;
    Ok(time.timestamp().div_euclid(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_a_unit() {
        assert_eq!(parse_interval("10s").unwrap(), Duration::from_secs(10));
        assert_eq!(parse_interval("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_interval("2m").unwrap(), Duration::from_secs(120));
        for wrong in
            ["10", "s", "", "1h", "-1s", "0s", "1.5s", "99999999999999999999s", "400000000000000000m"]
        {
            assert!(parse_interval(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_minute_is_a_number_or_a_time() {
        assert_eq!(parse_minute("27965810").unwrap(), 27_965_810);
        assert_eq!(parse_minute("2001-01-01T00:00:59Z").unwrap(), 16_305_120);
        assert_eq!(parse_minute("2001-01-01T01:00:00+01:00").unwrap(), 16_305_120);
        assert!(parse_minute("yesterday").is_err());
    }

    #[test]
    fn every_market_can_be_chosen_and_a_script_needs_its_file() {
        let build = |words: &[&str]| {
            build_market(&Arguments::try_parse_from(std::iter::once(&"fake-upstream").chain(words)).unwrap())
        };
        let pairs = |market: Arc<dyn Market>| market.pairs(testkit::Venue::Kraken, clock::now_ms());
        assert_eq!(pairs(build(&[]).unwrap()), ["BTC-USD", "ETH-USD"]);
        assert!(Arguments::try_parse_from(["fake-upstream", "--fault", "kraken=nonsense"]).is_err());
        assert_eq!(pairs(build(&["--market", "recorded", "--interval", "1m"]).unwrap()), ["BTC-USD"]);
        assert!(build(&["--market", "script"]).is_err());

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script.json");
        std::fs::write(&file, r#"[{"kraken": {"SOL-USD": "150"}}]"#).unwrap();
        let script = build(&["--market", "script", "--file", file.to_str().unwrap()]).unwrap();
        assert_eq!(pairs(script), ["SOL-USD"]);
    }
}
