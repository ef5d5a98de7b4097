//! `tickwell price`: the price of a pair now or at given times, or price columns for a CSV file.
//!
//! - [`found`]: the response of a pod about one time.
//! - [`annotate`]: adds price columns to a CSV file.

mod annotate;
mod found;

use std::path::PathBuf;

use anyhow::{Result, bail};
use api::dto::{MAX_TIMES, TimestampParameter};
use clap::Args;
use common::domain::{Pair, Price, Sequence, Span, Timestamp};
use serde::Deserialize;

use crate::{
    output,
    pod::{self, KeyArguments, PodClient},
    runtime, show,
};
use annotate::{Annotation, Columns};
use found::{Found, FoundItem};

/// What to look up, and at which pod.
#[derive(Debug, Args)]
pub(crate) struct PriceArguments {
    /// The pair, such as BTC-USD. With --annotate: the pair of every row, instead of --pair-column
    #[arg(value_name = "PAIR", required_unless_present = "pair_column", conflicts_with = "pair_column")]
    pair: Option<Pair>,

    /// Show the price at this time, as RFC 3339, a date (the start of that day in UTC) or unix milliseconds. Can be
    /// repeated. If not given: the newest price
    #[arg(long = "at", value_name = "TIME", value_parser = instant, conflicts_with = "annotate")]
    times: Vec<Timestamp>,

    /// Add the columns price, price_slot, price_sequence and price_outcome to this CSV file, which must have a header row
    #[arg(long, value_name = "FILE", requires_all = ["time_column", "output"])]
    annotate: Option<PathBuf>,

    /// The column of the CSV file with the time of each row
    #[arg(long, value_name = "COLUMN", requires = "annotate")]
    time_column: Option<String>,

    /// The column of the CSV file with the pair of each row
    #[arg(long, value_name = "COLUMN", requires = "annotate")]
    pair_column: Option<String>,

    /// The longest time from a price's slot to the time of the row. An older price is left out. A time in a gap gets
    /// the price before the gap if that is recent enough. If not given: a time in a gap gets no price
    #[arg(long, value_name = "DURATION", requires = "annotate")]
    max_distance: Option<Span>,

    /// Write the CSV file with the new columns to this file
    #[arg(long, value_name = "FILE", requires = "annotate")]
    output: Option<PathBuf>,

    /// Replace the file if it already exists
    #[arg(long, requires = "output")]
    force: bool,

    /// The address of a pod
    #[arg(long, value_name = "URL", default_value = pod::DEFAULT_URL)]
    url: String,

    #[command(flatten)]
    key: KeyArguments,
}

/// The newest price of a pair.
#[derive(Debug, Deserialize)]
struct Newest {
    slot: String,
    price: String,
    sequence: u64,
    stale: bool,
}

/// The response for several times.
#[derive(Debug, Deserialize)]
struct PricesAt {
    items: Vec<FoundItem>,
}

fn instant(text: &str) -> Result<Timestamp, String> {
    TimestampParameter::read(text).map(|instant| instant.0)
}

/// Shows the requested prices, or annotates a file.
pub(crate) fn run(arguments: &PriceArguments) -> Result<()> {
    let pod = PodClient::new("--url", &arguments.url, &arguments.key.find()?)?;
    let work = async {
        if let (Some(input), Some(time), Some(output)) =
            (&arguments.annotate, &arguments.time_column, &arguments.output)
        {
            let (pair, max_distance) = (arguments.pair, arguments.max_distance);
            let columns = Columns { time, pair: arguments.pair_column.as_deref() };
            let annotation = Annotation { pod: &pod, columns, pair, max_distance };
            return annotation.run(input, output, arguments.force).await;
        }
        match arguments.pair {
            Some(pair) if arguments.times.is_empty() => newest(&pod, pair).await,
            Some(pair) => at(&pod, pair, &arguments.times).await,
            None => bail!("give the pair whose price to show, such as BTC-USD"),
        }
    };
    runtime::block_on(output::unless_interrupted(work))
}

async fn newest(pod: &PodClient, pair: Pair) -> Result<()> {
    let Newest { slot, price, sequence, stale } =
        pod.parse(&pod.get(&format!("/v1/prices/{pair}")).await?)?;
    let (slot, price): (Timestamp, Price) = (slot.parse()?, price.parse()?);
    let stale = if stale { ", stale" } else { "" };
    show::print(&format!("{pair} {price} (slot {slot}, sequence {sequence}{stale})\n"))
}

/// Prints one line per time. Fails if there was no price at one of them.
async fn at(pod: &PodClient, pair: Pair, times: &[Timestamp]) -> Result<()> {
    let found = look_up(pod, pair, times, None).await?;
    for (time, found) in times.iter().zip(&found) {
        show::print(&format!("{time} {pair} {found}\n"))?;
    }
    match found.iter().filter(|found| !matches!(found, Found::Tick(_))).count() {
        0 => Ok(()),
        missing => bail!("no price at {missing} of {} times", found.len()),
    }
}

/// What the log has for each of these times, in the same order. With a sequence, as of that sequence.
async fn look_up(
    pod: &PodClient,
    pair: Pair,
    times: &[Timestamp],
    sequence: Option<Sequence>,
) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let pinned = sequence.map(|sequence| format!("&at_sequence={sequence}")).unwrap_or_default();
    for times in times.chunks(MAX_TIMES) {
        let query: Vec<String> = times.iter().map(|time| format!("time={}", time.unix_millis())).collect();
        let response = pod.get(&format!("/v1/prices/{pair}/at?{}{pinned}", query.join("&"))).await?;
        let PricesAt { items } = pod.parse(&response)?;
        if items.len() != times.len() {
            bail!("{} returned {} items for {} times", pod.url(), items.len(), times.len());
        }
        for item in items {
            found.push(item.try_into()?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
