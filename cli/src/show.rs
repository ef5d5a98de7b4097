//! What the binary prints for people: the welcome text, the output of commands, and a final error.

use std::{
    io::{ErrorKind, Write},
    net::SocketAddr,
};

use anyhow::{Context, Result};
use api::routes::Build;
use common::{
    domain::{SourceName, Timestamp},
    text::printable,
};

use crate::{mode::Mode, settings::Settings};

/// Version and commit, for `--version`.
pub(crate) const VERSION_LINE: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TICKWELL_COMMIT"), ")");

/// Version, commit and build time, for `/version`.
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

/// Prints what runs and where to find it. This text goes to standard output, and logs go to standard error.
pub(crate) fn welcome(mode: Mode, settings: &Settings, address: SocketAddr) {
    let pairs = settings.feed.pairs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let sources = settings.feed.sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let log = if settings.bus.url.is_empty() {
        format!("in this process, stored in {}", settings.store.path.display())
    } else {
        format!("{} on {}", settings.bus.stream, common::text::redacted(&settings.bus.url))
    };
    let first = settings.feed.pairs.first().map(ToString::to_string).unwrap_or_default();
    let offline = if needs_network(mode, &settings.feed.sources) {
        "  No internet? Use simulated prices: tickwell run --demo (or: cargo run -- run --demo)\n"
    } else {
        ""
    };
    let text = format!(
        "Tickwell {VERSION_LINE}, {}\n  feed     {pairs} every {} from {sources}\n  log      {log}\n  \
         page     http://{address}/\n  prices   http://{address}/v1/prices/{first}\n  docs     http://{address}/docs\n  \
         health   http://{address}/readyz?verbose\n{offline}Stop with Ctrl-C.\n",
        mode.describe(),
        settings.feed.interval,
    );
    // The service runs even if standard output is closed.
    let _ = print(&text);
}

/// Whether any price comes from the internet, and not from a simulation or a recording.
fn needs_network(mode: Mode, sources: &[SourceName]) -> bool {
    let own = poller::source::simulated_names();
    let is_live = |name: &SourceName| name.as_str() != poller::source::REPLAY && !own.contains(name);
    mode == Mode::Run && sources.iter().any(is_live)
}

/// Writes to standard output, without characters that could change the terminal. A closed pipe is not an error: its reader, such as `head`, needs no more output.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    match output.write_all(printable(text).as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Reports a step of a command that takes a while, on standard error.
pub(crate) fn step(text: &str) {
    eprintln!("{}", printable(text));
}

/// Reports the error that ends the process, with its causes: as a log line once logging has started, otherwise as text
/// on standard error.
pub(crate) fn failure(error: &anyhow::Error) {
    if tracing::dispatcher::has_been_set() {
        tracing::error!(
            event = "failed",
            error = format!("{error:#}"),
            "tickwell stopped because of an error"
        );
    } else {
        eprintln!("tickwell: {}", printable(&format!("{error:#}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_live_sources_need_a_network() {
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>();
        assert!(needs_network(Mode::Run, &names(&["kraken", "coinbase"])));
        for sources in [&["replay"] as &[&str], &["simulated_a", "simulated_b"]] {
            assert!(!needs_network(Mode::Run, &names(sources)), "{sources:?}");
        }
        assert!(!needs_network(Mode::Demo, &names(&["kraken"])));
    }
}
