//! Benchmarks whose results are comparable between machines: each is the ratio of two ways of doing the same work in one run.
//!
//! - [`year`]: a generated year of records, the same in every run.
//! - [`store`]: that year written and read by Tickwell's store, and by SQLite.
//! - [`rebuild`]: a log read into a store, and read by a consumer that only counts bytes.
//! - [`pod`], [`http`], [`streams`]: a pod's responses compared with bare hyper, and its streams compared with raw sockets.
//! - [`peers`]: a pod compared with what people would run instead.
//! - [`telemetry`]: a pod with traces compared with one without.
//! - [`units`]: what a request, a tick and a client cost.
//! - [`instructions`], [`paths`]: the instructions that the hot paths execute, which are compared with the expected ones.
//! - [`server`]: a server in a process of its own, and what it uses.
//! - [`report`]: writes results as a table and as JSON.

mod backup;
mod contender;
mod http;
mod instructions;
mod ours;
mod paths;
mod peers;
mod pod;
mod rebuild;
mod report;
mod server;
mod sqlite;
mod store;
mod streams;
mod telemetry;
mod units;
mod year;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| match arguments.iter().position(|argument| argument == name) {
        None => Ok(default),
        Some(place) => {
            let value =
                arguments.get(place + 1).with_context(|| format!("{name} must be followed by a number"))?;
            value.parse::<u64>().with_context(|| format!("{name}: {value} is not a number"))
        }
    };
    match arguments.first().map(String::as_str) {
        Some("store") => store::run(number("--days", 365)?),
        Some("rebuild") => rebuild::run(number("--records", 300_000)?, number("--rounds", 3)?),
        Some("http") => http::run(number("--seconds", 5)?, number("--rounds", 5)?),
        Some("streams") => streams::run(number("--clients", 10_000)?, number("--rounds", 3)?),
        // Started by `streams` as a separate process.
        Some("streams-server") => streams::serve(arguments.get(1).context("a server")?),
        Some("peers") => peers::run(number("--seconds", 10)?, number("--rounds", 3)?),
        Some("telemetry") => telemetry::run(number("--seconds", 5)?, number("--rounds", 9)?),
        Some("telemetry-pod") => telemetry::pod(arguments.get(1).context("a mode")?),
        Some("units") => units::run(number("--seconds", 3)?, number("--rounds", 3)?),
        Some("instructions") => instructions::run(arguments.iter().any(|argument| argument == "--renew")),
        // Started by `instructions` as a separate process.
        Some("path") => instructions::repeat(arguments.get(1).context("a path")?, number(&arguments[1], 1)?),
        // Started by `store` as a separate process, so that the measured memory is that of a single store.
        Some("opened") => store::opened(&arguments[1..]),
        _ => bail!(
            "bench store [--days N] | bench rebuild [--records N] [--rounds N] | bench http [--seconds N] [--rounds N] | \
                 bench streams [--clients N] [--rounds N] | bench telemetry [--seconds N] [--rounds N] | bench peers [--seconds N] [--rounds N] | \
                 bench units [--seconds N] [--rounds N] | bench instructions [--renew]"
        ),
    }
}
