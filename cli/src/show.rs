//! What the binary says to people.

use std::net::SocketAddr;

use api::routes::Build;
use common::domain::Timestamp;

use crate::{compose::Mode, settings::Settings};

/// Version and commit, for `--version`.
pub(crate) const VERSION_LINE: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TICKWELL_COMMIT"), ")");

/// What this binary is, for `/version`.
pub(crate) fn build() -> Build {
    let seconds: i64 = env!("TICKWELL_BUILD_SECONDS").parse().unwrap_or_default();
    let built = Timestamp::from_unix_millis(seconds.saturating_mul(1_000)).unwrap_or(Timestamp::EPOCH);
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        commit: env!("TICKWELL_COMMIT").to_owned(),
        build_time: built.to_string(),
    }
}

/// What runs and where to look, on standard output; logs go to standard error.
pub(crate) fn welcome(mode: Mode, settings: &Settings, address: SocketAddr) {
    let pairs = settings.feed.pairs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let sources = settings.feed.sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let log = if settings.bus.url.is_empty() {
        format!("in this process, kept in {}", settings.store.path.display())
    } else {
        format!("{} on {}", settings.bus.stream, common::bus::nats::redacted(&settings.bus.url))
    };
    let first = settings.feed.pairs.first().map(ToString::to_string).unwrap_or_default();
    println!("Tickwell {VERSION_LINE}, {}", mode.describe());
    println!("  feed     {pairs} every {} from {sources}", settings.feed.interval);
    println!("  log      {log}");
    println!("  prices   http://{address}/v1/prices/{first}");
    println!("  docs     http://{address}/docs");
    println!("  health   http://{address}/readyz?verbose");
    if mode == Mode::Run {
        println!("  offline? cargo run -- run --demo (or: tickwell run --demo) works without any source");
    }
    println!("Stop with Ctrl-C.");
}

/// An error and what caused it, on standard error. Log lines may be JSON; this is for whoever reads.
pub(crate) fn failure(error: &anyhow::Error) {
    if tracing::dispatcher::has_been_set() {
        tracing::error!(error = format!("{error:#}"), "tickwell ended");
    } else {
        eprintln!("tickwell: {error:#}");
    }
}
