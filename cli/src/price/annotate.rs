//! Adds price columns to a CSV file, such as a list of transactions for accounting.
//!
//! All prices are those of one sequence of the log. So the result depends only on the file, the options and that
//! sequence. Only some rows are in memory at a time.

use std::{collections::BTreeMap, fs::File, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use common::domain::{Pair, Sequence, Span, Timestamp};
use csv::StringRecord;

use super::{
    found::{Found, FoundTick},
    instant, look_up,
};
use crate::{output::Output, pod::PodClient, progress::Progress, show};

/// The columns that are added.
const ADDED: [&str; 4] = ["price", "price_slot", "price_sequence", "price_outcome"];

/// The number of rows that are looked up together: enough for full requests if the file has a few pairs.
const BATCH: usize = 1_000;

/// The names of the columns that are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) time: &'a str,
    pub(super) pair: Option<&'a str>,
}

/// How to annotate a file.
pub(super) struct Annotation<'a> {
    pub(super) pod: &'a PodClient,
    pub(super) columns: Columns<'a>,
    /// The pair of every row, if there is no column with pairs.
    pub(super) pair: Option<Pair>,
    pub(super) max_distance: Option<Span>,
}

/// A row, and what to look up for it.
struct Row {
    record: StringRecord,
    pair: Pair,
    time: Timestamp,
}

/// The positions of the columns that are read.
struct Places {
    time: usize,
    pair: Option<usize>,
}

impl Annotation<'_> {
    /// Reads `input` and writes it with further columns to `output`.
    pub(super) async fn run(&self, input: &Path, output: &Path, force: bool) -> Result<()> {
        let name = input.display();
        let file = File::open(input).with_context(|| format!("cannot read {name}"))?;
        let total = file.metadata().map(|about| about.len()).ok();
        let mut reader = csv::Reader::from_reader(file);
        let header =
            reader.headers().with_context(|| format!("cannot read the header row of {name}"))?.clone();
        let places = self.places(&header)?;
        let (sequence, _) = self.pod.newest().await?;
        let mut written = Output::begin(output, force)?;
        let mut writer = csv::Writer::from_writer(&mut written);
        writer.write_record(header.iter().chain(ADDED))?;
        let (mut progress, mut tally) = (Progress::new(), BTreeMap::<String, u64>::new());
        let mut records = reader.into_records();
        loop {
            let rows = records
                .by_ref()
                .take(BATCH)
                .map(|record| self.row(record?, &places))
                .collect::<Result<Vec<Row>>>()?;
            let Some(last) = rows.last() else { break };
            let read = last.record.position().map_or(0, csv::Position::byte);
            for (row, found) in rows.iter().zip(self.look_up(&rows, sequence).await?) {
                let (tick, outcome) = self.chosen(row.time, found);
                let cells = tick.map(|tick| [tick.price, tick.slot.to_string(), tick.sequence.to_string()]);
                let cells = cells.unwrap_or_default();
                writer.write_record(
                    row.record.iter().chain(cells.iter().map(String::as_str)).chain([&*outcome]),
                )?;
                *tally.entry(outcome).or_default() += 1;
            }
            progress.show(|| crate::progress::far(read, total));
        }
        writer.flush()?;
        drop(writer);
        written.finish()?;
        progress.clear();
        let count: u64 = tally.values().sum();
        let tally: Vec<String> = tally.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        show::print(&format!(
            "Annotated {count} rows as of sequence {sequence} in {}: {}\n",
            output.display(),
            tally.join(", ")
        ))
    }

    fn places(&self, header: &StringRecord) -> Result<Places> {
        let place = |name: &str| {
            header.iter().position(|column| column == name).ok_or_else(|| {
                let columns: Vec<&str> = header.iter().collect();
                anyhow!("the file has no column {name}; its columns are {}", columns.join(", "))
            })
        };
        if let Some(taken) = ADDED.iter().find(|added| header.iter().any(|column| column == **added)) {
            bail!("the file already has a column {taken}; rename or remove it");
        }
        Ok(Places { time: place(self.columns.time)?, pair: self.columns.pair.map(place).transpose()? })
    }

    fn row(&self, record: StringRecord, places: &Places) -> Result<Row> {
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |place: usize| record.get(place).unwrap_or_default().trim();
        let wrong = |column: &str, reason: String| anyhow!("line {line}, column {column}: {reason}");
        let time = instant(cell(places.time)).map_err(|error| wrong(self.columns.time, error))?;
        let pair = match (places.pair, self.pair) {
            (Some(place), _) => cell(place).parse().map_err(|error: common::domain::PairError| {
                wrong(self.columns.pair.unwrap_or_default(), error.to_string())
            })?,
            (None, Some(pair)) => pair,
            (None, None) => bail!("give the pair of the rows, or --pair-column"),
        };
        Ok(Row { record, pair, time })
    }

    /// What the log has for each row, in the order of the rows.
    async fn look_up(&self, rows: &[Row], sequence: Sequence) -> Result<Vec<Found>> {
        let mut of_pairs: BTreeMap<Pair, Vec<(usize, Timestamp)>> = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            of_pairs.entry(row.pair).or_default().push((index, row.time));
        }
        let mut found = Vec::new();
        for (pair, wanted) in of_pairs {
            let times: Vec<Timestamp> = wanted.iter().map(|(_, time)| *time).collect();
            let answers = look_up(self.pod, pair, &times, Some(sequence)).await?;
            found.extend(wanted.into_iter().map(|(index, _)| index).zip(answers));
        }
        found.sort_by_key(|(index, _)| *index);
        Ok(found.into_iter().map(|(_, found)| found).collect())
    }

    /// The tick whose price the row gets, and the word for its column `price_outcome`.
    fn chosen(&self, time: Timestamp, found: Found) -> (Option<FoundTick>, String) {
        let is_near = |tick: &FoundTick, limit: Span| time.since(tick.slot) <= limit.duration();
        match (found, self.max_distance) {
            (Found::Tick(tick), Some(limit)) if !is_near(&tick, limit) => (None, "too_far".to_owned()),
            (Found::Tick(tick), _) => (Some(tick), "tick".to_owned()),
            (Found::Gap { before: Some(tick), .. }, Some(limit)) if is_near(&tick, limit) => {
                (Some(tick), "before_gap".to_owned())
            }
            (Found::Gap { .. }, _) => (None, "gap".to_owned()),
            (Found::Nothing(outcome), _) => (None, outcome),
        }
    }
}
