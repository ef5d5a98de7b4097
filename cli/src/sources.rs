//! `tickwell sources`: shows the requests and rate limit of each source, and whether it responds.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context, Result, bail};
use common::{
    clock::{Clock, SystemClock},
    domain::{Failure, Interval, Pair, Slot, SourceName, Timestamp},
};
use futures::future::join_all;
use poller::{
    config::Member,
    source::{self, About, Answers, PerMinute},
};
use tokio::time::Instant;

use crate::{settings::Settings, show};

/// How long the sources may take to respond: the 4 s that a source may take in a slot at most, plus 2 s for the first
/// connection.
const PATIENCE: Duration = Duration::from_secs(6);

/// The result of asking a source once.
struct Probe {
    answers: Answers,
    latency: Duration,
}

/// Prints the sources, and asks each once if `probe` is set. Fails if a source has no price for a pair.
pub(crate) fn run(settings: &Settings, probe: bool) -> Result<()> {
    let feed = settings.poller().resolve()?;
    if !probe {
        return show::print(&overview(&feed.members, feed.interval));
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let slot = feed.interval.slot_at(SystemClock.now());
    let lists = runtime.block_on(load_lists(&feed.members, slot));
    // How many requests are sent depends on the lists of markets.
    show::print(&overview(&feed.members, feed.interval))?;
    let probes = runtime.block_on(ask(&feed.members, slot));
    let names = || feed.members.iter().map(|member| member.source.name());
    let asked: Vec<(SourceName, Probe)> = names().zip(probes).collect();
    show::print(&report(&asked))?;
    show::print(&failed_lists(&names().zip(lists).collect::<Vec<_>>()))?;
    let failed: Vec<&str> = asked
        .iter()
        .filter(|(_, probe)| probe.answers.values().any(Result::is_err))
        .map(|(name, _)| name.as_str())
        .collect();
    if failed.len() == asked.len() && failed.len() > 1 {
        bail!(
            "no source returned a price for all of its pairs; if none responds, check the network and sources.proxy"
        );
    }
    if !failed.is_empty() {
        bail!(
            "no price from {} for at least one pair; list the pair's other sources in pairs.<PAIR>.sources, or remove \
             these sources from feed.sources, or the pairs without a price from feed.pairs",
            failed.join(", ")
        );
    }
    Ok(())
}

/// Loads each source's list of markets. Returns why a list could not be loaded.
async fn load_lists(members: &[Member], slot: Slot) -> Vec<Result<(), Failure>> {
    let loaded = members.iter().map(async |member| {
        let loaded = tokio::time::timeout(PATIENCE, member.source.refresh_markets(slot)).await;
        loaded.unwrap_or(Err(Failure::Timeout))
    });
    join_all(loaded).await
}

async fn ask(members: &[Member], slot: Slot) -> Vec<Probe> {
    let (start, deadline) = (Instant::now(), Instant::now() + PATIENCE);
    let asked = members.iter().map(async |member| {
        let answers = member.source.ask(slot, deadline).await;
        Probe { answers, latency: start.elapsed() }
    });
    join_all(asked).await
}

/// A line for each list of markets that could not be loaded.
fn failed_lists(lists: &[(SourceName, Result<(), Failure>)]) -> String {
    let failed = lists.iter().filter_map(|(name, loaded)| Some((name, loaded.err()?)));
    let line = |(name, failure): (&SourceName, Failure)| {
        format!(
            "\nThe list of markets of {name} could not be loaded ({failure}): {}\n",
            source::meaning(failure)
        )
    };
    failed.map(line).collect()
}

/// A table with one row per source, and the names of the sources that are not used.
fn overview(members: &[Member], interval: Interval) -> String {
    let mut rows = vec![
        ["source", "role", "requests", "per minute", "limit per minute", "used", "key", "address"]
            .map(str::to_owned),
    ];
    for member in members {
        let about = member.source.about();
        let [limit, share] = allowed(&about, interval);
        rows.push([
            member.source.name().to_string(),
            member.role.to_string(),
            about.requests.to_string(),
            PerMinute::every(about.requests, interval).to_string(),
            limit,
            share,
            if about.has_key { "yes" } else { "no" }.to_owned(),
            place(&about),
        ]);
    }
    let asked: Vec<SourceName> = members.iter().map(|member| member.source.name()).collect();
    let others: Vec<&str> =
        source::names().filter(|name| asked.iter().all(|asked| asked.as_str() != *name)).collect();
    let mut text = format!(
        "Requests in each slot of {interval}. A fallback source is counted as if it were asked in every slot.\n\n"
    );
    text.push_str(&aligned(&rows));
    if !others.is_empty() {
        text.push_str(&format!("\nNot in feed.sources: {}\n", others.join(", ")));
    }
    text
}

/// Where a source is asked.
fn place(about: &About) -> String {
    match (about.address.as_str(), about.proxy.as_str()) {
        ("", _) => "in this process".to_owned(),
        (address, "") => address.to_owned(),
        (address, proxy) => format!("{address} through {proxy}"),
    }
}

fn allowed(about: &About, interval: Interval) -> [String; 2] {
    match about.limit {
        Some(limit) => {
            let month = limit.per_month.map(|month| format!(", {month} a month")).unwrap_or_default();
            let burst = limit.burst.map(|burst| format!(", burst {burst}")).unwrap_or_default();
            let certainty = if limit.is_documented { "" } else { " (undocumented)" };
            [
                format!("{}{burst}{month}{certainty}", limit.per_minute()),
                format!("{}%", limit.share(about.requests, interval)),
            ]
        }
        None if about.address.is_empty() => ["-", "-"].map(str::to_owned),
        None if about.is_public => ["depends on the plan".to_owned(), "-".to_owned()],
        None => ["not checked".to_owned(), "-".to_owned()],
    }
}

/// A table with one row per source and pair.
fn report(asked: &[(SourceName, Probe)]) -> String {
    let mut rows = Vec::new();
    for (name, Probe { answers, latency }) in asked {
        for (pair, answer) in answers {
            rows.push(line(*name, *pair, answer, *latency));
        }
    }
    format!("\nResult of asking each source once:\n\n{}", aligned(&rows))
}

fn line(
    name: SourceName,
    pair: Pair,
    answer: &Result<source::Sample, Failure>,
    latency: Duration,
) -> [String; 5] {
    let (what, more) = match answer {
        Ok(sample) => {
            let time = sample.trade_time.map_or("(no time)".to_owned(), |time: Timestamp| time.to_string());
            (sample.reported.to_string(), time)
        }
        Err(failure) => (failure.to_string(), source::meaning(*failure).to_owned()),
    };
    [name.to_string(), pair.to_string(), format!("{} ms", latency.as_millis()), what, more]
}

/// Formats rows with columns as wide as their widest value.
fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, " {cell:<width$} ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_value() {
        let rows = [["a", "long value"], ["longer", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), "  a       long value\n  longer  x\n");
    }

    #[test]
    fn a_failure_comes_with_what_it_means() {
        let (name, pair) = ("kraken".parse().unwrap(), "BTC-USD".parse().unwrap());
        let line = line(name, pair, &Err(Failure::Http451), Duration::from_millis(12));
        assert_eq!(line[..4], ["kraken", "BTC-USD", "12 ms", "http_451"]);
        assert!(line[4].contains("place"), "{}", line[4]);
    }
}
