//! Commands and flags.
//!
//! - [`examples`]: an example of each command, for its help.

mod examples;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    backup::{self, BackupArguments, RestoreArguments},
    compose,
    export::{self, ExportArguments},
    healthcheck::{self, HealthcheckArguments},
    log::{self, LogCommand},
    mode::Mode,
    recompute::{self, RecomputeArguments},
    settings::{self, SettingsLayers},
    show, sources,
    verify::{self, VerifyArguments},
    watch::{self, WatchArguments},
};

/// A self-hosted crypto price feed. One poller asks public exchanges, agrees on one price per slot and
/// publishes it. Any number of API pods serve the prices over HTTP.
///
/// Without a command, everything runs in one process and nothing else is needed. Settings come from flags, then
/// environment variables (TICKWELL__FEED__INTERVAL=10s), then tickwell.toml, then defaults.
/// `tickwell config example` prints all of them.
#[derive(Debug, Parser)]
#[command(name = "tickwell", version = show::VERSION_LINE, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    settings: SettingsArguments,
}

#[derive(Debug, Args)]
struct SettingsArguments {
    /// Read settings from this file instead of ./tickwell.toml
    #[arg(long, global = true, value_name = "FILE", env = "TICKWELL_CONFIG")]
    config: Option<PathBuf>,

    /// Override one setting, such as feed.interval=5s; can be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = settings::parse_override)]
    overrides: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the poller and the API in one process (the default command)
    ///
    /// The log is kept in the store (store.path), or on NATS if bus.url is set.
    Run {
        /// Use a simulated market and a store of its own. Works offline; every price is labelled as simulated
        #[arg(long)]
        demo: bool,
    },
    /// Run the poller only: ask the sources and publish to NATS (bus.url)
    Poller,
    /// Run the API only: follow the log on NATS (bus.url) and serve it over HTTP
    Api,
    /// Show live prices from a running pod
    ///
    /// On a terminal it shows a table with one line per pair, otherwise it prints one line per event. If the
    /// connection is lost it reconnects, to the next pod if several are given, and resumes after the last event.
    Watch(WatchArguments),
    /// Show the requests and rate limit of each source, and ask each source once
    ///
    /// Fails if a source does not return a price for every pair.
    Sources {
        /// Do not ask the sources, only show the table
        #[arg(long)]
        no_probe: bool,
    },
    /// Recompute stored records from their quotes and report every record that differs
    ///
    /// Reads the log on NATS if bus.url is set, otherwise the store in store.path, which must not be in use. To
    /// read the records of a running process, give its address with --url.
    Recompute(RecomputeArguments),
    /// Export the ticks or gaps of a pair as CSV or NDJSON
    ///
    /// Rows are ordered from oldest to newest, and prices have the same digits as in the log. Reads from a running
    /// pod (--url), or from the store of a stopped one (store.path).
    Export(ExportArguments),
    /// Back up a store into one file
    ///
    /// Copies the store of a running pod (--from) or of a stopped one (store.path). The backup is a snapshot: it
    /// holds the store as it was at one moment.
    Backup(BackupArguments),
    /// Restore a store from a backup
    ///
    /// Never overwrites an existing store. A restored pod resumes reading the log on NATS where the backup ends. A
    /// restored `tickwell run` without bus.url loses everything that was recorded after the backup, and its log gets
    /// a new identity.
    Restore(RestoreArguments),
    /// Compare the responses of several pods byte for byte and report every difference
    ///
    /// Requests every route of /v1, pinned to the newest sequence that all pods have. Ignores whether a price is
    /// marked as stale, because that also depends on the current time. Exits with 0 if all responses are the same, 1
    /// if a response differs, and 2 if the pods could not be compared.
    VerifyPods(VerifyArguments),
    /// Check whether the process with these settings is alive
    ///
    /// Made for container engines. Exits with 0 if the process is alive (or ready, with --ready), and with 1 and the
    /// reason if not. Uses the address in admin.listen if it is set, otherwise api.listen. Pass the same flags that
    /// the process was started with.
    Healthcheck(HealthcheckArguments),
    /// Create keys for NATS, and create, check or repair the stream that holds the log
    #[command(subcommand)]
    Log(LogCommand),
    /// Show, check or explain the settings
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the effective settings as TOML, without secrets
    Show,
    /// Check the settings without starting anything
    Check,
    /// Print a tickwell.toml with every setting, its meaning and its default
    Example,
}

/// The command line, with an example in the help of each command.
pub(crate) fn command() -> clap::Command {
    examples::add_to(Arguments::command())
}

impl Arguments {
    /// Parses the command line. Prints help or an error and exits if there is nothing to run.
    pub(crate) fn of_process() -> Self {
        let mut command = command();
        let parsed = Self::from_arg_matches(&command.get_matches_mut());
        parsed.unwrap_or_else(|error| error.format(&mut command).exit())
    }

    /// Runs the command. The exit code is for commands that distinguish more than success and failure.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let SettingsArguments { config: file, overrides } = self.settings;
        let layers = SettingsLayers { file, overrides, environment: environment() };
        let start = |mode, layers| compose::run(mode, settings::load(layers, mode)?);
        let done = match self.command.unwrap_or(Command::Run { demo: false }) {
            Command::Run { demo: false } => start(Mode::Run, layers),
            Command::Run { demo: true } => start(Mode::Demo, layers),
            Command::Poller => start(Mode::Poller, layers),
            Command::Api => start(Mode::Api, layers),
            Command::Sources { no_probe } => sources::run(&settings::load(layers, Mode::Run)?, !no_probe),
            Command::Recompute(arguments) => recompute::run(&arguments, layers),
            Command::Export(arguments) => export::run(&arguments, layers),
            Command::Backup(arguments) => backup::backup(&arguments, layers),
            Command::Restore(arguments) => backup::restore(&arguments, layers),
            Command::VerifyPods(arguments) => return Ok(verify::run(&arguments)),
            Command::Watch(arguments) => watch::run(&arguments),
            Command::Healthcheck(arguments) => healthcheck::run(&arguments, layers),
            Command::Log(command) => log::run(&command, layers),
            Command::Config(command) => config(&command, layers),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

fn config(command: &ConfigCommand, layers: SettingsLayers) -> Result<()> {
    match command {
        ConfigCommand::Example => show::print(settings::EXAMPLE),
        ConfigCommand::Show => show::print(&settings::load(layers, Mode::Run)?.to_toml()?),
        ConfigCommand::Check => {
            settings::load(layers, Mode::Run)?;
            show::print("the settings are valid\n")
        }
    }
}

/// The environment variables of this process. Skips those that are not valid Unicode, because no setting needs
/// such a value.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_of_the_commands_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn recompute_needs_sequences_or_all_and_says_so() {
        let parse = |arguments: &[&str]| {
            Arguments::try_parse_from([&["tickwell", "recompute"], arguments].concat()).map(|_| ())
        };
        let message = parse(&[]).unwrap_err().to_string();
        assert!(message.contains("SEQ") && message.contains("--all"), "{message}");
        assert!(parse(&["--all"]).is_ok() && parse(&["1", "2"]).is_ok() && parse(&["1", "--all"]).is_err());
    }
}
