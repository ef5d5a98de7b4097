//! Writes results as a table and as JSON.

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use serde_json::{Value, json};

/// A line of the table: the results of the two ways of doing the same work.
pub struct Line {
    pub name: String,
    pub unit: &'static str,
    pub ours: f64,
    pub other: f64,
}

pub fn line(name: &str, unit: &'static str, ours: f64, other: f64) -> Line {
    Line { name: name.to_owned(), unit, ours, other }
}

/// The median. `values` must not be empty.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The total size of all files in a directory and its subdirectories, in bytes.
pub fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Prints the table, and writes it and the JSON to `bench/results`.
pub fn write(scenario: &str, other: &str, about: &[String], lines: &[Line]) -> Result<()> {
    let mut table = format!("# {scenario}\n\n");
    about.iter().for_each(|fact| table.push_str(&format!("- {fact}\n")));
    table.push_str(&format!("\n| | Tickwell | {other} | ratio |\n|---|--:|--:|--:|\n"));
    for Line { name, unit, ours, other } in lines {
        let ratio = ours / other;
        table.push_str(&format!(
            "| {name} | {} {unit} | {} {unit} | {ratio:.2} |\n",
            digits(*ours),
            digits(*other)
        ));
    }
    println!("{table}");
    let json = json!({
        "scenario": scenario,
        "commit": commit(),
        "about": about,
        "lines": lines.iter().map(|line| json!({
            "name": line.name, "unit": line.unit, "tickwell": line.ours, other: line.other,
            "ratio": line.ours / line.other,
        })).collect::<Vec<Value>>(),
    });
    save(scenario, &table, &json)
}

/// Writes a table and the same results as JSON to `bench/results`.
pub fn save(scenario: &str, table: &str, json: &Value) -> Result<()> {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    fs::create_dir_all(&results)?;
    fs::write(results.join(format!("{scenario}.md")), table)?;
    Ok(fs::write(results.join(format!("{scenario}.json")), format!("{json:#}\n"))?)
}

pub fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.4}"),
    }
}

pub fn commit() -> String {
    let asked = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    asked.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
