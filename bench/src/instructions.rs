//! Counts the instructions that the hot paths execute, and compares them with the counts of `instructions.md`. Unlike
//! times, counts hardly depend on the machine and on what else runs on it.
//!
//! Each path runs in a process of its own under valgrind, which counts only what the path itself executes.

use std::{fmt::Write, fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::paths::{PATHS, Path};

/// By how much a count may differ from the expected one, in percent. The same code on another processor executes other
/// variants of functions such as memcpy, and another compiler of C makes other code of zstd.
const TOLERANCE: u64 = 10;

/// Valgrind counts each repetition of the instruction that copies memory on processors with this feature, so a copy would
/// count a hundred times as much as on others.
const WITHOUT_REPEATED_COPIES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS");

/// Counts while `paths::counted` runs.
const COUNTED: &str = "--toggle-collect=bench::paths::counted";

/// Compares the counts with the expected ones, or `renew`s those.
pub fn run(renew: bool) -> Result<()> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.md");
    let known = fs::read_to_string(&file).unwrap_or_default();
    let (mut table, mut wrong) = (String::new(), Vec::new());
    for path in &PATHS {
        let count = count(path)?;
        writeln!(table, "| {} | {count} |", path.name)?;
        let expected = expected(&known, path.name);
        let place = expected.map_or("new".to_owned(), |expected| format!("expected {expected}"));
        eprintln!("{}: {count} instructions ({place})", path.name);
        if expected.is_none_or(|expected| count.abs_diff(expected) * 100 > expected * TOLERANCE) {
            wrong.push(path.name);
        }
    }
    if renew {
        return Ok(fs::write(file, format!("{}{table}", head()))?);
    }
    ensure!(
        wrong.is_empty(),
        "these paths differ by more than {TOLERANCE} % from bench/instructions.md: {}. If that is intended, run \
         `just bench instructions --renew`, and commit the file",
        wrong.join(", ")
    );
    Ok(())
}

fn head() -> String {
    format!(
        "# Instructions of the hot paths\n\n\
         Written by `just bench instructions --renew`. `just bench instructions` fails if a path executes {TOLERANCE} % \
         more\nor fewer instructions than here. [README.md](README.md) has the details.\n\n\
         | path | instructions |\n|---|--:|\n"
    )
}

/// The count of a path in the table.
fn expected(table: &str, name: &str) -> Option<u64> {
    let row = table.lines().find_map(|line| line.strip_prefix(&format!("| {name} | ")))?;
    row.trim_end_matches(" |").parse().ok()
}

/// The instructions of one run of the path.
fn count(path: &Path) -> Result<u64> {
    let valgrind = std::env::var("BENCH_VALGRIND").unwrap_or_else(|_| "valgrind".to_owned());
    let mut command = Command::new(&valgrind);
    command.env(WITHOUT_REPEATED_COPIES.0, WITHOUT_REPEATED_COPIES.1);
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", COUNTED]);
    command.arg(std::env::current_exe()?).args(["path", path.name, &path.times.to_string()]);
    let output = command.output().with_context(|| format!("cannot start {valgrind}"))?;
    let report = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {report}", path.name);
    let line =
        report.lines().find(|line| line.contains("Collected :")).context("valgrind printed no count")?;
    let digits = line.split(':').nth(1).unwrap_or_default().trim();
    let count: u64 = digits.parse().with_context(|| format!("not a count: {line}"))?;
    ensure!(count > path.times, "{}: the function {COUNTED} was not found", path.name);
    Ok(count / path.times)
}

/// The process that is counted.
pub fn repeat(name: &str, times: u64) -> Result<()> {
    match PATHS.iter().find(|path| path.name == name) {
        Some(path) => (path.run)(times),
        None => bail!("no path is named {name}"),
    }
}
