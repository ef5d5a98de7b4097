//! `tickwell export`: ticks or gaps of a pair, as CSV or NDJSON.
//!
//! - [`rows`]: what a line has, and where it is read from, page by page.
//!
//! Lines come oldest first and end with the pair's newest slot as of the start, however long it takes. In
//! memory there is one page at a time.

mod rows;

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use api::{
    dto::TimestampParameter,
    lines::{LineFormat, Lines, TickLine},
};
use clap::{Args, ValueEnum};
use common::domain::{Pair, Timestamp};

use crate::{
    output::{self, Output},
    pod::{KeyArguments, PodClient},
    progress::Progress,
    settings::{self, SettingsLayers},
    show, stopped,
};
use rows::{Asked, ExportInput, GapRow, Row};

/// What to export, and where to.
#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// The pair, such as BTC-USD
    #[arg(long)]
    pair: Pair,

    /// The first instant, as RFC 3339 or unix milliseconds; as early as history goes, if absent
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,

    /// The instant after the last; up to now, if absent
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,

    /// How a line looks
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,

    /// The slots without a price, and why, in place of the ticks
    #[arg(long)]
    gaps: bool,

    /// Write to this file; to standard output, if absent
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace the file if it is there already
    #[arg(long, requires = "output")]
    force: bool,

    /// Read through a running pod, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    #[command(flatten)]
    key: KeyArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A header row, and values separated by commas
    Csv,
    /// One JSON object a line, with the members that the API gives
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

/// Exports what was asked for.
pub(crate) fn run(arguments: &ExportArguments, layers: SettingsLayers) -> Result<()> {
    if let (Some(from), Some(to)) = (arguments.from, arguments.to) {
        ensure!(from <= to, "--from: {from} is after --to, {to}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let exported = async {
        let input = match &arguments.url {
            Some(url) => ExportInput::Pod(PodClient::new("--url", url, &arguments.key.find()?)?),
            None => {
                let settings = settings::load_log(layers, false)?;
                let store = stopped::open(&settings, "--url", &settings.api.listen)?;
                let folder = settings.store.path.display();
                let store = store.with_context(|| {
                    format!("there is no store in {folder}; name one with --set store.path=…, or the --url of a pod")
                })?;
                ensure!(
                    store.is_current()?,
                    "the store in {folder} is of an older version: start this one on it once, then export"
                );
                ExportInput::Store(store, settings.store.retain_ticks.duration())
            }
        };
        match arguments.gaps {
            true => export::<GapRow>(input, arguments).await,
            false => export::<TickLine>(input, arguments).await,
        }
    };
    runtime.block_on(output::unless_interrupted(exported))
}

async fn export<R: Row>(input: ExportInput, arguments: &ExportArguments) -> Result<()> {
    let asked = Asked { pair: arguments.pair, from: arguments.from, to: arguments.to };
    let Some(path) = &arguments.output else {
        let written = write::<R>(input, asked, arguments.format, BufWriter::new(io::stdout().lock())).await;
        return match written {
            // A reader that has gone away has seen what it wanted.
            Err(error) if is_broken_pipe(&error) => Ok(()),
            other => other.map(drop),
        };
    };
    let mut output = Output::begin(path, arguments.force)?;
    let count = write::<R>(input, asked, arguments.format, BufWriter::new(&mut output)).await?;
    output.finish()?;
    show::print(&format!("{count} {} of {} in {}\n", R::LIST.things(), arguments.pair, path.display()))
}

/// Writes all lines. Answers how many.
async fn write<R: Row>(input: ExportInput, asked: Asked, format: Format, output: impl Write) -> Result<u64> {
    let mut pages = input.pages::<R>(asked).await?;
    let mut lines = Lines::begin::<R>(format.lines(), output)?;
    let (mut count, mut progress) = (0_u64, Progress::new());
    while let Some(page) = pages.next().await? {
        for row in &page {
            lines.write(row)?;
            count += 1;
        }
        if let Some(last) = page.last() {
            progress.show(|| {
                let (last, end) = (last.last_slot(), pages.end());
                format!("{count} {}, up to {last} of {end}", R::LIST.things())
            });
        }
    }
    lines.finish()?;
    Ok(count)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        let csv = cause.downcast_ref::<csv::Error>().and_then(|error| match error.kind() {
            csv::ErrorKind::Io(error) => Some(error.kind()),
            _ => None,
        });
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        csv.or(json).or_else(|| cause.downcast_ref::<io::Error>().map(io::Error::kind))
    };
    error.chain().any(|cause| kind(cause) == Some(io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests;
