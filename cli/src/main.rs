//! `tickwell`: the only binary. It reads the settings, composes the poller and the API, and runs them.
//!
//! Every process:
//!
//! - [`arguments`]: the commands and flags.
//! - [`settings`]: reads the settings from flags, environment variables, a file and the defaults.
//! - [`mode`]: what one process runs: poller, API or both.
//! - [`compose`]: starts the parts that a mode needs and connects them.
//! - [`follow`]: keeps a pod following its log, even if the log or the store is lost and recreated.
//!
//! Commands that do one thing and exit:
//!
//! - [`watch`]: shows live prices in a terminal.
//! - [`price`]: shows the price of a pair now or at given times, and adds price columns to a CSV file.
//! - [`sources`]: shows how many requests each source gets, and whether it responds.
//! - [`recompute`]: recomputes stored records from their quotes.
//! - [`export`]: exports ticks and gaps as CSV or NDJSON.
//! - [`import`]: imports a user's own history of a pair.
//! - [`backup`]: backs up a store into one file, and restores it.
//! - [`verify`]: compares the responses of several pods.
//! - [`healthcheck`]: checks whether the process in a container is alive.
//! - [`log`]: creates keys for NATS, and creates, checks, repairs, backs up and restores the stream of the log.
//!
//! What several commands use:
//!
//! - [`connect`]: connects a command to the log on NATS.
//! - [`pod`]: an HTTP client of a running pod.
//! - [`stopped`]: opens the store of a process that is not running.
//! - [`output`]: files that are written completely or not at all.
//! - [`progress`]: a progress line on standard error.
//! - [`runtime`]: runs the asynchronous work of a command.
//! - [`show`]: prints to standard output, and reports a final error.

mod arguments;
mod backup;
mod compose;
mod connect;
#[cfg(test)]
mod documents;
mod export;
mod follow;
mod healthcheck;
mod import;
mod log;
mod mode;
mod output;
mod pod;
mod price;
mod progress;
mod recompute;
mod runtime;
mod settings;
mod show;
mod sources;
mod stopped;
mod verify;
mod watch;

use std::process::ExitCode;

use arguments::Arguments;

fn main() -> ExitCode {
    // rustls needs a crypto provider before any TLS client is built. Installing it fails only if there already is one,
    // which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Arguments::of_process().run() {
        Ok(code) => code,
        Err(error) => {
            // Functions return their errors, which are reported here with their whole chain of causes.
            show::failure(&error);
            ExitCode::FAILURE
        }
    }
}
