//! A year of records, written and read with Tickwell's store and with SQLite.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use common::domain::Pair;
use ledger::store::Stored;
use serde_json::{Value, json};

use crate::{
    backup,
    contender::{Contender, DAY},
    ours::Ours,
    report::{self, line, median, size},
    sqlite::Sqlite,
    year::{self, Year},
};

/// The number of records in a batch, as in a pod that catches up with the log.
const BATCH: usize = 1_000;

/// How many days are scanned, spread over the year.
const SCANS: u32 = 200;

/// How many times each of the other queries is repeated.
const REPEATS: usize = 200;

const WINDOWS: [(&str, u32); 4] =
    [("1h", 3_600), ("24h", 86_400), ("7d", 7 * 86_400), ("365d", 365 * 86_400)];

pub fn run(days: u64) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("tickwell-bench-").tempdir()?;
    let (ours, other) = (folder.path().join("ours"), folder.path().join("sqlite"));
    [&ours, &other].into_iter().try_for_each(fs::create_dir)?;
    let (records, write) = fill(days, &ours, &other)?;
    let bytes = [&ours, &other].map(|folder| size(folder));
    eprintln!("opening each store in its own process");
    let [mine, theirs] =
        [("ours", &ours), ("sqlite", &other)].map(|(kind, folder)| open_elsewhere(kind, folder, days));
    let (mine, theirs) = (mine?, theirs?);
    ensure!(mine["found"] == theirs["found"], "the results of the two stores differ");

    let per_second = |time: Duration| records as f64 / time.as_secs_f64();
    let mut lines = vec![
        line("write, records a second", "", per_second(write[0]), per_second(write[1])),
        line("write, whole", "s", write[0].as_secs_f64(), write[1].as_secs_f64()),
        line("on disk", "MB", bytes[0] as f64 / 1e6, bytes[1] as f64 / 1e6),
        line("on disk, a record", "B", bytes[0] as f64 / records as f64, bytes[1] as f64 / records as f64),
    ];
    for (name, unit) in [
        ("open until ready", "ms"),
        ("a day's scan, 8,640 ticks, median", "ms"),
        ("a year of daily candles, median", "ms"),
        ("window 1h, median", "µs"),
        ("window 24h, median", "µs"),
        ("window 7d, median", "µs"),
        ("window 365d, median", "µs"),
        ("resident when ready", "MB"),
        ("resident after all questions", "MB"),
    ] {
        let of = |run: &Value| run["took"][name].as_f64().with_context(|| format!("no {name} in {run}"));
        lines.push(line(name, unit, of(&mine)?, of(&theirs)?));
    }
    let mut about = vec![
        format!("{days} days of {} at 10 s: {records} records in batches of {BATCH}", year::PAIRS.join(" and ")),
        "SQLite: the same ticks, gaps, roll-ups, records of 7 days and cursor; WAL, synchronous = NORMAL, 8 MiB cache"
            .to_owned(),
        "Tickwell checks the consistency of all rows when it opens; SQLite does not".to_owned(),
        "both compute windows up to 24h in memory, with the same code".to_owned(),
    ];
    about.push(format!("until ready: Tickwell: {}; SQLite: {}", mine["stages"], theirs["stages"]));
    about.extend(backup::measure(&ours)?);
    report::write("store", "SQLite", &about, &lines)
}

/// Writes the year with both stores, batch by batch. Returns the number of records, and how long each store took.
fn fill(days: u64, ours: &Path, other: &Path) -> Result<(u64, [Duration; 2])> {
    let (mut mine, mut theirs) = (Ours::create(ours)?, Sqlite::create(other)?);
    let (mut year, mut records, mut took) = (Year::new(days), 0_u64, [Duration::ZERO; 2]);
    loop {
        let batch: Vec<Stored> = year.by_ref().take(BATCH).collect();
        let Some(cursor) = batch.last().map(|last| last.sequence) else { break };
        // Alternate the order, because the second store finds the records in the CPU's cache.
        let turns: [usize; 2] = if records % 2_000 == 0 { [0, 1] } else { [1, 0] };
        for which in turns {
            let started = Instant::now();
            match which {
                0 => mine.commit(&batch, cursor)?,
                _ => theirs.commit(&batch, cursor)?,
            }
            took[which] += started.elapsed();
        }
        records += batch.len() as u64;
        if records % 500_000 == 0 {
            eprintln!("{records} records: {:.1} s and {:.1} s", took[0].as_secs_f64(), took[1].as_secs_f64());
        }
    }
    Ok((records, took))
}

fn open_elsewhere(kind: &str, folder: &Path, days: u64) -> Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["opened", kind]).arg(folder).arg(days.to_string()).output()?;
    ensure!(output.status.success(), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Opens one of the stores, runs all queries and prints the results. Each store gets a process of its own.
pub fn opened(arguments: &[String]) -> Result<()> {
    let [kind, folder, days] = arguments else { bail!("opened KIND DIRECTORY DAYS") };
    let (folder, days) = (Path::new(folder), days.parse()?);
    let result = match kind.as_str() {
        "ours" => ask::<Ours>(folder, days),
        _ => ask::<Sqlite>(folder, days),
    };
    println!("{}", result?);
    Ok(())
}

fn ask<C: Contender>(folder: &Path, days: u32) -> Result<Value> {
    let started = Instant::now();
    let mut stages = Vec::new();
    let contender = C::open(folder, &mut |stage| {
        stages.push(format!("{stage} by {:.0} ms", started.elapsed().as_secs_f64() * 1e3));
    })?;
    let ready = started.elapsed();
    let mut took = serde_json::Map::new();
    took.insert("open until ready".to_owned(), json!(ready.as_secs_f64() * 1e3));
    took.insert("resident when ready".to_owned(), json!(resident_bytes()? as f64 / 1e6));

    let pairs: Vec<Pair> = year::PAIRS.iter().map(|pair| pair.parse()).collect::<Result<_, _>>()?;
    let mut found = Vec::new();
    let mut measure =
        |name: &str, factor: f64, mut ask: Box<dyn FnMut(usize) -> Result<u64> + '_>| -> Result<()> {
            let mut times = Vec::new();
            for turn in 0..REPEATS {
                let started = Instant::now();
                let count = ask(turn)?;
                times.push(started.elapsed().as_secs_f64() * factor);
                found.push(count);
            }
            took.insert(name.to_owned(), json!(median(times)));
            Ok(())
        };
    let day = |turn: usize| {
        // Take steps of 37 days, so that consecutive queries do not read neighbouring data.
        let number = u32::try_from(turn).unwrap_or(0) % SCANS * 37 % days;
        let from = year::begin().plus(DAY * number);
        (from, from.plus(DAY))
    };
    measure(
        "a day's scan, 8,640 ticks, median",
        1e3,
        Box::new(|turn| {
            let (from, to) = day(turn);
            Ok(contender.scan(pairs[turn % 2], from, to)? as u64)
        }),
    )?;
    let (begin, end) = (year::begin(), year::begin().plus(DAY * days));
    measure(
        "a year of daily candles, median",
        1e3,
        Box::new(|turn| Ok(contender.daily(pairs[turn % 2], begin, end)? as u64)),
    )?;
    for (name, seconds) in WINDOWS {
        let span = Duration::from_secs(seconds.into());
        measure(
            &format!("window {name}, median"),
            1e6,
            Box::new(|turn| contender.window(pairs[turn % 2], span)),
        )?;
    }
    took.insert("resident after all questions".to_owned(), json!(resident_bytes()? as f64 / 1e6));
    Ok(json!({"took": took, "stages": stages.join(", "), "found": found}))
}

/// The resident memory of this process.
pub fn resident_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kilobytes * 1_024)
}
