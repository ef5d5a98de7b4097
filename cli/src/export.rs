//! `tickwell export`: ticks, gaps or candles of a pair, as CSV or NDJSON.
//!
//! - [`rows`]: the lists, and where their rows are read from, page by page. [`check`] checks the rows of a pod.
//!
//! Rows are ordered from oldest to newest. The last row is for the slot that was the pair's newest one when the export
//! started, however long the export takes. Only one page is in memory at a time.

mod check;
mod rows;

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use api::{
    dto::TimestampParameter,
    lines::{LineFormat, Lines},
};
use clap::{Args, ValueEnum};
use common::domain::{Pair, Timestamp};
use ledger::candle::CandleInterval;

use crate::{
    output::{self, Output},
    pod::{KeyArguments, PodClient},
    progress::Progress,
    runtime,
    settings::{self, SettingsLayers},
    show,
    stopped::{self, Incomplete},
};
use rows::{Asked, Candles, ExportInput, Gaps, List, Ticks};

/// What to export, and where to.
#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// The pair to export, such as BTC-USD
    #[arg(long)]
    pair: Pair,

    /// Start of the time range (inclusive), as RFC 3339, a date or unix milliseconds. If not given: the start of history
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,

    /// End of the time range (exclusive), as RFC 3339, a date or unix milliseconds. If not given: now
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,

    /// The format of the output
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,

    /// Export the gaps (slots without a price, with their causes) instead of the ticks
    #[arg(long)]
    gaps: bool,

    /// Export candles of this length (1m, 5m, 15m, 1h, 4h or 1d) instead of the ticks. The time range selects candles
    /// by their start
    #[arg(long, value_name = "INTERVAL", conflicts_with = "gaps")]
    candles: Option<CandleInterval>,

    /// Write to this file. If not given: to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace the file if it already exists
    #[arg(long, requires = "output")]
    force: bool,

    /// Read from this running pod, such as http://127.0.0.1:8080. If not given, the store in store.path is read, which
    /// no running process may be using
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    #[command(flatten)]
    incomplete: Incomplete,

    #[command(flatten)]
    key: KeyArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Comma-separated values with a header row
    Csv,
    /// One JSON object per line, with the same members as in the API
    Ndjson,
}

impl Format {
    fn lines(self) -> LineFormat {
        match self {
            Self::Csv => LineFormat::Csv,
            Self::Ndjson => LineFormat::Ndjson,
        }
    }
}

fn instant(text: &str) -> Result<Timestamp, String> {
    TimestampParameter::read(text).map(|instant| instant.0)
}

/// Exports the requested rows.
pub(crate) fn run(arguments: &ExportArguments, layers: SettingsLayers) -> Result<()> {
    if let (Some(from), Some(to)) = (arguments.from, arguments.to) {
        ensure!(from <= to, "--from: {from} is after --to, which is {to}");
    }
    let exported = async {
        let input = match &arguments.url {
            Some(url) => ExportInput::Pod(PodClient::new("--url", url, &arguments.key.find()?)?),
            None => {
                let settings = settings::load_log(layers, false)?;
                let store = stopped::open(&settings, "--url", &settings.api.listen, arguments.incomplete)?;
                let folder = settings.store.path.display();
                let store = store.with_context(|| {
                    format!(
                        "there is no store in {folder}; set store.path to the directory of a store, or use --url to \
                         read from a running pod"
                    )
                })?;
                ExportInput::Store(store, settings.store.retain_ticks.duration())
            }
        };
        match arguments.candles {
            Some(interval) => export(&Candles(interval), input, arguments).await,
            None if arguments.gaps => export(&Gaps, input, arguments).await,
            None => export(&Ticks, input, arguments).await,
        }
    };
    runtime::block_on(output::unless_interrupted(exported))
}

async fn export<L: List>(list: &L, input: ExportInput, arguments: &ExportArguments) -> Result<()> {
    let asked = Asked { pair: arguments.pair, from: arguments.from, to: arguments.to };
    let Some(path) = &arguments.output else {
        let written = write(list, input, asked, arguments.format, BufWriter::new(io::stdout().lock())).await;
        return match written {
            // A closed pipe is not an error: its reader, such as `head`, needs no more output.
            Err(error) if output::is_broken_pipe(&error) => Ok(()),
            other => other.map(drop),
        };
    };
    let mut output = Output::begin(path, arguments.force)?;
    let count = write(list, input, asked, arguments.format, BufWriter::new(&mut output)).await?;
    output.finish()?;
    show::print(&format!("Exported {count} {} of {} to {}\n", L::ITEMS, arguments.pair, path.display()))
}

/// Writes all rows. Returns the number of rows.
async fn write<L: List>(
    list: &L,
    input: ExportInput,
    asked: Asked,
    format: Format,
    output: impl Write,
) -> Result<u64> {
    let mut pages = input.pages(list, asked).await?;
    let mut lines = Lines::begin::<L::Row>(format.lines(), output)?;
    let (mut count, mut progress) = (0_u64, Progress::new());
    while let Some(page) = pages.next().await? {
        for row in &page {
            lines.write(row)?;
            count += 1;
        }
        if let Some(last) = page.last() {
            progress.show(|| {
                let (last, end) = (L::time(last), pages.end());
                format!("{count} {}, up to {last} of {end}", L::ITEMS)
            });
        }
    }
    lines.finish()?;
    Ok(count)
}

#[cfg(test)]
mod tests;
