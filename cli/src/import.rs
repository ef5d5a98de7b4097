//! `tickwell import`: a user's own history of a pair, before the first record of the pair.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use anyhow::{Context, Result};
use clap::{Args, value_parser};
use common::{
    bus::{
        lease::Uncontested,
        nats::{NatsLease, NatsWriter, Role},
    },
    clock::{Clock, SystemClock},
    domain::{Body, Interval, Pair, SourceName},
    metrics::Prices,
    readiness::Readiness,
};
use ledger::{
    ingest::{Checks, Ingest},
    local_log,
    store::{Retention, Store},
};
use poller::import::{Contents, Import};
use prometheus::Registry;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::{
    connect, output,
    progress::Progress,
    runtime,
    settings::{self, Settings, SettingsLayers},
    show,
};

/// What to import.
#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// The pair, such as BTC-USD
    #[arg(long)]
    pair: Pair,

    /// CSV with a header that starts with time,price (RFC 3339), ts_ms,price (unix milliseconds) or slot,price (as
    /// `tickwell export` writes it), oldest first; .gz is decompressed. NAME:FILE gives the source a name; without one,
    /// it is `imported`. Several files are several sources, which must agree like those of live prices
    #[arg(value_name = "FILE", required = true)]
    files: Vec<SourceFile>,

    /// The distance between the slots of the imported history. A slot has each file's newest row since the slot before
    #[arg(long, default_value = "1m")]
    interval: Interval,

    /// How many files must have a price for a slot
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    min_sources: u32,

    /// Only show what would be imported. The log is neither read nor written
    #[arg(long)]
    dry_run: bool,
}

/// A file and the name of its source.
#[derive(Debug, Clone)]
struct SourceFile {
    name: SourceName,
    path: PathBuf,
}

impl FromStr for SourceFile {
    type Err = common::domain::SourceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = text.split_once(':').and_then(|(name, path)| Some((name.parse().ok()?, path)));
        let (name, path) = match named {
            Some((name, path)) if !path.is_empty() => (name, path),
            _ => ("imported".parse()?, text),
        };
        Ok(Self { name, path: PathBuf::from(path) })
    }
}

/// Imports the files into the log of the settings.
pub(crate) fn run(arguments: &ImportArguments, layers: SettingsLayers) -> Result<()> {
    let settings = settings::load_log(layers, false)?;
    let files: Vec<(SourceName, &Path)> =
        arguments.files.iter().map(|file| (file.name, file.path.as_path())).collect();
    let wanted = (arguments.pair, arguments.interval, arguments.min_sources);
    let import = Import::read(&settings.poller(), wanted, &files, SystemClock.now())?;
    let bodies = import.bodies()?;
    let summary = summary(arguments.pair, &bodies);
    if arguments.dry_run {
        return show::print(&format!("would import {summary}\n"));
    }
    runtime::block_on(output::unless_interrupted(write(&settings, &import, bodies)))?;
    show::print(&format!("imported {summary}\n"))
}

fn summary(pair: Pair, bodies: &[Body]) -> String {
    let Some(Contents { first, last, ticks, gaps }) = Contents::of(bodies) else { return String::new() };
    format!("{pair} from {first} to {last}: {ticks} slots with a price, {gaps} without")
}

async fn write(settings: &Settings, import: &Import, bodies: Vec<Body>) -> Result<()> {
    let registry = Registry::new();
    let prices = Prices::new(&registry)?;
    let metrics = poller::Metrics::new(&registry, prices.clone(), &[])?;
    let mut line = Progress::new();
    let mut progress = |left: u32, total: u32| {
        line.show(|| format!("{} of {total} slots are written", total.saturating_sub(left)));
    };
    if settings.bus.url.is_empty() {
        let ledger_metrics = ledger::Metrics::new(&registry, prices)?;
        let (log, storing) = local(settings, ledger_metrics).await?;
        poller::import::write(log, import, bodies, metrics, &mut progress).await?;
        // The writer is gone now, so the task ends once everything is stored.
        return storing.await?;
    }
    let nats = connect::to_log(settings, Role::Poller).await?;
    let lease = Arc::new(NatsLease::open(nats.clone(), settings.bus.lease).await?);
    let writer = Arc::new(NatsWriter::open(nats, lease.clone()).await?);
    Ok(poller::import::write(poller::Log { writer, lease }, import, bodies, metrics, &mut progress).await?)
}

/// The in-process log, which is the store, and the task that stores its records.
async fn local(
    settings: &Settings,
    metrics: ledger::Metrics,
) -> Result<(poller::Log, JoinHandle<Result<()>>)> {
    let store = Store::open_local(&settings.store.path)
        .context("cannot open the store; a process that uses it must be stopped first")?;
    let (writer, reader) = local_log::open(&store)?;
    let keep = settings.windows.keep.duration();
    let retention = Retention {
        ticks: settings.store.retain_ticks.duration(),
        quotes: settings.store.retain_quotes.duration(),
    };
    let checks = Checks::new(&Readiness::default());
    let (ingest, _snapshots) =
        spawn_blocking(move || Ingest::load(store, keep, retention, metrics, checks)).await??;
    let storing = tokio::spawn(async move {
        ingest.run(Box::new(reader), CancellationToken::new()).await.map_err(anyhow::Error::from_boxed)?;
        Ok(())
    });
    Ok((poller::Log { writer, lease: Arc::new(Uncontested::new()) }, storing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_have_a_name() {
        for (text, name, path) in [
            ("prices.csv", "imported", "prices.csv"),
            ("kraken:./prices.csv", "kraken", "./prices.csv"),
            ("Kraken:prices.csv", "imported", "Kraken:prices.csv"),
            ("kraken:", "imported", "kraken:"),
        ] {
            let file: SourceFile = text.parse().unwrap();
            assert_eq!((file.name.as_str(), file.path.to_str().unwrap()), (name, path), "{text}");
        }
    }
}
