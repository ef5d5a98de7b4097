//! `tickwell`: the one binary. It reads settings, composes poller and API, and runs them.
//!
//! - [`arguments`]: the commands and flags.
//! - [`settings`]: flag over environment over file over default.
//! - [`compose`]: which parts each command starts, and how they are joined.
//! - [`follow`]: how a pod follows its log, whatever becomes of either.
//! - [`recompute`]: stored records, worked out again.
//! - [`show`]: what it says to people.
//! - [`sources`]: what each source is asked for, and whether it answers.

mod arguments;
mod compose;
mod follow;
mod recompute;
mod settings;
mod show;
mod sources;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Before anything builds a TLS client. It fails only if it was done before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match arguments::Arguments::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The one place where an error's whole chain is told.
            show::failure(&error);
            ExitCode::FAILURE
        }
    }
}
