//! What tests, and contributors without an internet connection, use in place of the world around Tickwell.
//!
//! In reading order:
//!
//! 1. [`venue`]: the exchanges, and the aggregator, that are played here, and how a pair is written.
//! 2. [`recording`]: one venue's recorded prices, a row a minute. Prices stay the text of the file, so that a
//!    test compares what was recorded with what came out, and no rounding of ours stands between the two.
//! 3. [`market`]: what the exchanges quote at a given moment: recorded minutes, a random walk, or a script. A
//!    market is a function of the time it is asked about and keeps no history, so a test can work out for
//!    itself what every slot must have seen.
//! 4. [`fault`]: what can be wrong with a venue.
//! 5. [`upstream`]: an HTTP server that speaks the venues' dialects over a market, keeps a log of what it was
//!    asked, and has whatever faults it is told to have.
//! 6. [`nats`]: a real nats-server process. What a crash does to a stream is the thing under test, and an
//!    imitation would only give our own assumptions back.
//! 7. [`process`]: the real `tickwell` binary, its log lines, and the signals it is sent.
//! 8. [`records`], [`audit`], [`oracle`]: the records of a log as a stranger reads them, what must be true of
//!    every log, and what must be answered from one, worked out a second time.
//! 9. [`naive`]: averages and candles worked out a second time; the oracle's arithmetic.
//! 10. [`faketime`]: a clock that jumps under a running process; [`damage`]: what can befall a stopped pod's store.
//! 11. [`grinder`]: all of that at random, from a seed, for as long as one likes.
//! 12. [`wait`]: waiting for a condition with a deadline. It has the only sleep of the test suite.
//! 13. [`clock`]: the only place here that reads the system clock.
//!
//! `architecture` is a test of the workspace itself: which way its dependencies point.
//!
//! The binary `fake-upstream` puts 3 to 5 on a fixed port, for running Tickwell by hand;
//! `fault-lab` runs it against faults, and shows what it made of them; `grind` is 10 from the command line.
//!
//! What this crate must never do:
//!
//! - be a dependency of the product: it is a dev-dependency everywhere, and its binary ships nowhere;
//! - depend on the product's crates: it speaks HTTP and reads log lines as a stranger would, so a mistake in
//!   the product's own types cannot hide on both sides of a test;
//! - depend on the speed of the machine: a deadline bounds a failure, it never decides a success.

use std::path::{Path, PathBuf};

#[cfg(test)]
mod architecture;
pub mod audit;
pub mod clock;
pub mod damage;
pub mod faketime;
pub mod fault;
pub mod grinder;
pub mod market;
pub mod naive;
pub mod nats;
pub mod oracle;
pub mod process;
pub mod recording;
pub mod records;
pub mod upstream;
pub mod venue;
pub mod wait;

pub use venue::Venue;
pub use wait::wait_until;

/// The folder of the workspace this crate was compiled in.
pub(crate) fn workspace_root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_path_buf()
}
