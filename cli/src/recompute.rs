//! `tickwell recompute`: recomputes stored records from their quotes and reports the ones that differ.
//!
//! - [`records`]: reads records from the log on NATS, a store, or a running pod.
//! - [`response`]: turns the response of a pod back into a record.
//! - [`found`]: what a position of the log holds.
//! - [`report`]: one line per record, and a summary.

mod found;
mod records;
mod report;
mod response;

use anyhow::{Result, bail};
use clap::{ArgGroup, Args, value_parser};
use common::domain::Sequence;
use poller::aggregate::recompute::recompute;

use crate::{
    pod::KeyArguments,
    progress::Progress,
    runtime,
    settings::{self, SettingsLayers},
    show,
    stopped::Incomplete,
};
use found::Found;
use records::Records;
use report::Tally;

/// Which records, and where they are.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["sequences", "all"]))]
pub(crate) struct RecomputeArguments {
    /// The sequences of the records to recompute
    #[arg(value_name = "SEQ", value_parser = value_parser!(u64).range(1..))]
    sequences: Vec<u64>,

    /// Recompute every record of the log, and print the records that differ and a summary
    #[arg(long)]
    all: bool,

    /// Read the records from this running pod, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    #[command(flatten)]
    key: KeyArguments,

    /// Read the store of `tickwell run --demo`
    #[arg(long)]
    demo: bool,

    #[command(flatten)]
    incomplete: Incomplete,
}

/// Recomputes the requested records. Fails if a record differs or does not exist.
pub(crate) fn run(arguments: &RecomputeArguments, layers: SettingsLayers) -> Result<()> {
    runtime::block_on(async {
        let records = match &arguments.url {
            Some(url) => Records::of_pod(url, &arguments.key.find()?)?,
            None => {
                let settings = settings::load_log(layers, arguments.demo)?;
                let incomplete = arguments.incomplete.or_if(!arguments.all);
                Records::open(&settings, arguments.demo, incomplete).await?
            }
        };
        match arguments.all {
            true => all(records).await,
            false => some(records, &arguments.sequences).await,
        }
    })
}

/// Recomputes single records and prints a line for each.
async fn some(records: Records, sequences: &[u64]) -> Result<()> {
    let (mut differing, mut absent) = (Vec::new(), Vec::new());
    for number in sequences {
        let line = match records.at(Sequence(*number)).await? {
            Found::Record(record) => {
                let result = recompute(&record);
                if result.is_err() {
                    differing.push(number.to_string());
                }
                report::line(&record, &result)
            }
            Found::Expired(what) => {
                format!("{what}: cannot be recomputed, because its quotes are older than store.retain_quotes")
            }
            Found::Absent(reason) => {
                absent.push(format!("{number}: {reason}"));
                continue;
            }
        };
        show::print(&format!("{number} {line}\n"))?;
    }
    let differing = (!differing.is_empty()).then(|| report::differing(&differing.join(", ")));
    let faults: Vec<String> = differing.into_iter().chain(absent).collect();
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("; ")) }
}

/// Recomputes all records. Prints a line for each that differs, and a summary.
async fn all(records: Records) -> Result<()> {
    let mut tally = Tally::default();
    let mut progress = Progress::new();
    let mut visit = |sequence: Sequence, found: Found, end: Sequence| -> Result<()> {
        progress.show(|| format!("{sequence} of {end}"));
        if let Found::Record(record) = &found {
            let result = recompute(record);
            tally.count(record, &result);
            if result.is_err() {
                progress.clear();
                show::print(&format!("{sequence} {}\n", report::line(record, &result)))?;
            }
        }
        tally.count_others(&found);
        Ok(())
    };
    let walked = records.walk(&mut visit).await;
    progress.clear();
    walked?;
    show::print(&tally.to_string())?;
    match tally.differing {
        0 => Ok(()),
        1 => bail!("{}", report::differing("1 record")),
        count => bail!("{}", report::differing(&format!("{count} records"))),
    }
}
