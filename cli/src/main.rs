//! `tickwell`: the one binary. It reads settings, composes poller and API, and runs them.
//!
//! - [`arguments`]: the commands and flags.
//! - [`settings`]: flag over environment over file over default.
//! - [`compose`]: which parts each command starts, and how they are joined.
//! - [`follow`]: how a pod follows its log, whatever becomes of either.
//! - [`connect`]: the log on NATS, for a command that ends.
//! - [`log`]: keys for the log's roles, its stream and its lease, made and checked.
//! - [`backup`]: a store in one file, and back.
//! - [`export`]: ticks and gaps as CSV or NDJSON.
//! - [`healthcheck`]: whether the process of a container is well.
//! - [`output`]: files that are written whole or not at all.
//! - [`pod`]: a running pod, asked over HTTP.
//! - [`progress`]: how far a long piece of work has come.
//! - [`recompute`]: stored records, worked out again.
//! - [`show`]: what it says to people.
//! - [`sources`]: what each source is asked for, and whether it answers.
//! - [`stopped`]: the store of a process that is not running.
//! - [`verify`]: whether pods give the same answers.
//! - [`watch`]: live prices in a terminal.

mod arguments;
mod backup;
mod compose;
mod connect;
mod export;
mod follow;
mod healthcheck;
mod log;
mod mode;
mod output;
mod pod;
mod progress;
mod recompute;
mod settings;
mod show;
mod sources;
mod stopped;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Before anything builds a TLS client. It fails only if it was done before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match arguments::Arguments::parse().run() {
        Ok(code) => code,
        Err(error) => {
            // The one place where an error's whole chain is told.
            show::failure(&error);
            ExitCode::FAILURE
        }
    }
}
