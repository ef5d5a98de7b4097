//! Stand-ins for the world around Tickwell, for tests and for developing without an internet connection.
//!
//! In reading order:
//!
//! 1. [`venue`]: the exchanges and the price aggregator (CoinGecko) that can be simulated.
//! 2. [`recording`]: one venue's recorded prices, one row per minute. Prices are kept as the text of the file, so that tests
//!    can compare them with the output without rounding.
//! 3. [`market`]: what the exchanges quote at a given time: recorded minutes, a random walk, or a script. A market depends
//!    only on the time, so a test can compute what each slot must contain.
//! 4. [`fault`]: the faults that a venue can have.
//! 5. [`upstream`]: an HTTP server that returns a market's prices in the venues' formats, with faults if requested, and logs
//!    the requests.
//! 6. [`proxy`]: an HTTP and SOCKS5 proxy.
//! 7. [`nats`]: a real nats-server process. Tests check what a crash does to a NATS stream, and an imitation would only
//!    repeat our assumptions.
//! 8. [`process`]: the real `tickwell` binary, its log lines, and signals to it.
//! 9. [`records`], [`audit`], [`oracle`]: an independent reader of records, the invariants of every log, and an independent
//!    computation of the responses to requests.
//! 10. [`naive`]: the arithmetic of the oracle: averages and candles.
//! 11. [`faketime`]: makes the clock of a running process jump; [`damage`]: damages the store of a stopped pod.
//! 12. [`grinder`]: disturbs a whole feed at random, reproducibly by a seed, and checks the results.
//! 13. [`hostile`]: clients that try to exhaust a pod, and polite ones.
//! 14. [`wait`]: waits for a condition with a deadline. Tests use it instead of sleeping for a fixed time.
//! 15. [`clock`]: the only module that reads the system clock.
//! 16. [`collector`]: receives traces, as an OpenTelemetry collector does.
//!
//! `architecture` tests the dependencies between crates and modules of the workspace.
//!
//! Four binaries use these modules: `fake-upstream` runs the server of item 5 on a fixed port, `fault-lab` shows how
//! Tickwell reacts to faults, `grind` is the command line of the grinder, and `hostile` runs the hostile clients.
//!
//! This crate must never
//!
//! - be a dependency of the product; it is only a dev-dependency;
//! - depend on the product's crates: it uses HTTP and log lines like any other client, so that a mistake in the product's
//!   types cannot hide on both sides of a test;
//! - depend on the speed of the machine: deadlines are so long that only a test that would never pass reaches one.

use std::path::{Path, PathBuf};

#[cfg(test)]
mod architecture;
pub mod audit;
pub mod clock;
pub mod collector;
pub mod damage;
pub mod faketime;
pub mod fault;
pub mod grinder;
pub mod hostile;
pub mod market;
pub mod naive;
pub mod nats;
pub mod oracle;
pub mod process;
pub mod proxy;
pub mod recording;
pub mod records;
pub mod upstream;
pub mod venue;
pub mod wait;

pub use venue::Venue;
pub use wait::wait_until;

/// The root of the workspace.
pub(crate) fn workspace_root() -> PathBuf {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_directory.parent().unwrap_or(crate_directory).to_path_buf()
}
